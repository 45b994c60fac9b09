"""Library calls that have a kernel of their own on CUDA, by the name of the Call.

A row gives the kernels, or None where it does not fit the call's views; the Call's own
impl, written against the array namespace, then runs with CuPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gpugrad.backends.cupy.layout import WIDEST, Argument
from gpugrad.backends.cupy.text import Kernel, Lowered, Number
from gpugrad.kir.program import Call

Override = Callable[[Call], Lowered | None]

_THREADS: Final = 256
_PHILOX: Final = """\
extern "C" __global__ void __launch_bounds__(256)
gpugrad_philox(u32* __restrict__ out0, const i64* __restrict__ in0, u32 key0, u32 key1,
               i64 count) {
  philox_fill(out0, in0, key0, key1, count);
}
"""


def philox(call: Call) -> Lowered | None:
    """Random words: a thread makes a block of four (kernels/random.cuh)."""
    (out,), (step,) = call.outs, call.args
    attrs = dict(call.attrs)
    aligned = out.offset * out.dtype.itemsize % WIDEST == 0
    if not (out.is_contiguous and aligned and step.size == 1):
        return None
    if out.size == 0:
        return Lowered(())
    blocks = -(-out.size // (4 * _THREADS))
    arguments = (
        Argument("store", 0),
        Argument("load", 0),
        Number("u32", int(attrs["key0"])),  # type: ignore[call-overload]
        Number("u32", int(attrs["key1"])),  # type: ignore[call-overload]
        Number("i64", out.size),
    )
    headers = ("random.cuh", "types.cuh")
    kernel = Kernel(
        "gpugrad_philox", _PHILOX, headers, (blocks, 1, 1), (_THREADS, 1, 1), arguments
    )
    return Lowered((kernel,))


OVERRIDES: Final[dict[str, Override]] = {"philox": philox}
