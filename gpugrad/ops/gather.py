"""Gathering rows and elements by index."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.indexed_slices import IndexedSlices, densify
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.indices import check_indices, flat_indices, index_plan
from gpugrad.ops.static import (
    axis_in,
    known_axis,
    on_host,
    rank_of,
    shape_of,
    size_of,
    static_input,
    tidy,
)

family = OpFamily()

_INDICES = Input("indices", attr="Tindices", default=dtypes.int32)

# --- GatherV2, Gather ---------------------------------------------------------------


def _gathered_shape(
    params: Sequence[int | None], indices: Sequence[int | None], axis: int, batch: int
) -> list[int | None]:
    return [*params[:axis], *indices[batch:], *params[axis + 1 :]]


def _gather_infer(op: Operation) -> Any:
    params, indices = op.inputs[:2]
    axis = known_axis(op.inputs[2]) if len(op.inputs) == 3 else 0
    batch = op.attrs.get("batch_dims", 0)
    p, i = params._shape, indices._shape
    if p is not None and len(p) == 0:
        raise ValueError("Shape must be at least rank 1 but is rank 0 for params")
    if p is None or i is None:
        return ((params.dtype, None),)
    if batch < 0:
        batch = axis_in(batch, len(i), "batch_dims")
    if axis is None:
        return ((params.dtype, (None,) * (len(p) + len(i) - 1 - batch)),)
    axis = axis_in(axis, len(p))
    if batch > axis or batch > len(i):
        raise ValueError(
            f"batch_dims ({batch}) must be at most axis ({axis}) and the rank of "
            f"indices ({len(i)})"
        )
    for m, n in zip(p[:batch], i[:batch]):
        if m is not None and n is not None and m != n:
            raise ValueError(f"params and indices differ in a batch axis: {m} and {n}")
    return ((params.dtype, tuple(_gathered_shape(p, i, axis, batch))),)


def _gather_value(op: Operation, inputs: list[Any]) -> Any:
    params, indices = inputs[:2]
    if params is None or params.size > FOLD_LIMIT or not is_known(indices):
        return None
    axis = known_axis(op.inputs[2]) if len(op.inputs) == 3 else 0
    if axis is None or op.attrs.get("batch_dims") or indices.size > FOLD_LIMIT:
        return None
    if indices.size and (indices.min() < 0 or indices.max() >= params.shape[axis]):
        return None  # an error when run
    result = tidy(np.take(params, indices, axis), op.inputs[0].dtype)
    return None if result is None else [result]


def _gather(
    xp: Any, outs: Any, params: Any, indices: Any, shape: tuple[int, ...]
) -> None:
    """params [batch, before, n, after], indices [batch, m], out like params with m.

    On a GPU nothing looks whether indices are in range: they wrap around.
    """
    (out,) = outs
    check_indices(xp, indices, params.shape[2], shape)
    if out.size == 0:
        return
    batch = params.shape[0]
    if batch == 1:
        if on_host(xp):
            # Already checked; only modes other than "raise" write straight into out.
            xp.take(params[0], indices[0], axis=1, out=out[0], mode="clip")
        else:
            out[0] = xp.take(params[0], indices[0], axis=1)
        return
    which = xp.arange(batch)[:, None]
    # Advanced indices around a slice come first: [batch, m, before, after].
    out[...] = params[which, :, indices].transpose(0, 2, 1, 3)


def _gather_lower(b: Builder, site: Site) -> View:
    params, indices = site.inputs[:2]
    axis, batch = 0, site.attrs.get("batch_dims", 0)
    if len(site.inputs) == 3:
        axis = axis_in(b.integers(site.inputs[2])[0], params.rank)
    if batch < 0:
        batch = axis_in(batch, indices.rank, "batch_dims")
    if params.shape[:batch] != indices.shape[:batch]:
        raise ValueError(
            f"params.shape[:{batch}] {list(params.shape)} and indices.shape[:{batch}] "
            f"{list(indices.shape)} must match"
        )
    shape = _gathered_shape(params.shape, indices.shape, axis, batch)
    sizes = [
        prod(params.shape[:batch]),
        prod(params.shape[batch:axis]),
        params.shape[axis],
        prod(params.shape[axis + 1 :]),
    ]
    count = prod(indices.shape[batch:])
    flat = b.reshape(params, tuple(sizes))
    rows = b.reshape(indices, (sizes[0], count))
    out_shape = (sizes[0], sizes[1], count, sizes[3])
    (out,) = b.call(
        "gather",
        _gather,
        [flat, rows],
        [(params.dtype, out_shape)],
        shape=indices.shape,
    )
    return b.reshape(out, tuple(n or 0 for n in shape))


family.op(
    "GatherV2",
    (
        Input("params", attr="Tparams"),
        _INDICES,
        static_input("axis", "Taxis"),
    ),
    attrs={"batch_dims": 0},
    infer=_gather_infer,
    value=_gather_value,
    lower=_gather_lower,
)
family.op(
    "Gather",
    (Input("params", attr="Tparams"), _INDICES),
    attrs={"validate_indices": True},
    infer=_gather_infer,
    value=_gather_value,
    lower=_gather_lower,
)


@family.gradient("Gather", slices=True)
def _gather_grad(op: Operation, dy: Any) -> Any:
    return [_rows_grad(op, dy), None]


@family.gradient("GatherV2", slices=True)
def _gather_v2_grad(op: Operation, dy: Any) -> Any:
    batch = op.attrs["batch_dims"]
    indices = op.inputs[1]
    if batch < 0:
        if indices._shape is None:
            raise ValueError(
                "The gradient of gather with negative batch_dims needs indices of "
                "known rank; give a positive batch_dims."
            )
        batch += len(indices._shape)
    if known_axis(op.inputs[2]) == 0 and batch == 0:
        return [_rows_grad(op, dy), None, None]
    return [_axis_grad(op, densify(dy), batch), None, None]


def _rows_grad(op: Operation, dy: Any) -> IndexedSlices:
    """The gathered rows as slices: repeated indices stay repeated."""
    params, indices = op.inputs[:2]
    graph = op.graph
    with graph.colocate_with(params):
        shape = shape_of(params, graph=graph)
    size = size_of(indices, graph=graph)
    count = graph.apply("ExpandDims", size, 0)
    rows = graph.apply("ConcatV2", [count, shape[1:]], 0, name="concat")
    updates = graph.apply("Reshape", densify(dy), rows)
    flat = graph.apply("Reshape", indices, count)
    return IndexedSlices(updates, flat, shape)


def _axis_grad(op: Operation, dy: Tensor, batch: int) -> Tensor:
    """Sum into zeros along an inner axis: as rows [batch * n, before * after]."""
    params, indices, axis = op.inputs
    graph, apply = op.graph, op.graph.apply
    place = axis % rank_of(params, graph=graph)
    shape = shape_of(params, graph=graph)

    def product(sizes: Tensor) -> Tensor:
        total: Tensor = apply("Prod", sizes, [0])
        return total

    outer, length = product(shape[:batch]), shape[place]
    before, after = product(shape[batch:place]), product(shape[place:][1:])
    count = product(shape_of(indices, graph=graph)[batch:])
    parts = apply("Reshape", dy, apply("Pack", [outer, before, count, after], axis=0))
    rows = apply("Transpose", parts, [0, 2, 1, 3])
    rows = apply(
        "Reshape", rows, apply("Pack", [outer * count, before * after], axis=0)
    )
    ids = apply("Reshape", indices, apply("Pack", [outer, count], axis=0))
    if batch:
        starts = apply("Range", 0, outer, 1) * length
        if starts.dtype is not ids.dtype:
            starts = apply("Cast", starts, DstT=ids.dtype)
        ids = ids + apply("ExpandDims", starts, 1)
    ids = apply("Reshape", ids, [-1])
    summed = apply("UnsortedSegmentSum", rows, ids, outer * length)
    split = apply("Pack", [outer, length, before, after], axis=0)
    back = apply("Transpose", apply("Reshape", summed, split), [0, 2, 1, 3])
    result: Tensor = apply("Reshape", back, shape)
    return result


def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    name: str | None = None,
    axis: Any = None,
    batch_dims: int = 0,
) -> Tensor:
    """The slices of ``params`` at ``indices`` along ``axis``.

    Shapes:  params [..., n, ...], result params[:axis] + indices[batch_dims:] +
             params[axis + 1:]. With batch_dims, the first axes of both go together.
    Raises:  InvalidArgumentError when run on a CPU for an index outside of [0, n).
    The gradient for axis 0 is IndexedSlices.
    """
    if axis is None:
        axis = batch_dims
    read = getattr(params, "sparse_read", None)
    if read is not None and not isinstance(axis, Tensor) and axis == 0:
        result: Tensor = read(indices, name=name)
        return result
    return apply_op("GatherV2", params, indices, axis, name=name, batch_dims=batch_dims)


def gather_v2(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    axis: Any = None,
    batch_dims: int = 0,
    name: str | None = None,
) -> Tensor:
    """``gather`` with the signature of TensorFlow 2."""
    return gather(params, indices, validate_indices, name, axis, batch_dims)


def batch_gather(params: Any, indices: Any, name: str | None = None) -> Tensor:
    """Gather along the last axis of ``indices``; the axes before it go together."""
    indices = convert_to_tensor(indices)
    if indices.shape.rank is None:
        raise ValueError("batch_gather() needs indices of known rank.")
    return gather(params, indices, None, name, None, indices.shape.rank - 1)


@family.numpy_function(np.take)
def _numpy_take(a: Any, indices: Any, axis: int | None = None) -> Tensor:
    if axis is None:
        a, axis = apply_op("Reshape", a, [-1]), 0
    return gather(a, indices, axis=axis)


# --- GatherNd -----------------------------------------------------------------------


def _gather_nd_infer(op: Operation) -> Any:
    params, indices = op.inputs
    p, i = params._shape, indices._shape
    if p is None or i is None or i[-1] is None:
        return ((params.dtype, None),)
    if i[-1] > len(p):
        raise ValueError(
            f"indices.shape[-1] must be <= params.rank, but saw indices shape: "
            f"{list(i)} and params shape: {list(p)}"
        )
    return ((params.dtype, (*i[:-1], *p[i[-1] :])),)


def _gather_nd(
    xp: Any, outs: Any, params: Any, indices: Any, extents: tuple[int, ...]
) -> None:
    flat = flat_indices(xp, indices, extents)
    if outs[0].size:
        outs[0][...] = params[flat]


def _gather_nd_lower(b: Builder, site: Site) -> View:
    params, indices = site.inputs
    extents, table, vectors = index_plan(params.shape, indices)
    (out,) = b.call(
        "gather_nd",
        _gather_nd,
        [b.reshape(params, table), b.reshape(indices, vectors)],
        [(params.dtype, (vectors[0], table[1]))],
        extents=extents,
    )
    shape = (*indices.shape[:-1], *params.shape[len(extents) :])
    return b.reshape(out, shape)


family.op(
    "GatherNd",
    (Input("params", attr="Tparams"), _INDICES),
    infer=_gather_nd_infer,
    lower=_gather_nd_lower,
)


@family.gradient("GatherNd")
def _gather_nd_grad(op: Operation, dy: Tensor) -> Any:
    params, indices = op.inputs
    shape = shape_of(params, indices.dtype, graph=op.graph)
    if (
        indices._shape is not None
        and len(indices._shape) == 2
        and indices._shape[1] == 1
    ):
        rows = op.graph.apply("Squeeze", indices, squeeze_dims=[-1])
        return [IndexedSlices(dy, rows, shape), None]
    return [op.graph.apply("ScatterNd", indices, dy, shape), None]


def gather_nd(
    params: Any, indices: Any, name: str | None = None, batch_dims: int = 0
) -> Tensor:
    """The slices of ``params`` at the index vectors in the last axis of ``indices``.

    Shapes:  indices [..., k], result indices[:-1] + params[k:]. With batch_dims, the
             first axes of both go together (static shapes only).
    """
    if not batch_dims:
        return apply_op("GatherNd", params, indices, name=name)
    with name_scope(name, "BatchGatherNd", [params, indices]):
        params, indices = convert_to_tensor(params), convert_to_tensor(indices)
        outer = indices._shape and indices._shape[:batch_dims]
        if not outer or None in outer or None in indices._shape[:-1]:
            raise ValueError(
                "gather_nd() with batch_dims needs indices of known shape."
            )
        # Each index vector is preceded by where in the batch it stands.
        grid = np.indices(indices._shape[:-1])[:batch_dims]
        where = np.moveaxis(grid, 0, -1).astype(indices.dtype.np_dtype)
        full = apply_op("ConcatV2", [convert_to_tensor(where), indices], -1)
        return apply_op("GatherNd", params, full)


def gather_nd_v2(
    params: Any, indices: Any, batch_dims: int = 0, name: str | None = None
) -> Tensor:
    """``gather_nd`` with the signature of TensorFlow 2."""
    return gather_nd(params, indices, name, batch_dims)
