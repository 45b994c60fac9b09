"""What shape a tensor has, as tensors: constants where it is known while building."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site, broadcast_shape
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily, is_known
from gpugrad.ops.static import outputs, rank_of, shape_of, size_of, static_input, vector

family = OpFamily()

# --- Shape, ShapeN ------------------------------------------------------------------


def _out_type(op: Operation) -> DType:
    dtype: DType = op.attrs["out_type"]
    return dtype


def _shape_infer(op: Operation) -> Any:
    shapes_ = [t._shape for t in op.inputs]
    return [(_out_type(op), (None if s is None else len(s),)) for s in shapes_]


def _shape_value(op: Operation, inputs: list[Any]) -> Any:
    found = [t._shape for t in op.inputs]
    if any(s is None for s in found):
        return None
    return [vector(s, _out_type(op)) for s in found if s is not None]


def _shape_lower(b: Builder, site: Site) -> Sequence[View]:
    return [
        b.literal(np.array(view.shape, dtype.np_dtype), dtype)
        for view, dtype in zip(site.inputs, site.dtypes)
    ]


family.op(
    "Shape",
    "input",
    attrs={"out_type": dtypes.int32},
    infer=_shape_infer,
    value=_shape_value,
    lower=_shape_lower,
)
family.op(
    "ShapeN",
    (Input("input", number="N"),),
    attrs={"out_type": dtypes.int32},
    infer=_shape_infer,
    value=_shape_value,
    lower=_shape_lower,
)


def shape(
    input: Any, name: str | None = None, out_type: Any = None, optimize: bool = True
) -> Tensor:
    """The shape of ``input`` as a vector of int32 (or ``out_type``).

    A constant if the static shape is fully known. Of IndexedSlices, its dense_shape.
    """
    dtype = dtypes.int32 if out_type is None else as_dtype(out_type)
    if isinstance(input, IndexedSlices) and input.dense_shape is not None:
        return apply_op("Cast", input.dense_shape, DstT=dtype, name=name)
    with name_scope(name, "Shape", [input]) as scope:
        x = _tensor(input)
        if not optimize:
            return apply_op("Shape", x, name=scope, out_type=dtype)
        return shape_of(x, dtype, scope)


def shape_v2(input: Any, out_type: Any = None, name: str | None = None) -> Tensor:
    """``shape`` with the signature of TensorFlow 2."""
    return shape(input, name, out_type)


def shape_n(
    input: Sequence[Any], out_type: Any = dtypes.int32, name: str | None = None
) -> list[Tensor]:
    """The shapes of several tensors, made by one op."""
    found = apply_op("ShapeN", list(input), name=name, out_type=as_dtype(out_type))
    return outputs(found)


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else convert_to_tensor(value)


# --- Size, Rank ---------------------------------------------------------------------


def _scalar_infer(op: Operation) -> Any:
    return ((op.attrs.get("out_type", dtypes.int32), ()),)


def _size_value(op: Operation, inputs: list[Any]) -> Any:
    found = op.inputs[0]._shape
    if not shapes.is_known(found):
        return None
    return [np.array(np.prod(found, dtype=np.int64), _out_type(op).np_dtype)]  # type: ignore[arg-type]


def _size_lower(b: Builder, site: Site) -> View:
    dtype = site.dtypes[0]
    return b.literal(np.array(site.inputs[0].size, dtype.np_dtype), dtype)


def _rank_value(op: Operation, inputs: list[Any]) -> Any:
    found = op.inputs[0]._shape
    return None if found is None else [np.array(len(found), np.int32)]


def _rank_lower(b: Builder, site: Site) -> View:
    return b.literal(np.array(site.inputs[0].rank, np.int32), dtypes.int32)


family.op(
    "Size",
    "input",
    attrs={"out_type": dtypes.int32},
    infer=_scalar_infer,
    value=_size_value,
    lower=_size_lower,
)
family.op("Rank", "input", infer=_scalar_infer, value=_rank_value, lower=_rank_lower)
family.no_gradient("Shape", "ShapeN", "Size", "Rank")


@family.numpy_function(np.size)
def size(input: Any, name: str | None = None, out_type: Any = None) -> Tensor:
    """The number of elements of ``input``: a constant if it is known while building."""
    dtype = dtypes.int32 if out_type is None else as_dtype(out_type)
    with name_scope(name, "Size", [input]) as scope:
        return size_of(_tensor(input), dtype, scope)


def size_v2(input: Any, out_type: Any = None, name: str | None = None) -> Tensor:
    """``size`` with the signature of TensorFlow 2."""
    return size(input, name, out_type)


def rank(input: Any, name: str | None = None) -> Tensor:
    """The number of dimensions of ``input``: a constant if it is known."""
    with name_scope(name, "Rank", [input]) as scope:
        return rank_of(_tensor(input), scope)


@family.numpy_function(np.shape)
def _numpy_shape(a: Any) -> Any:
    return tuple(a.shape)


@family.numpy_function(np.ndim)
def _numpy_ndim(a: Any) -> Any:
    return a.ndim


# --- broadcasting of shapes ---------------------------------------------------------


def reduction_axes(
    shape: Sequence[int], other: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Over which axes of the broadcast result each side's gradient is summed."""
    if tuple(shape) == tuple(other):
        return [], []
    rank = max(len(shape), len(other))
    sides = [(1,) * (rank - len(s)) + tuple(s) for s in (shape, other)]
    missing = [rank - len(s) for s in (shape, other)]
    axes: tuple[list[int], list[int]] = ([], [])
    for axis, (m, n) in enumerate(zip(*sides)):
        if m != n and m != 1 and n != 1:
            raise ValueError(
                f"Incompatible shapes: {list(shape)} vs. {list(other)} of a gradient"
            )
        for side, extent in enumerate((m, n)):
            if axis < missing[side] or extent == 1:
                axes[side].append(axis)
    return axes


