"""Concatenation: tensors one after the other along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.errors import GraphError
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.basic import identity
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.static import (
    axis_in,
    known_axis,
    outputs,
    rank_of,
    shape_of,
    static_input,
    vector,
    whole_slice,
)

family = OpFamily()

# --- ConcatV2, Concat ---------------------------------------------------------------


def _concat_shape(parts: Sequence[Tensor], axis: int | None) -> shapes.Partial:
    """The static shape of a concatenation; ValueError where other axes differ."""
    shape: list[int | None] | None = None
    for part in parts:
        if part._shape is not None and shape is None:
            shape = [None] * len(part._shape)
    if shape is None:
        return None
    rank = len(shape)
    if rank == 0:
        raise ValueError("Can't concatenate scalars (use tf.stack instead)")
    if axis is None:
        return tuple(shape)
    place = axis_in(axis, rank, "concatenating dimensions")
    total: int | None = 0
    for part in parts:
        have = part._shape if part._shape is not None else (None,) * rank
        if len(have) != rank:
            raise ValueError(f"Shape must be rank {rank} but is rank {len(have)}")
        for i, n in enumerate(have):
            if i == place:
                total = None if None in (total, n) else total + n  # type: ignore[operator]
            elif shape[i] is None:
                shape[i] = n
            elif n is not None and n != shape[i]:
                raise ValueError(
                    f"Dimension {i} in both shapes must be equal, but are "
                    f"{shape[i]} and {n}. Shapes are "
                    f"{[list(p._shape or ()) for p in parts]}."
                )
    shape[place] = total
    return tuple(shape)


def _concat_infer(op: Operation) -> Any:
    *parts, axis = op.inputs
    place = values.constant_value(axis)
    where = None if place is None else int(place.reshape(-1)[0])
    return ((parts[0].dtype, _concat_shape(parts, where)),)


def _concat_value(op: Operation, inputs: list[Any]) -> Any:
    *parts, axis = inputs
    if not is_known(axis) or any(p is not None and p.ndim != 1 for p in parts):
        if any(not is_known(p) for p in inputs):
            return None
        return [np.concatenate(parts, int(axis.reshape(-1)[0]))]
    # Partly known sizes: a vector of unknown entries is known by its length.
    entries: list[int | None] = []
    for part, tensor in zip(parts, op.inputs):
        known = values.sizes(tensor) if part is None else tuple(part.tolist())
        if known is None or len(entries) > FOLD_LIMIT:
            return None
        entries.extend(known)
    dtype = op.inputs[0].dtype
    if not dtype.is_integer and None in entries:
        return None
    return [vector(entries, dtype)]


def _concat_lower(b: Builder, site: Site) -> View:
    *parts, axis = site.inputs
    return joined(b, parts, axis_in(b.integers(axis)[0], parts[0].rank))


def joined(b: Builder, parts: Sequence[View], axis: int) -> View:
    """A buffer that holds ``parts`` one after the other along ``axis``."""
    first = parts[0]
    for part in parts[1:]:
        others = [s[:axis] + s[axis + 1 :] for s in (first.shape, part.shape)]
        if part.rank != first.rank or others[0] != others[1]:
            raise ValueError(
                "ConcatOp : Dimensions of inputs should match: shape[0] = "
                f"{list(first.shape)} vs. {list(part.shape)}"
            )
    if len(parts) == 1:
        return first
    total = sum(p.shape[axis] for p in parts)
    out = b.new(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))
    start = 0
    for part in parts:
        if part.size:
            b.copy(part, into=whole_slice(out, axis, start, part.shape[axis]))
        start += part.shape[axis]
    return out


family.op(
    "ConcatV2",
    (Input("values", number="N"), static_input("axis", "Tidx")),
    infer=_concat_infer,
    value=_concat_value,
    lower=_concat_lower,
)
family.op(
    "Concat",
    (
        Input("concat_dim", attr=None, dtype=dtypes.int32, static=True),
        Input("values", number="N"),
    ),
    infer=lambda op: (
        (
            op.inputs[1].dtype,
            _concat_shape(op.inputs[1:], known_axis(op.inputs[0])),
        ),
    ),
    lower=lambda b, site: joined(
        b,
        site.inputs[1:],
        axis_in(b.integers(site.inputs[0])[0], site.inputs[1].rank),
    ),
)


# From this many inputs on, one Split makes all the gradients.
_MANY = 16


@family.gradient("ConcatV2", slices=True)
def _concat_grad(op: Operation, dy: Any) -> Any:
    return [*_parts_of(op, op.inputs[:-1], op.inputs[-1], dy), None]


@family.gradient("Concat", slices=True)
def _concat_v1_grad(op: Operation, dy: Any) -> Any:
    return [None, *_parts_of(op, op.inputs[1:], op.inputs[0], dy)]


def _parts_of(op: Operation, parts: Sequence[Tensor], axis: Tensor, dy: Any) -> Any:
    if len(parts) == 1:
        return [dy]
    place = axis % rank_of(parts[0], graph=op.graph)
    if isinstance(dy, IndexedSlices):
        return _slices_of_parts(op, parts, axis, place, dy)
    apply = op.graph.apply
    if all(shapes.is_known(p._shape) for p in parts):
        sizes = [shape_of(p, graph=op.graph) for p in parts]
    else:
        sizes = outputs(apply("ShapeN", list(parts)))
    if len(sizes) > _MANY:
        begin = apply("Pack", [place, 0], axis=0, name="Slice/begin")
        along = apply(
            "Slice", apply("Pack", sizes, axis=1, name="stack"), begin, [1, -1]
        )
        along = apply("Squeeze", along)
        split = apply("SplitV", dy, along, place, num_split=len(parts), name="split")
        return outputs(split)
    starts = outputs(apply("ConcatOffset", place, sizes))
    return [apply("Slice", dy, b, s) for b, s in zip(starts, sizes)]


def _slices_of_parts(
    op: Operation,
    parts: Sequence[Tensor],
    axis: Tensor,
    place: Tensor,
    dy: IndexedSlices,
) -> list[IndexedSlices]:
    """Along axis 0 each part takes its rows; along others, its part of every row."""
    apply = op.graph.apply
    known = known_axis(axis)
    if known is None:
        raise GraphError(
            "Can only compute IndexedSlices gradient with statically-known concat_dim"
        )
    rank = next((len(p._shape) for p in parts if p._shape is not None), None)
    if known < 0 and rank is None:
        raise GraphError(
            "Can only compute IndexedSlices gradient with negative concat_dim when the "
            "rank of an input is known"
        )
    known = known % rank if rank is not None else known
    sizes = [shape_of(p, graph=op.graph) for p in parts]
    grads = []
    start: Any = 0
    if known == 0:
        for size in sizes:
            end = start + apply("GatherV2", size, place, 0, batch_dims=0)
            if end.dtype is not dy.indices.dtype:
                end = apply("Cast", end, DstT=dy.indices.dtype)
            inside = apply(
                "LogicalAnd", dy.indices >= start, apply("Less", dy.indices, end)
            )
            chosen = apply("Squeeze", apply("Where", inside), squeeze_dims=[1])
            rows = apply("GatherV2", dy.indices, chosen, 0, batch_dims=0) - start
            kept = apply("GatherV2", dy.values, chosen, 0, batch_dims=0)
            grads.append(IndexedSlices(kept, rows, size))
            start = end
        return grads
    for size in sizes:
        width = apply("GatherV2", size, place, 0, batch_dims=0)
        before = [0] * known
        count = len(before) + 1
        rest = apply("Slice", size, [count], [-1])
        tail = apply(
            "ConcatV2",
            [apply("Pack", [*before, start], axis=0), apply("ZerosLike", rest)],
            0,
        )
        inner = apply("Slice", size, [1], [-1])
        keep = apply("ConcatV2", [[-1], inner], 0)
        grads.append(
            IndexedSlices(apply("Slice", dy.values, tail, keep), dy.indices, size)
        )
        start = start + width
    return grads


def concat(values: Any, axis: Any, name: str | None = "concat") -> Tensor:
    """The tensors of ``values`` one after the other along ``axis``.

    All other dimensions must agree (ValueError), and all dtypes (TypeError).
    """
    if not isinstance(values, (list, tuple)):
        values = [values]
    if not values:
        raise ValueError("concat() needs at least one tensor.")
    if len(values) == 1:
        with name_scope(name, "concat", values):
            place = convert_to_tensor(axis, dtypes.int32, name="concat_dim")
            if place.shape.rank not in (None, 0):
                raise ValueError(f"axis of concat must be a scalar, not {axis!r}.")
            return identity(values[0], name=name)
    return apply_op("ConcatV2", list(values), axis, name=name or "concat")


@family.numpy_function(np.concatenate)
def _numpy_concatenate(arrays: Any, axis: int | None = 0) -> Tensor:
    arrays = list(arrays)
    if axis is None:
        return concat([apply_op("Reshape", a, [-1]) for a in arrays], 0)
    return concat(arrays, axis)


# --- ConcatOffset -------------------------------------------------------------------


def _offsets(axis: int, sizes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    rank = len(sizes[0])
    place = axis_in(axis, rank, "concat_dim")
    offsets, start = [], 0
    for size in sizes:
        offset = np.zeros(rank, np.int64)
        offset[place] = start
        start += size[place]
        offsets.append(offset)
    return offsets


def _offset_infer(op: Operation) -> Any:
    return [(t.dtype, t._shape) for t in op.inputs[1:]]


def _offset_value(op: Operation, inputs: list[Any]) -> Any:
    if not all(is_known(v) for v in inputs):
        return None
    found = _offsets(int(inputs[0]), [v.tolist() for v in inputs[1:]])
    return [o.astype(op.inputs[1].dtype.np_dtype) for o in found]


def _offset_lower(b: Builder, site: Site) -> Sequence[View]:
    axis, *sizes = site.inputs
    found = _offsets(b.integers(axis)[0], [b.integers(s) for s in sizes])
    return [b.literal(o.astype(d.np_dtype), d) for o, d in zip(found, site.dtypes)]


family.op(
    "ConcatOffset",
    (
        Input("concat_dim", attr=None, dtype=dtypes.int32, static=True),
        Input(
            "shape", attr="shape_type", number="N", default=dtypes.int32, static=True
        ),
    ),
    infer=_offset_infer,
    value=_offset_value,
    lower=_offset_lower,
)
family.no_gradient("ConcatOffset")
