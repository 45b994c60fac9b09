"""Repetition: broadcast_to, tile, repeat."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site, broadcast_shape
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily
from gpugrad.ops.layout import expand_dims, transpose
from gpugrad.ops.static import axis_in, moved, shape_of, size_of, static_input

family = OpFamily()

# --- BroadcastTo --------------------------------------------------------------------


def _broadcast_to_infer(op: Operation) -> Any:
    x, wanted = op.inputs
    dims = values.sizes(wanted)
    if dims is None:
        return ((x.dtype, None),)
    if x._shape is not None:
        if len(x._shape) > len(dims):
            raise ValueError(f"Incompatible shapes: {list(x._shape)} vs. {list(dims)}")
        shapes.broadcast(x._shape, dims)
        for have, want in zip(reversed(x._shape), reversed(dims)):
            if have not in (None, 1, want) and want is not None:
                raise ValueError(
                    f"Incompatible shapes: {list(x._shape)} vs. {list(dims)}"
                )
    return ((x.dtype, dims),)


def _broadcast_to_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    dims = b.integers(site.inputs[1])
    if broadcast_shape(x.shape, dims) != dims:
        raise ValueError(f"Incompatible shapes: {list(x.shape)} vs. {list(dims)}")
    result: View = x.broadcast(dims)
    return result


family.op(
    "BroadcastTo",
    (Input("input"), static_input("shape", "Tidx")),
    infer=_broadcast_to_infer,
    lower=_broadcast_to_lower,
    value=moved(lambda op, x, dims: np.broadcast_to(x, dims.tolist())),
)


@family.gradient("BroadcastTo")
def _broadcast_to_grad(op: Operation, dy: Tensor) -> Any:
    x, wanted = op.inputs
    apply = op.graph.apply
    have = shape_of(x, wanted.dtype, graph=op.graph)
    known = values.constant_value(wanted)
    if known is not None:
        wanted = apply("Const", value=known, dtype=wanted.dtype)
    _, axes = apply("BroadcastGradientArgs", wanted, have)
    total = apply("Sum", dy, axes, keep_dims=True)
    return [apply("Reshape", total, have), None]


def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """``input`` repeated to ``shape`` by NumPy's broadcasting rules."""
    return apply_op("BroadcastTo", input, shape, name=name)


@family.numpy_function(np.broadcast_to)
def _numpy_broadcast_to(array: Any, shape: Any) -> Tensor:
    return broadcast_to(array, [shape] if isinstance(shape, int) else shape)


# --- Tile ---------------------------------------------------------------------------


def _tile_infer(op: Operation) -> Any:
    x, multiples = op.inputs
    counts = values.sizes(multiples)
    if x._shape is None:
        return ((x.dtype, None if counts is None else (None,) * len(counts)),)
    if counts is None:
        counts = (None,) * len(x._shape)
    if len(counts) != len(x._shape):
        raise ValueError(
            f"multiples of tile must have one entry an axis, {len(x._shape)}, not "
            f"{len(counts)}"
        )
    if any(m is not None and m < 0 for m in counts):
        text = f"Expected multiples >= 0, but got {list(counts)}"
        raise InvalidArgumentError(None, None, text)
    return ((x.dtype, tuple(_times(n, m) for n, m in zip(x._shape, counts))),)


def _times(size: int | None, count: int | None) -> int | None:
    if size == 0 or count == 0:
        return 0
    return None if size is None or count is None else size * count


def _tile_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    counts = b.integers(site.inputs[1])
    if len(counts) != x.rank or any(m < 0 for m in counts):
        raise ValueError(f"Expected {x.rank} multiples >= 0, but got {list(counts)}")
    repeated: View = x
    for axis in reversed(range(x.rank)):
        repeated = repeated.insert_axis(axis)
    wide = tuple(n for pair in zip(counts, x.shape) for n in pair)
    tiled = tuple(m * n for m, n in zip(counts, x.shape))
    return b.reshape(repeated.broadcast(wide), tiled)


