"""Rows by index (kernels/rows.cuh): GatherV2, GatherNd, rows of variables."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod
from typing import Any, Final

from gpugrad.backends.cupy.calls.kernel import (
    COUNT_LIMIT,
    Rule,
    all_contiguous,
    blocks,
    load,
    make,
    store,
)
from gpugrad.backends.cupy.layout import WIDEST
from gpugrad.backends.cupy.literals import storage
from gpugrad.backends.cupy.text import Lowered
from gpugrad.kir.program import Call
from gpugrad.kir.space import View


def extents(sizes: Sequence[int]) -> str:
    """The struct that turns index vectors into places, as C text."""
    listed = ", ".join(f"{n}ll" for n in sizes) or "1ll"
    return f"Extents<{len(sizes)}>{{{{{listed}}}}}"


def _run(width: int, *views: View) -> int:
    """Elements an access: what divides the row and every view's start."""
    size = views[0].dtype.itemsize
    starts = [v.offset * size for v in views]
    return max(gcd(width * size, WIDEST, *starts) // size, 1)


def _gather(
    call: Call, batch: int, before: int, sizes: Sequence[int], m: int, width: int
) -> Lowered | None:
    """``sizes``: the indexed axes, of which an index vector gives one place each."""
    (out,), (table, index) = call.outs, call.args
    n = prod(sizes)
    large = max(n, out.size, table.size) >= COUNT_LIMIT
    if not all_contiguous(out, table, index) or table.dtype.np_dtype is None or large:
        return None
    if table.dtype.name == "string":
        return None
    if out.size == 0:
        return Lowered(())
    run = _run(width, out, table)
    runs = width // run
    total = batch * before * m * runs
    element = storage(table.dtype)
    kernel = make(
        "gather",
        f"gather_rows<{run}, {run}>(out0, in0, in1, {extents(sizes)}, {before}ull, "
        f"{n}ull, {m}ull, {runs}ull, {total}ull);",
        (store(0, element), load(0, element), load(1, storage(index.dtype))),
        ("rows.cuh",),
        blocks(total),
    )
    return Lowered((kernel,))


def _along_axis(call: Call) -> Lowered | None:
    table, index = call.args
    batch, before, n, width = table.shape
    return _gather(call, batch, before, (n,), index.shape[1], width)


def _rows(call: Call) -> Lowered | None:
    table, index = call.args
    return _gather(call, 1, 1, table.shape[:1], index.size, prod(table.shape[1:]))


def _vectors(call: Call) -> Lowered | None:
    sizes: Any = dict(call.attrs)["extents"]
    table, index = call.args
    return _gather(call, 1, 1, sizes, index.shape[0], table.shape[1])


RULES: Final[dict[str, Rule]] = {
    "gather": _along_axis,
    "gather_rows": _rows,
    "gather_nd": _vectors,
}