def _args_infer(op: Operation) -> Any:
    dtype = op.inputs[0].dtype
    return ((dtype, (None,)), (dtype, (None,)))


def _args_value(op: Operation, inputs: list[Any]) -> Any:
    if not all(is_known(v) for v in inputs):
        return None
    dtype = op.inputs[0].dtype.np_dtype
    return [np.array(a, dtype) for a in reduction_axes(*[v.tolist() for v in inputs])]


def _args_lower(b: Builder, site: Site) -> Sequence[View]:
    dtype = site.dtypes[0]
    axes = reduction_axes(b.integers(site.inputs[0]), b.integers(site.inputs[1]))
    return [b.literal(np.array(a, dtype.np_dtype), dtype) for a in axes]


family.op(
    "BroadcastGradientArgs",
    (static_input("s0", "T"), static_input("s1", "T")),
    infer=_args_infer,
    value=_args_value,
    lower=_args_lower,
)
family.no_gradient("BroadcastGradientArgs")


def _broadcast_args_infer(op: Operation) -> Any:
    s0, s1 = (t._shape for t in op.inputs)
    rank = None
    if s0 is not None and s1 is not None and None not in (s0[0], s1[0]):
        rank = max(s0[0], s1[0])  # type: ignore[type-var]
    return ((op.inputs[0].dtype, (rank,)),)


def _broadcast_args_value(op: Operation, inputs: list[Any]) -> Any:
    parts = [values.sizes(t) for t in op.inputs]
    if any(p is None for p in parts):
        return None
    both = shapes.broadcast(*parts)
    return None if both is None else [vector(both, op.inputs[0].dtype)]


def _broadcast_args_lower(b: Builder, site: Site) -> View:
    dtype = site.dtypes[0]
    both = broadcast_shape(*[b.integers(v) for v in site.inputs])
    return b.literal(np.array(both, dtype.np_dtype), dtype)


family.op(
    "BroadcastArgs",
    (static_input("s0", "T"), static_input("s1", "T")),
    infer=_broadcast_args_infer,
    value=_broadcast_args_value,
    lower=_broadcast_args_lower,
)


def broadcast_dynamic_shape(shape_x: Any, shape_y: Any) -> Tensor:
    """The shape, a vector, that tensors of the two shapes broadcast to."""
    return apply_op("BroadcastArgs", shape_x, shape_y)


def broadcast_static_shape(shape_x: Any, shape_y: Any) -> shapes.TensorShape:
    """The TensorShape that the two broadcast to; ValueError if they do not."""
    both = shapes.broadcast(shapes.as_partial(shape_x), shapes.as_partial(shape_y))
    return shapes.TensorShape(both)