family.op(
    "Tile",
    (Input("input"), static_input("multiples", "Tmultiples")),
    infer=_tile_infer,
    lower=_tile_lower,
    value=moved(lambda op, x, multiples: np.tile(x, multiples.tolist())),
)


@family.gradient("Tile")
def _tile_grad(op: Operation, dy: Tensor) -> Any:
    x, multiples = op.inputs
    apply = op.graph.apply
    # Each axis as (copies, size): sum over the copies.
    shape = shape_of(x, multiples.dtype, graph=op.graph)
    pairs = apply("Pack", [multiples, shape], name="stack", axis=0)
    pairs = transpose(pairs)
    split = apply("Reshape", pairs, [-1])
    count = size_of(split, graph=op.graph)
    axes = apply("Range", 0, count, 2, name="range")
    total = apply("Sum", apply("Reshape", dy, split), axes)
    total.set_shape(x._shape)
    return [total, None]


def tile(input: Any, multiples: Any, name: str | None = None) -> Tensor:
    """``input`` repeated ``multiples[i]`` times along each axis ``i``."""
    return apply_op("Tile", input, multiples, name=name)


@family.numpy_function(np.tile)
def _numpy_tile(a: Any, reps: Any) -> Tensor:
    reps = [reps] if isinstance(reps, (int, np.integer)) else list(reps)
    if a.ndim is None:
        raise ValueError("np.tile() needs a tensor of known rank; use gpugrad.tile().")
    reps = [1] * (a.ndim - len(reps)) + reps
    for _ in range(len(reps) - a.ndim):
        a = expand_dims(a, 0)
    return tile(a, reps)


# --- repeat -------------------------------------------------------------------------


@family.numpy_function(np.repeat)
def repeat(
    input: Any, repeats: Any, axis: int | None = None, name: str | None = None
) -> Tensor:
    """Each element (slice along ``axis``) repeated ``repeats`` times in a row.

    ``repeats`` is one number, or one for each slice. Without ``axis``, the elements of
    the flattened input.
    """
    with name_scope(name, "Repeat", [input, repeats]):
        data = convert_to_tensor(input, name="data")
        if axis is None:
            data, axis = apply_op("Reshape", data, [-1]), 0
        if data.ndim is not None:
            axis = axis_in(axis, max(data.ndim, 1))
        if data.ndim == 0:
            data = expand_dims(data, 0)
        counts = convert_to_tensor(repeats, name="repeats")
        if counts.dtype is not dtypes.int32:
            counts = apply_op("Cast", counts, DstT=dtypes.int32)
        shape, rank = shape_of(data), data.ndim or 1
        if counts.shape.num_elements() == 1 and data.ndim is not None:
            once = apply_op("Reshape", counts, [])
            multiples = [once if i == axis + 1 else 1 for i in range(rank + 1)]
            tiled = tile(expand_dims(data, axis + 1), multiples)
            parts = [shape[:axis], [once * shape[axis]], shape[axis + 1 :]]
            return apply_op("Reshape", tiled, apply_op("ConcatV2", parts, 0))
        # Row i of the source for each row of the result: how many ends lie at or before
        # it. The ends are counted by place, and the counts added up.
        extent = apply_op("Pack", [shape[axis]], axis=0)
        ends = apply_op("Cumsum", apply_op("BroadcastTo", counts, extent), 0)
        total = apply_op("Max", apply_op("ConcatV2", [[0], ends], 0), [0])
        ones = apply_op("OnesLike", ends)
        there = apply_op("UnsortedSegmentSum", ones, ends, total + 1)
        rows = apply_op("Cumsum", there, 0)[:-1]
        # Through a reshape, for the gradient of a gather of whole rows is slices.
        result = apply_op("GatherV2", apply_op("Reshape", data, shape), rows, axis)
        times = values.constant_value(counts)
        if times is not None and data._shape is not None:
            rest = data._shape[axis + 1 :]
            result.set_shape((*data._shape[:axis], int(times.sum()), *rest))
        return result
