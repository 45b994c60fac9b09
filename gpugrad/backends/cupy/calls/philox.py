"""Random words: what every random op draws from."""

from __future__ import annotations

from gpugrad.backends.cupy.calls.kernel import blocks, load, make, store
from gpugrad.backends.cupy.layout import WIDEST
from gpugrad.backends.cupy.text import Lowered, Number
from gpugrad.kir.program import Call


def philox(call: Call) -> Lowered | None:
    """A thread makes a block of four words (kernels/random.cuh)."""
    (out,), (step,) = call.outs, call.args
    attrs = dict(call.attrs)
    aligned = out.offset * out.dtype.itemsize % WIDEST == 0
    if not (out.is_contiguous and aligned and step.size == 1):
        return None
    if out.size == 0:
        return Lowered(())
    numbers = (
        ("key0", Number("u32", int(attrs["key0"]))),  # type: ignore[call-overload]
        ("key1", Number("u32", int(attrs["key1"]))),  # type: ignore[call-overload]
        ("count", Number("i64", out.size)),
    )
    kernel = make(
        "philox",
        "philox_fill(out0, in0, key0, key1, count);",
        (store(0, "u32"), load(0, "i64")),
        ("random.cuh", "types.cuh"),
        blocks(-(-out.size // 4)),
        numbers=numbers,
    )
    return Lowered((kernel,))
