"""Scattering rows and elements to indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad import dtypes, shapes
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily, same_as_input
from gpugrad.ops.indices import flat_indices, index_plan
from gpugrad.ops.rules import zeros_like
from gpugrad.ops.scatter_rows import combine
from gpugrad.ops.static import shape_of

family = OpFamily()

_INDICES = Input("indices", attr="Tindices", default=dtypes.int32)

# --- ScatterNd ----------------------------------------------------------------------


def _check_updates(
    shape: shapes.Partial, indices: shapes.Partial, updates: shapes.Partial
) -> None:
    if shape is None or indices is None or updates is None or indices[-1] is None:
        return
    if indices[-1] > len(shape):
        raise ValueError(
            f"indices.shape[-1] = {indices[-1]} is more than the rank of shape "
            f"{list(shape)}"
        )
    wanted = (*indices[:-1], *shape[indices[-1] :])
    if not shapes.compatible(wanted, updates):
        raise ValueError(
            f"updates must be of shape indices.shape[:-1] + shape[k:] = "
            f"{list(wanted)}, not {list(updates)}"
        )


def _scatter_infer(op: Operation) -> Any:
    indices, updates, shape = op.inputs
    dims = values.sizes(shape)
    _check_updates(dims, indices._shape, updates._shape)
    return ((updates.dtype, dims),)


def _scatter_nd(
    xp: Any, outs: Any, indices: Any, updates: Any, extents: tuple[int, ...]
) -> None:
    outs[0][...] = 0
    combine(xp, outs[0], "sum", flat_indices(xp, indices, extents), updates)


def _scatter_lower(b: Builder, site: Site) -> View:
    indices, updates, shape = site.inputs
    dims = b.integers(shape)
    _check_updates(dims, indices.shape, updates.shape)
    extents, table, vectors = index_plan(dims, indices)
    (out,) = b.call(
        "scatter_nd",
        _scatter_nd,
        [b.reshape(indices, vectors), b.reshape(updates, (vectors[0], table[1]))],
        [(updates.dtype, table)],
        extents=extents,
    )
    return b.reshape(out, dims)


family.op(
    "ScatterNd",
    (
        _INDICES,
        Input("updates"),
        Input("shape", attr="Tindices", default=dtypes.int32, static=True),
    ),
    infer=_scatter_infer,
    lower=_scatter_lower,
)


@family.gradient("ScatterNd")
def _scatter_grad(op: Operation, dy: Tensor) -> Any:
    return [None, op.graph.apply("GatherNd", dy, op.inputs[0]), None]


def scatter_nd(
    indices: Any, updates: Any, shape: Any, name: str | None = None
) -> Tensor:
    """Zeros of ``shape`` with ``updates`` added at the index vectors of ``indices``.

    Shapes: indices [..., k], updates indices[:-1] + shape[k:]. Repeated ones add up.
    """
    return apply_op("ScatterNd", indices, updates, shape, name=name)


# --- TensorScatter* -----------------------------------------------------------------


def _tensor_scatter_infer(op: Operation) -> Any:
    tensor, indices, updates = op.inputs
    _check_updates(tensor._shape, indices._shape, updates._shape)
    return same_as_input(op)


def _tensor_scatter(
    xp: Any,
    outs: Any,
    tensor: Any,
    indices: Any,
    updates: Any,
    extents: tuple[int, ...],
    kind: str,
) -> None:
    out = outs[0]
    out[...] = tensor
    flat = flat_indices(xp, indices, extents)
    if not out.size:
        return
    if kind == "update":
        out[flat] = updates
    elif kind == "sub":
        combine(xp, out, "sum", flat, -updates)
    else:
        combine(xp, out, kind, flat, updates)


def _tensor_scatter_lower(kind: str) -> Callable[[Builder, Site], View]:
    def lower(b: Builder, site: Site) -> View:
        tensor, indices, updates = site.inputs
        _check_updates(tensor.shape, indices.shape, updates.shape)
        extents, table, vectors = index_plan(tensor.shape, indices)
        (out,) = b.call(
            "tensor_scatter",
            _tensor_scatter,
            [
                b.reshape(tensor, table),
                b.reshape(indices, vectors),
                b.reshape(updates, (vectors[0], table[1])),
            ],
            [(tensor.dtype, table)],
            extents=extents,
            kind=kind,
        )
        return b.reshape(out, tensor.shape)

    return lower


for _type, _kind in (
    ("TensorScatterUpdate", "update"),
    ("TensorScatterAdd", "sum"),
    ("TensorScatterSub", "sub"),
    ("TensorScatterMax", "max"),
    ("TensorScatterMin", "min"),
):
    family.op(
        _type,
        (Input("tensor"), _INDICES, Input("updates")),
        infer=_tensor_scatter_infer,
        lower=_tensor_scatter_lower(_kind),
    )


@family.gradient("TensorScatterUpdate")
def _update_grad(op: Operation, dy: Tensor) -> Any:
    _, indices, updates = op.inputs
    apply = op.graph.apply
    taken = apply("GatherNd", dy, indices)
    kept = apply("TensorScatterUpdate", dy, indices, zeros_like(op.graph, updates))
    return [kept, None, taken]


@family.gradient("TensorScatterAdd")
def _add_grad(op: Operation, dy: Tensor) -> Any:
    return [dy, None, op.graph.apply("GatherNd", dy, op.inputs[1])]


@family.gradient("TensorScatterSub")
def _sub_grad(op: Operation, dy: Tensor) -> Any:
    return [dy, None, -op.graph.apply("GatherNd", dy, op.inputs[1])]


@family.gradient("TensorScatterMax", "TensorScatterMin")
def _extreme_grad(op: Operation, dy: Tensor) -> Any:
    """Equal shares to the tensor and to every update that made the result."""
    x, indices, updates = op.inputs
    y = op.outputs[0]
    graph, apply = op.graph, op.graph.apply
    from_x = apply("Cast", apply("Equal", x, y), DstT=dy.dtype)
    made = apply("Equal", updates, apply("GatherNd", y, indices))
    from_updates = apply("Cast", made, DstT=dy.dtype)
    shape = shape_of(x, indices.dtype, graph=graph)
    share = dy / (from_x + apply("ScatterNd", indices, from_updates, shape))
    return [share * from_x, None, apply("GatherNd", share, indices) * from_updates]


def tensor_scatter_update(
    tensor: Any, indices: Any, updates: Any, name: str | None = None
) -> Tensor:
    """``tensor`` with the elements at ``indices`` replaced (see scatter_nd)."""
    return apply_op("TensorScatterUpdate", tensor, indices, updates, name=name)


def tensor_scatter_add(
    tensor: Any, indices: Any, updates: Any, name: str | None = None
) -> Tensor:
    """``tensor`` with ``updates`` added at ``indices``; repeated ones add up."""
    return apply_op("TensorScatterAdd", tensor, indices, updates, name=name)


def tensor_scatter_sub(
    tensor: Any, indices: Any, updates: Any, name: str | None = None
) -> Tensor:
    """``tensor`` with ``updates`` subtracted at ``indices``."""
    return apply_op("TensorScatterSub", tensor, indices, updates, name=name)


def tensor_scatter_max(
    tensor: Any, indices: Any, updates: Any, name: str | None = None
) -> Tensor:
    """``tensor`` with the maximum of it and ``updates`` at ``indices``."""
    return apply_op("TensorScatterMax", tensor, indices, updates, name=name)


def tensor_scatter_min(
    tensor: Any, indices: Any, updates: Any, name: str | None = None
) -> Tensor:
    """``tensor`` with the minimum of it and ``updates`` at ``indices``."""
    return apply_op("TensorScatterMin", tensor, indices, updates, name=name)
