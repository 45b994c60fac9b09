"""Groups as x86-64 machine code: the NumPy backend's own printer for vectors.

A NumPy call passes over memory once for each function. Here one loop does them all, and
what is between them stays in registers. assembler.py encodes instructions, block.py
gives values registers, functions.py has exp and the like, stages.py and kernel.py make
a Group's loops, native.py makes a function of Python of it. Where the processor or the
system does not allow it, or a Group has something that this lacks, a kernel is NumPy
calls as ever.
"""
