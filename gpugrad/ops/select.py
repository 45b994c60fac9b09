"""Choice by a condition: Select, SelectV2, and where."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily
from gpugrad.shapes import Partial

family = OpFamily()

_INPUTS = (Input("condition", attr=None, dtype=dtypes.bool_), Input("t"), Input("e"))


# --- Select ---------------------------------------------------------------------------


def _check_condition(condition: Partial, shape: Partial) -> None:
    """A scalar, a vector over the first axis, or the whole shape."""
    if condition is None or shape is None or len(condition) == 0:
        return
    if len(condition) == 1 and len(shape) > 1:
        rules.merge_shapes(condition, shape[:1])
    else:
        rules.merge_shapes(condition, shape)


def _infer(op: Any) -> Any:
    condition, t, e = op.inputs
    shape = rules.merge_shapes(t._shape, e._shape)
    _check_condition(condition._shape, shape)
    if condition._shape is not None and len(condition._shape) > 1:
        shape = rules.merge_shapes(shape, condition._shape)
    return ((t.dtype, shape),)


def _lower(b: Builder, site: Site) -> View:
    condition, t, e = site.inputs
    rules.merge_shapes(t.shape, e.shape)
    _check_condition(condition.shape, t.shape)
    if condition.rank == 1:
        while condition.rank < t.rank:
            condition = condition.insert_axis(condition.rank)
    return b.map(scalar.select, condition, t, e)


family.op("Select", _INPUTS, infer=_infer, lower=_lower)


@family.gradient("Select")
def _select_grad(op: Any, dy: Tensor) -> Any:
    condition, t, _ = op.inputs
    apply = op.graph.apply
    zeros = rules.zeros_like(op.graph, t)
    dt = apply("Select", condition, dy, zeros)
    return None, dt, apply("Select", condition, zeros, dy)


# --- SelectV2 -------------------------------------------------------------------------

family.elementwise("SelectV2", _INPUTS, scalar.select)


@family.gradient("SelectV2")
def _select_v2_grad(op: Any, dy: Tensor) -> Any:
    condition = op.inputs[0]
    apply = op.graph.apply
    zero = rules.const(op.graph, 0, dy.dtype, "zeros")
    dt = apply("SelectV2", condition, dy, zero)
    return None, dt, apply("SelectV2", condition, zero, dy)


# --- where ----------------------------------------------------------------------------


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Any:
    """``x`` where the condition holds, ``y`` elsewhere; without both, where it holds.

    Shapes:  x and y of one shape; the condition of that shape, a scalar, or a vector
             that chooses whole rows. With the condition alone, the coordinates of its
             true (or nonzero) elements, int64 [count, rank].
    """
    return _where("Select", condition, x, y, name)


@family.numpy_function(np.where)
def where_v2(
    condition: Any, x: Any = None, y: Any = None, name: str | None = None
) -> Any:
    """``x`` where the condition holds, ``y`` elsewhere; without both, where it holds.

    All three are broadcast. With the condition alone, the coordinates of its true (or
    nonzero) elements, int64 [count, rank].
    """
    return _where("SelectV2", condition, x, y, name)


def _where(op_type: str, condition: Any, x: Any, y: Any, name: str | None) -> Any:
    if (x is None) != (y is None):
        raise ValueError("x and y must both be non-None or both be None.")
    if x is None:
        return apply_op(
            "Where", convert_to_tensor(condition, name="condition"), name=name
        )
    return apply_op(op_type, condition, x, y, name=name)
