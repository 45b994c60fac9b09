"""Reductions of rows that share a segment number."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.graph import Graph
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily
from gpugrad.ops.rules import const
from gpugrad.ops.scatter_rows import combine
from gpugrad.ops.static import on_host, rank_of, shape_of, static_input

family = OpFamily()

_IDS = Input("segment_ids", attr="Tindices", default=dtypes.int32)

# --- the computation ----------------------------------------------------------------


def _start(kind: str, dtype: DType) -> Any:
    """What an empty unsorted segment holds."""
    if kind in ("max", "min"):
        return dtype.min if kind == "max" else dtype.max
    return 1 if kind == "prod" else 0


def _sorted_start(kind: str, dtype: DType) -> Any:
    """What the rows of a sorted segment are folded into: it may be infinite."""
    if kind in ("max", "min") and dtype.is_floating:
        return -np.inf if kind == "max" else np.inf
    return _start(kind, dtype)


def _segments(
    xp: Any, outs: Any, rows: Any, ids: Any, kind: str, empty: Any = None
) -> None:
    """rows [m, d] into out [n, d] by ids [m]; rows of negative ids are dropped."""
    (out,) = outs
    count = out.shape[0]
    if on_host(xp):
        if ids.size and ids.max() >= count:
            row = int(xp.argmax(ids >= count))
            raise InvalidArgumentError(
                None,
                None,
                f"segment_ids[{row}] = {int(ids[row])} is out of range [0, {count})",
            )
        if ids.size and ids.min() < 0:
            rows, ids = rows[ids >= 0], ids[ids >= 0]
        _fold(xp, out, rows, ids, kind, empty)
        return
    # No look at the values: rows to be dropped go to one more row at the end.
    wide = xp.empty((count + 1, out.shape[1]), out.dtype)
    ids = xp.where((ids < 0) | (ids >= count), count, ids)
    _fold(xp, wide, rows, ids, kind, empty)
    out[...] = wide[:count]


def _fold(xp: Any, out: Any, rows: Any, ids: Any, kind: str, empty: Any) -> None:
    if kind == "mean":
        out[...] = 0
        combine(xp, out, "sum", ids, rows)
        counts = xp.bincount(ids, minlength=out.shape[0])[:, None]
        out[...] = (out / xp.maximum(counts, 1)).astype(out.dtype)
        return
    out[...] = empty
    combine(xp, out, kind, ids, rows)


def _lowered(
    b: Builder, data: View, ids: View, count: int, kind: str, empty: Any
) -> View:
    if data.shape[: ids.rank] != ids.shape:
        raise ValueError(
            f"data.shape = {list(data.shape)} does not start with segment_ids.shape = "
            f"{list(ids.shape)}"
        )
    rest = data.shape[ids.rank :]
    rows = b.reshape(data, (ids.size, prod(rest)))
    (out,) = b.call(
        "segments",
        _segments,
        [rows, b.reshape(ids, (ids.size,))],
        [(data.dtype, (count, prod(rest)))],
        kind=kind,
        empty=empty,
    )
    return b.reshape(out, (count, *rest))


# --- UnsortedSegment* ---------------------------------------------------------------


def _unsorted_infer(op: Operation) -> Any:
    data, ids, count = op.inputs
    known = values.constant_value(count)
    if known is not None and known.item() < 0:
        raise ValueError(f"num_segments must be non-negative, not {known.item()}")
    d, i = data._shape, ids._shape
    if d is None or i is None:
        return ((data.dtype, None),)
    if len(i) > len(d) or any(
        m is not None and n is not None and m != n for m, n in zip(d, i)
    ):
        raise ValueError(
            f"data.shape {list(d)} must start with segment_ids.shape {list(i)}"
        )
    return ((data.dtype, (None if known is None else int(known), *d[len(i) :])),)


def _unsorted_lower(kind: str) -> Callable[[Builder, Site], View]:
    def lower(b: Builder, site: Site) -> View:
        data, ids, count = site.inputs
        empty = _start(kind, site.dtypes[0])
        return _lowered(b, data, ids, b.integers(count)[0], kind, empty)

    return lower


for _kind in ("Sum", "Prod", "Max", "Min"):
    family.op(
        f"UnsortedSegment{_kind}",
        (Input("data"), _IDS, static_input("num_segments", "Tnumsegments")),
        infer=_unsorted_infer,
        lower=_unsorted_lower(_kind.lower()),
    )


def _broadcastable(graph: Graph, mask: Tensor, rows: Tensor) -> Tensor:
    """``mask`` with axes of size 1 at its end, up to the rank of ``rows``."""
    apply = graph.apply
    result: Tensor = mask
    if mask._shape is not None and rows._shape is not None:
        for _ in range(len(rows._shape) - len(mask._shape)):
            result = apply("ExpandDims", result, -1)
        return result
    missing = rank_of(rows, graph=graph) - rank_of(mask, graph=graph)
    ones = apply("Fill", apply("Pack", [missing], axis=0), 1)
    dims = apply("ConcatV2", [shape_of(mask, graph=graph), ones], 0)
    result = apply("Reshape", mask, dims)
    return result


def _rows_of(graph: Graph, table: Tensor, ids: Tensor) -> Tensor:
    """``table[ids]``, and zeros for negative ids."""
    apply = graph.apply
    known = values.constant_value(ids)
    if known is not None and (known >= 0).all():
        rows: Tensor = apply("GatherV2", table, ids, 0)
        return rows
    rows = apply("GatherV2", table, apply("Maximum", ids, 0), 0)
    inside = _broadcastable(graph, ids >= 0, rows)
    zero = const(graph, 0, rows.dtype)
    rows = apply("SelectV2", inside, rows, zero)
    return rows


def _equal_shares(
    op: Operation, dy: Tensor, total: Callable[[Tensor], Tensor]
) -> Tensor:
    """The gradient of a maximum: equal shares to all rows that are it."""
    data, ids = op.inputs[:2]
    graph, apply = op.graph, op.graph.apply
    chosen = apply("Equal", data, _rows_of(graph, op.outputs[0], ids))
    known = values.constant_value(ids)
    if known is None or (known < 0).any():
        chosen = apply("LogicalAnd", chosen, _broadcastable(graph, ids >= 0, data))
    share = dy / total(apply("Cast", chosen, DstT=dy.dtype))
    zero = const(graph, 0, dy.dtype)
    result: Tensor = apply("SelectV2", chosen, _rows_of(graph, share, ids), zero)
    return result


def _others(op: Operation, dy: Tensor, fold: Callable[[str, Tensor], Tensor]) -> Tensor:
    """The gradient of a product: the product of the others in the segment.

    With one zero in a segment only that one has a gradient, with two none has.
    """
    data, ids = op.inputs[:2]
    graph, apply = op.graph, op.graph.apply
    zero, one = (const(graph, n, data.dtype) for n in (0, 1))
    is_zero = apply("Equal", data, zero)
    zeros = fold("Sum", apply("Cast", is_zero, DstT=dtypes.int32))
    dy = apply("SelectV2", zeros > 1, const(graph, 0, dy.dtype), dy)
    rest = fold("Prod", apply("SelectV2", is_zero, one, data))
    # Division by 1 where the element is 0: no NaN is made.
    safe = apply("SelectV2", is_zero, one, data)
    without = _rows_of(graph, op.outputs[0], ids) / safe
    others = apply("SelectV2", is_zero, _rows_of(graph, rest, ids), without)
    return _rows_of(graph, dy, ids) * others


@family.gradient("UnsortedSegmentSum")
def _unsorted_sum_grad(op: Operation, dy: Tensor) -> Any:
    return [_rows_of(op.graph, dy, op.inputs[1]), None, None]


@family.gradient("UnsortedSegmentMax", "UnsortedSegmentMin")
def _unsorted_extreme_grad(op: Operation, dy: Tensor) -> Any:
    def total(rows: Tensor) -> Tensor:
        summed: Tensor = op.graph.apply("UnsortedSegmentSum", rows, *op.inputs[1:])
        return summed

    return [_equal_shares(op, dy, total), None, None]


@family.gradient("UnsortedSegmentProd")
def _unsorted_prod_grad(op: Operation, dy: Tensor) -> Any:
    def fold(kind: str, rows: Tensor) -> Tensor:
        folded: Tensor = op.graph.apply(f"UnsortedSegment{kind}", rows, *op.inputs[1:])
        return folded

    return [_others(op, dy, fold), None, None]


def unsorted_segment_sum(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """The sum of the rows of each segment, in any order; 0 for an empty one.

    Shapes:  data segment_ids.shape + [...], result [num_segments, ...].
    Rows of negative segment numbers are dropped. float16 and bfloat16 are added up in
    float32. InvalidArgumentError when run on a CPU for a number that is too large.
    """
    return apply_op("UnsortedSegmentSum", data, segment_ids, num_segments, name=name)


def unsorted_segment_prod(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """The product of the rows of each segment; 1 for an empty one."""
    return apply_op("UnsortedSegmentProd", data, segment_ids, num_segments, name=name)


def unsorted_segment_max(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """The maximum of the rows of each segment; the least value for an empty one."""
    return apply_op("UnsortedSegmentMax", data, segment_ids, num_segments, name=name)


def unsorted_segment_min(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """The minimum of the rows of each segment; the greatest value for an empty one."""
    return apply_op("UnsortedSegmentMin", data, segment_ids, num_segments, name=name)


def _unsorted_count(data: Tensor, ids: Tensor, count: Any) -> Tensor:
    """How many rows each segment has, at least 1, to divide sums by."""
    ones = apply_op("Fill", shape_of(ids), const(ids.graph, 1, data.dtype))
    found = apply_op("UnsortedSegmentSum", ones, ids, count)
    found = apply_op("Maximum", found, 1)
    return _broadcastable(
        ids.graph, found, apply_op("UnsortedSegmentSum", data, ids, count)
    )


def unsorted_segment_mean(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """The mean of the rows of each segment; 0 for an empty one."""
    with name_scope(name, "UnsortedSegmentMean", [data, segment_ids]):
        data, ids = convert_to_tensor(data), convert_to_tensor(segment_ids)
        count = _unsorted_count(data, ids, num_segments)
        return apply_op("UnsortedSegmentSum", data, ids, num_segments) / count


def unsorted_segment_sqrt_n(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """The sum of the rows of each segment over the root of their number."""
    with name_scope(name, "UnsortedSegmentSqrtN", [data, segment_ids]):
        data, ids = convert_to_tensor(data), convert_to_tensor(segment_ids)
        count = apply_op("Sqrt", _unsorted_count(data, ids, num_segments))
        return apply_op("UnsortedSegmentSum", data, ids, num_segments) / count


# --- Segment* -----------------------------------------------------------------------


def _sorted_infer(op: Operation) -> Any:
    data, ids = op.inputs
    if ids._shape is not None and len(ids._shape) != 1:
        raise ValueError(f"Shape must be rank 1 but is rank {len(ids._shape)}")
    if data._shape is None:
        return ((data.dtype, None),)
    if len(data._shape) == 0:
        raise ValueError("Shape must be at least rank 1 but is rank 0")
    known = values.constant_value(ids)
    count = None
    if known is not None:
        count = _count(known)
    return ((data.dtype, (count, *data._shape[1:])),)


def _count(ids: np.ndarray) -> int:
    """How many segments there are; ValueError if ids are not sorted from 0 on."""
    if ids.size and (ids[0] < 0 or (np.diff(ids) < 0).any()):
        text = "segment ids are not increasing from 0 on"
        raise InvalidArgumentError(None, None, text)
    return int(ids[-1]) + 1 if ids.size else 0


def _sorted_rules(kind: str) -> dict[str, Any]:
    empty = 1 if kind == "prod" else 0

    def lower(b: Builder, site: Site) -> View:
        data, ids = site.inputs
        count = _count(b.value(ids))
        start = _sorted_start(kind, site.dtypes[0])
        out = _lowered(b, data, ids, count, kind, start)
        if kind not in ("max", "min"):
            return out
        # Unlike an unsorted one, an empty segment is 0.
        filled = np.bincount(b.value(ids), minlength=count) > 0
        if filled.all():
            return out
        mask = b.literal(filled.reshape([count] + [1] * (out.rank - 1)), dtypes.bool_)
        return b.map(scalar.select, mask, out, b.literal(_zero(out.dtype), out.dtype))

    def host(run: Any, site: Site, arrays: list[np.ndarray]) -> list[np.ndarray]:
        data, ids = arrays
        count = _count(ids)
        if data.shape[:1] != ids.shape:
            raise ValueError(
                "segment_ids should be the same size as dimension 0 of input."
            )
        out = np.empty((count, prod(data.shape[1:])), data.dtype)
        rows = data.reshape(len(ids), -1) if data.size else np.empty((len(ids), 0))
        _segments(np, [out], rows, ids, kind, _sorted_start(kind, site.dtypes[0]))
        if kind in ("max", "min"):
            out[np.bincount(ids, minlength=count) == 0] = empty
        return [out.reshape(count, *data.shape[1:])]

    return {"lower": lower, "host": host}


def _zero(dtype: DType) -> np.ndarray:
    return np.zeros((), dtype.np_dtype)


for _kind in ("Sum", "Mean", "Prod", "Max", "Min"):
    family.op(
        f"Segment{_kind}",
        (Input("data"), _IDS),
        infer=_sorted_infer,
        **_sorted_rules(_kind.lower()),
    )


@family.gradient("SegmentSum")
def _segment_sum_grad(op: Operation, dy: Tensor) -> Any:
    return [op.graph.apply("GatherV2", dy, op.inputs[1], 0), None]


@family.gradient("SegmentMean")
def _segment_mean_grad(op: Operation, dy: Tensor) -> Any:
    ids = op.inputs[1]
    graph, apply = op.graph, op.graph.apply
    ones = apply("Fill", shape_of(ids, graph=graph), const(graph, 1, dy.dtype))
    count = apply("SegmentSum", ones, ids)
    share = dy / _broadcastable(graph, count, dy)
    return [apply("GatherV2", share, ids, 0), None]


@family.gradient("SegmentMax", "SegmentMin")
def _segment_extreme_grad(op: Operation, dy: Tensor) -> Any:
    def total(rows: Tensor) -> Tensor:
        summed: Tensor = op.graph.apply("SegmentSum", rows, op.inputs[1])
        return summed

    return [_equal_shares(op, dy, total), None]


@family.gradient("SegmentProd")
def _segment_prod_grad(op: Operation, dy: Tensor) -> Any:
    def fold(kind: str, rows: Tensor) -> Tensor:
        folded: Tensor = op.graph.apply(f"Segment{kind}", rows, op.inputs[1])
        return folded

    return [_others(op, dy, fold), None]


def segment_sum(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """The sum of the rows of each segment; ``segment_ids`` are sorted and begin at 0.

    Shapes:  data [n, ...], segment_ids [n], result [last id + 1, ...]. A segment
             without rows is 0.
    """
    return apply_op("SegmentSum", data, segment_ids, name=name)


def segment_mean(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """The mean of the rows of each sorted segment; 0 for an empty one."""
    return apply_op("SegmentMean", data, segment_ids, name=name)


def segment_prod(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """The product of the rows of each sorted segment; 1 for an empty one."""
    return apply_op("SegmentProd", data, segment_ids, name=name)


def segment_max(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """The maximum of the rows of each sorted segment; 0 for an empty one."""
    return apply_op("SegmentMax", data, segment_ids, name=name)


def segment_min(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """The minimum of the rows of each sorted segment; 0 for an empty one."""
    return apply_op("SegmentMin", data, segment_ids, name=name)
