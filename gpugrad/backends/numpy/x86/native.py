"""Functions of Python whose bodies are machine code.

CPython calls a builtin function through a C pointer with its arguments as an array of
objects. Such a function is made here around code of ours: calling it costs less than
calling a ufunc. The code reads out of the array objects, whose layout is part of
NumPy's ABI, where their data is. Nothing is checked: only generated code, which knows
dtypes and sizes from when it was made, may call these.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import platform
import struct
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

_FASTCALL: Final = 0x80  # METH_FASTCALL
# PyMethodDef: addresses of name and function, flags, address of documentation.
_METHOD: Final = struct.Struct("<QQiiQ")
_ALIGNED: Final = 64
_log = logging.getLogger("gpugrad")

Function = Callable[..., None]


def functions(parts: Sequence[bytes]) -> list[Function]:
    """Each part of machine code as a function.

    Code, and what describes it to CPython, lie in memory that can be run and not
    written. It is the ``__self__`` of every function, an array, and so lives as long as
    the last of them: Python's collector can take an object apart, but not an array.
    """
    starts, size = [], 0
    for part in parts:
        starts.append(size)
        size += -(-len(part) // _ALIGNED) * _ALIGNED
    name, methods = size, size + _ALIGNED
    memory = mmap.mmap(-1, methods + _METHOD.size * len(parts))
    code = np.frombuffer(memory, np.uint8)
    address = int(code.ctypes.data)
    memory[name : name + 13] = b"machine_code\0"
    new: Any = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    for number, (start, part) in enumerate(zip(starts, parts)):
        memory[start : start + len(part)] = part
        place = methods + _METHOD.size * number
        _METHOD.pack_into(
            memory, place, address + name, address + start, _FASTCALL, 0, 0
        )
    _protect(address, len(memory))
    return [
        new(address + methods + _METHOD.size * number, code, None)
        for number in range(len(parts))
    ]


def _protect(address: int, size: int) -> None:
    """From now on, read and run."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if libc.mprotect(address, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "mprotect refuses to make memory executable")


@cache
def unlocking() -> tuple[int, int]:
    """Addresses of the functions that let go of Python's lock and take it again."""
    api: Any = ctypes.pythonapi

    def address(function: Any) -> int:
        found = ctypes.cast(function, ctypes.c_void_p).value
        assert found is not None
        return found

    return address(api.PyEval_SaveThread), address(api.PyEval_RestoreThread)


@cache
def widest() -> tuple[int, str]:
    """Bytes of the vectors that machine code may have; 0, and why, if it cannot be.

    Where it cannot be, that is said once, at INFO.
    """
    width, reason = _widest()
    if not width:
        _log.info("CPU kernels are NumPy calls, not machine code: %s", reason)
    return width, reason


def width(wanted: int | None) -> int:
    """Bytes of the vectors to use: those wanted, or None for the widest.

    Raises ValueError for vectors that there are not.
    """
    found, name = widest()
    if wanted is not None and wanted > found:
        raise ValueError(
            f"GPUGRAD_MACHINE_CODE asks for vectors of {wanted} bytes, but {found} is "
            f"the most here: {name}. Leave it away for what the processor has."
        )
    return found if wanted is None else wanted


def _widest() -> tuple[int, str]:
    if sys.implementation.name != "cpython" or sys.platform != "linux":
        return 0, "it is written for CPython on Linux"
    if platform.machine() != "x86_64":
        return 0, f"it is written for x86-64, not {platform.machine()}"
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith("flags")]
        flags = set(lines[0].split()) if lines else set()
        if not {"avx2", "fma"} <= flags:
            return 0, "the processor has no AVX2 and FMA"
        functions([b"\xc3"])
    except OSError as error:
        return 0, str(error)
    # VBMI2 came with the processors that do not slow down for vectors of 64 bytes.
    wide = {"avx512f", "avx512dq", "avx512_vbmi2"} <= flags
    return (64, "AVX-512") if wide else (32, "AVX2")
