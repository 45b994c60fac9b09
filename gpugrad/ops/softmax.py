"""Softmax and its logarithm, along one axis."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph.build import apply_op, convert_to_tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily, same_as_input

family = OpFamily()


# --- Softmax --------------------------------------------------------------------------


def _infer_rows(op: Any) -> Any:
    rules.require_dtype(op, 0, rules.FLOATS)
    rules.require_rank(op.inputs[0]._shape, 1, least=True)
    return same_as_input(op)


def wide_dtype(dtype: DType) -> DType:
    """The dtype to compute rows in: float32 for the half types."""
    return dtypes.float32 if rules.is_half(dtype) else dtype


def shifted_rows(b: Builder, logits: View) -> tuple[View, View]:
    """(x minus its row's maximum, sum of the exponentials of that), in wide_dtype."""
    wide = wide_dtype(logits.dtype)
    last = (logits.rank - 1,)
    top = b.reduce("max", logits, last, keepdims=True)
    shifted = b.map(
        lambda x, m: scalar.cast(x, wide) - scalar.cast(m, wide), logits, top
    )
    return shifted, b.reduce("sum", shifted, last, keepdims=True, before=scalar.exp)


def _lower_softmax(b: Builder, site: Site) -> View:
    shifted, total = shifted_rows(b, site.inputs[0])
    return b.map(lambda x, s: scalar.exp(x) / s, shifted, total, dtype=site.dtypes[0])


family.op("Softmax", "logits", infer=_infer_rows, lower=_lower_softmax)


@family.gradient("Softmax")
def _softmax_grad(op: Any, dy: Any) -> Any:
    y = op.outputs[0]
    inner = op.graph.apply("Sum", dy * y, -1, keep_dims=True)
    return (dy - inner) * y


def softmax(
    logits: Any,
    axis: int | None = None,
    name: str | None = None,
    dim: int | None = None,
) -> Any:
    """exp(x) / sum(exp(x)) along ``axis``, by default the last."""
    return _along_axis("Softmax", logits, rules.one_of(axis, dim, "axis", "dim"), name)


def _along_axis(op_type: str, logits: Any, axis: Any, name: str | None) -> Any:
    """The op over ``axis``: over the last one of the transposed tensor."""
    x = convert_to_tensor(logits, name="logits")
    axis = -1 if axis is None else int(axis)
    rank = x.ndim
    if axis == -1 or (rank is not None and axis == rank - 1):
        return apply_op(op_type, x, name=name)
    if rank is None:
        raise ValueError(
            f"{op_type} over axis {axis} needs a tensor of known rank; use set_shape()."
        )
    if not -rank <= axis < rank:
        raise InvalidArgumentError(
            None,
            None,
            f"`dim` must be in the range [{-rank}, {rank}) where {rank} is the number "
            f"of dimensions in the input. Received: dim={axis}",
        )
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    swapped = apply_op("Transpose", x, order, name="transpose")
    result = apply_op(op_type, swapped, name=name)
    return apply_op("Transpose", result, order, name="transpose")


# --- LogSoftmax -----------------------------------------------------------------------


def _lower_log_softmax(b: Builder, site: Site) -> View:
    shifted, total = shifted_rows(b, site.inputs[0])
    return b.map(lambda x, s: x - scalar.log(s), shifted, total, dtype=site.dtypes[0])


family.op("LogSoftmax", "logits", infer=_infer_rows, lower=_lower_log_softmax)


@family.gradient("LogSoftmax")
def _log_softmax_grad(op: Any, dy: Any) -> Any:
    y = op.graph.apply("Exp", op.outputs[0])
    return dy - op.graph.apply("Sum", dy, -1, keep_dims=True) * y


def log_softmax(
    logits: Any,
    axis: int | None = None,
    name: str | None = None,
    dim: int | None = None,
) -> Any:
    """log(softmax(x)), without overflow."""
    axis = rules.one_of(axis, dim, "axis", "dim")
    return _along_axis("LogSoftmax", logits, axis, name)
