"""Sequences and masks made of indices: range, linspace, one_hot, sequence_mask."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.scalar import Expr, Index
from gpugrad.kir.space import View
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.static import axis_in, rank_of, static_input

family = OpFamily()

# --- Range --------------------------------------------------------------------------


def _range_infer(op: Operation) -> Any:
    known = [values.constant_value(t) for t in op.inputs]
    if any(t._shape not in (None, ()) for t in op.inputs):
        raise ValueError("start, limit and delta of a range must be scalars")
    size = None if any(v is None for v in known) else _range_size(*known)
    return ((op.inputs[0].dtype, (size,)),)


def _range_size(start: Any, limit: Any, delta: Any) -> int:
    start, limit, delta = (v.item() for v in (start, limit, delta))
    if delta == 0:
        raise ValueError(f"Requires delta != 0: {delta}")
    if (delta > 0 and start > limit) or (delta < 0 and start < limit):
        sign, order = (">", "<=") if delta > 0 else ("<", ">=")
        raise ValueError(
            f"Requires start {order} limit when delta {sign} 0: {start} and {limit}"
        )
    if isinstance(delta, int):
        return -(-(limit - start) // delta)
    return max(0, int(np.ceil(abs((limit - start) / delta))))


def _range_array(dtype: DType, start: Any, limit: Any, delta: Any) -> np.ndarray:
    size = _range_size(start, limit, delta)
    steps = np.arange(size) * delta.item() + start.item()
    return steps.astype(dtype.np_dtype)


def _range_lower(b: Builder, site: Site) -> View:
    dtype = site.dtypes[0]
    start, limit, delta = (b.value(v) for v in site.inputs)
    return b.literal(_range_array(dtype, start, limit, delta), dtype)


def _range_value(op: Operation, inputs: list[Any]) -> Any:
    if not all(is_known(v) for v in inputs) or _range_size(*inputs) > FOLD_LIMIT:
        return None
    return [_range_array(op.inputs[0].dtype, *inputs)]


family.op(
    "Range",
    tuple(static_input(n, "Tidx", None) for n in ("start", "limit", "delta")),
    infer=_range_infer,
    lower=_range_lower,
    value=_range_value,
)
family.no_gradient("Range")

# From the narrowest to the widest: range() computes in the widest of its arguments.
_WIDENING = (dtypes.int32, dtypes.int64, dtypes.float16, dtypes.float32, dtypes.float64)


def range(
    start: Any,
    limit: Any = None,
    delta: Any = 1,
    dtype: Any = None,
    name: str | None = "range",
) -> Tensor:
    """``start``, ``start + delta``, ... up to but without ``limit``.

    With one argument, from 0 up to it. The dtype is the widest of the arguments'.
    Raises ValueError for a delta of 0 or one of the wrong sign.
    """
    if limit is None:
        start, limit = 0, start
    wanted = None if dtype is None else as_dtype(dtype).base_dtype
    with name_scope(name, "range", [start, limit, delta]) as scope:
        given = ((start, "start"), (limit, "limit"), (delta, "delta"))
        parts = [
            v if isinstance(v, Tensor) else convert_to_tensor(v, wanted, n)
            for v, n in given
        ]
        if wanted is None:
            found = [t.dtype for t in parts]
            if any(d not in _WIDENING for d in found):
                raise TypeError(
                    f"range() takes int32, int64 and floating arguments, not "
                    f"{', '.join(d.name for d in found)}."
                )
            wanted = max(found, key=_WIDENING.index)
        parts = [
            t if t.dtype is wanted else apply_op("Cast", t, DstT=wanted) for t in parts
        ]
        return apply_op("Range", *parts, name=scope)


# --- LinSpace -----------------------------------------------------------------------


def _linspace_infer(op: Operation) -> Any:
    num = values.constant_value(op.inputs[2])
    if num is not None and num.item() <= 0:
        raise ValueError(f"Requires num > 0: {num.item()}")
    return ((op.inputs[0].dtype, (None if num is None else num.item(),)),)


def _linspace_lower(b: Builder, site: Site) -> View:
    (num,) = b.integers(site.inputs[2])
    if num <= 0:
        raise ValueError(f"Requires num > 0: {num}")

    def point(start: Expr, stop: Expr) -> Expr:
        index = scalar.cast(Index(0), start.dtype)
        inner = start + (stop - start) / float(max(num - 1, 1)) * index
        last = scalar.equal(Index(0), max(num - 1, 1))
        return scalar.select(last, stop, inner)

    return b.map(point, *site.inputs[:2], shape=(num,))


family.op(
    "LinSpace",
    (Input("start"), Input("stop"), static_input("num", "Tidx")),
    infer=_linspace_infer,
    lower=_linspace_lower,
)
family.no_gradient("LinSpace")


def linspace(
    start: Any, stop: Any, num: Any, name: str | None = None, axis: int = 0
) -> Tensor:
    """``num`` evenly spaced values from ``start`` to ``stop``, both included.

    ``start`` and ``stop`` have one shape; the values stand along the new ``axis``.
    Differentiable in both. ValueError if ``num`` is known and not positive.
    """
    with name_scope(name, "linspace", [start, stop]):
        start = convert_to_tensor(start, name="start")
        stop = convert_to_tensor(stop, start.dtype, name="stop")
        if start.dtype.is_integer:
            start = apply_op("Cast", start, DstT=dtypes.float64)
            stop = apply_op("Cast", stop, DstT=dtypes.float64)
        shape = shapes.merge(start._shape, stop._shape)
        place = axis if shape is None else axis_in(axis, len(shape) + 1)
        count = convert_to_tensor(num, name="num")
        if count.dtype is not dtypes.int32:
            count = apply_op("Cast", count, DstT=dtypes.int32)
        known = values.constant_value(count)
        if known is not None and known.item() < 1:
            raise ValueError(f"linspace() needs num > 0, not {known.item()}.")
        first = apply_op("ExpandDims", start, place)
        last = apply_op("ExpandDims", stop, place)
        gaps = apply_op("Maximum", count - 1, 1)
        inner = apply_op("Cast", apply_op("Range", 1, gaps, 1), DstT=start.dtype)
        # Of one value, start alone.
        along, begin, size = _at_place(first, place, count)
        step = (last - first) / apply_op("Cast", gaps, DstT=start.dtype)
        middle = first + step * apply_op("Reshape", inner, along)
        joined = apply_op("ConcatV2", [first, middle, last], place)
        return apply_op("Slice", joined, begin, size)


def _at_place(x: Tensor, place: int, count: Tensor) -> tuple[Any, Any, Any]:
    """Shapes for the axes of ``x``: (-1 at ``place`` and 1 elsewhere, zeros, ``count``
    at ``place`` and -1, meaning all, elsewhere).
    """
    rank = x.ndim
    if rank is not None:
        axes = builtins.range(rank)
        along = [-1 if i == place else 1 for i in axes]
        return along, [0] * rank, [count if i == place else -1 for i in axes]
    ranked = rank_of(x)
    numbers = apply_op("Range", 0, ranked, 1)
    here = apply_op("Equal", numbers, place if place >= 0 else ranked + place)
    ones, zeros = apply_op("OnesLike", numbers), apply_op("ZerosLike", numbers)
    along = apply_op("SelectV2", here, -1, ones)
    return along, zeros, apply_op("SelectV2", here, count, -ones)


def lin_space(start: Any, stop: Any, num: Any, name: str | None = None) -> Tensor:
    """``linspace`` under its old name."""
    return linspace(start, stop, num, name)


# --- OneHot -------------------------------------------------------------------------


def _one_hot_infer(op: Operation) -> Any:
    indices, depth, on, off = op.inputs
    for scalar_input, name in ((depth, "depth"), (on, "on_value"), (off, "off_value")):
        if scalar_input._shape not in (None, ()):
            raise ValueError(f"{name} of one_hot must be a scalar")
    size = values.constant_value(depth)
    if size is not None and size.item() < 0:
        raise ValueError(f"depth must be non-negative, got: {size.item()}")
    shape = indices._shape
    if shape is not None:
        place = axis_in(op.attrs["axis"], len(shape) + 1)
        shape = (*shape[:place], None if size is None else size.item(), *shape[place:])
    return ((on.dtype, shape),)


def _one_hot_lower(b: Builder, site: Site) -> View:
    indices, depth, on, off = site.inputs
    (size,) = b.integers(depth)
    if size < 0:
        raise ValueError(f"depth must be non-negative, got: {size}")
    place = axis_in(site.attrs["axis"], indices.rank + 1)
    shape = (*indices.shape[:place], size, *indices.shape[place:])

    def point(index: Expr, on: Expr, off: Expr) -> Expr:
        here = scalar.equal(scalar.cast(index, dtypes.int64), Index(place))
        return scalar.select(here, on, off)

    return b.map(point, indices.insert_axis(place), on, off, shape=shape)


family.op(
    "OneHot",
    (
        Input("indices", attr="TI", default=dtypes.int32),
        Input("depth", attr=None, dtype=dtypes.int32, static=True),
        Input("on_value"),
        Input("off_value"),
    ),
    attrs={"axis": -1},
    infer=_one_hot_infer,
    lower=_one_hot_lower,
)
family.no_gradient("OneHot")


def one_hot(
    indices: Any,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: int | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> Tensor:
    """``on_value`` at the index, ``off_value`` at the others, along a new ``axis``.

    Shapes:  indices [...], result [..., depth] (axis -1). An index outside
             [0, depth) gives off_value everywhere.
    Dtypes:  that of on_value and off_value, or ``dtype``, or float32 with 1 and 0.
    """
    with name_scope(name, "one_hot", [indices, depth, on_value, off_value]) as scope:
        wanted = None if dtype is None else as_dtype(dtype).base_dtype
        given = [v for v in (on_value, off_value) if v is not None]
        found = [convert_to_tensor(v, wanted) for v in given]
        if len({t.dtype for t in found}) > 1:
            raise TypeError(
                f"dtype {found[0].dtype.name} of on_value does not match dtype "
                f"{found[1].dtype.name} of off_value."
            )
        kind = found[0].dtype if found else wanted or dtypes.float32
        rest = iter(found)
        on = next(rest) if on_value is not None else _number(1, kind, "on_value")
        off = next(rest) if off_value is not None else _number(0, kind, "off_value")
        return apply_op(
            "OneHot",
            indices,
            depth,
            on,
            off,
            axis=-1 if axis is None else axis,
            name=scope,
        )


def _number(value: int, dtype: DType, name: str) -> Tensor:
    array = np.array(value, dtype.np_dtype)
    return apply_op("Const", name=name, value=array, dtype=dtype)


def sequence_mask(
    lengths: Any, maxlen: Any = None, dtype: Any = dtypes.bool_, name: str | None = None
) -> Tensor:
    """For each length, that many True and False up to ``maxlen`` (the longest).

    Shapes: lengths [...], result [..., maxlen].
    """
    with name_scope(name, "SequenceMask", [lengths, maxlen]):
        lengths = convert_to_tensor(lengths)
        if maxlen is None:
            flat = apply_op("Reshape", lengths, [-1])
            maxlen = apply_op("Maximum", apply_op("Max", flat, [0]), 0)
        else:
            maxlen = convert_to_tensor(maxlen)
        if maxlen._shape not in (None, ()):
            raise ValueError("Argument `maxlen` of sequence_mask must be a scalar.")
        kind = maxlen.dtype
        places = apply_op(
            "Range", _number(0, kind, "Const"), maxlen, _number(1, kind, "Const")
        )
        ends = apply_op("ExpandDims", lengths, -1)
        if ends.dtype is not kind:
            ends = apply_op("Cast", ends, DstT=kind)
        mask = apply_op("Less", places, ends)
        wanted = as_dtype(dtype)
        return mask if wanted is dtypes.bool_ else apply_op("Cast", mask, DstT=wanted)
