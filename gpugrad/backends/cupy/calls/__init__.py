"""Library calls that have kernels of their own on CUDA, by the name of the Call.

A row gives the kernels, or None where they do not fit the call's views; its own impl,
written against the array namespace, then runs with CuPy. None of these kernels has
run on a GPU yet; they are compiled for three architectures and run on the CPU in tests.
"""

from __future__ import annotations

from typing import Final

from gpugrad.backends.cupy.calls import (
    combine,
    convolution,
    gather,
    philox,
    scan,
    slice_at,
)
from gpugrad.backends.cupy.calls.kernel import Rule

CALLS: Final[dict[str, Rule]] = {
    "philox": philox.philox,
    **gather.RULES,
    **slice_at.RULES,
    **combine.RULES,
    **scan.RULES,
    **convolution.RULES,
}
