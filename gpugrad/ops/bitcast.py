"""Bitcast: the same bytes under another dtype."""

from __future__ import annotations

from typing import Any

from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph.build import apply_op
from gpugrad.graph.tensor import Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import Shape, View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily

family = OpFamily()


def _shape(shape: Any, source: DType, target: DType) -> Any:
    """The shape that the bytes have as ``target``; ValueError if they do not fit."""
    if shape is None or source.itemsize == target.itemsize:
        return shape
    if source.itemsize > target.itemsize:
        return (*shape, source.itemsize // target.itemsize)
    if not shape:
        raise ValueError("Shape must be at least rank 1 but is rank 0.")
    count = target.itemsize // source.itemsize
    if shape[-1] not in (None, count):
        raise ValueError(
            f"Cannot bitcast from {shape[-1]} to {count} due to shape. {shape[-1]} "
            f"elements of {source.name} do not make one {target.name}."
        )
    return shape[:-1]


def _infer(op: Any) -> Any:
    rules.require_dtype(op, 0, rules.NUMBERS)
    target = op.attrs["type"]
    if target not in rules.NUMBERS:
        names = ", ".join(d.name for d in rules.NUMBERS)
        raise TypeError(
            f"Value passed to parameter 'type' has DataType {target.name} not in list "
            f"of allowed values: {names}."
        )
    x = op.inputs[0]
    return ((target, _shape(x._shape, x.dtype, target)),)


def _reinterpret(xp: Any, outs: Any, x: Any) -> None:
    (out,) = outs
    flat = xp.ascontiguousarray(x).reshape(-1)
    out[...] = flat.view(out.dtype).reshape(out.shape)


def _lower(b: Builder, site: Site) -> View:
    (x,) = site.inputs
    target = site.dtypes[0]
    shape: Shape = _shape(x.shape, x.dtype, target)
    if not x.size:
        return b.new(target, shape)
    (out,) = b.call("bitcast", _reinterpret, [x], [(target, shape)])
    return out


family.op(
    "Bitcast",
    "input",
    attrs={"type": ...},
    infer=_infer,
    lower=_lower,
)


def bitcast(input: Any, type: Any, name: str | None = None) -> Tensor:
    """The bytes of ``input`` as elements of the dtype ``type``. It has no gradient.

    Shapes:  as they are if both types are of one size; a larger type takes up the last
             axis, which has to hold its parts, a smaller one adds a last axis.
    """
    return apply_op("Bitcast", input, type=as_dtype(type).base_dtype, name=name)
