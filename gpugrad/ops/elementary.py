"""Elementary functions: roots, exponentials, logarithms, trigonometry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.scalar import Expr, Lit, cast
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily

family = OpFamily()


def _slope_op(op_type: str, lower: Callable[..., Expr]) -> None:
    """An op that turns y and dy into dx. Their shapes are equal: nothing to sum."""
    family.elementwise(op_type, "y dy", lower, types=rules.INEXACT, elementwise=False)


def _unless_zero(dy: Expr, slope: Expr) -> Expr:
    """``slope``, and 0 where dy is 0 even if the slope is then 0 times infinity."""
    return scalar.select(scalar.equal(dy, 0), Lit(0, dy.dtype), slope)


def _conj(x: Expr) -> Expr:
    return scalar.conj(x) if x.dtype.is_complex else x


# --- Sqrt -----------------------------------------------------------------------------

family.elementwise("Sqrt", "x", scalar.sqrt, types=rules.INEXACT)
_slope_op("SqrtGrad", lambda y, dy: _unless_zero(dy, dy * 0.5 / _conj(y)))


@family.gradient("Sqrt")
def _sqrt_grad(op: Any, dy: Tensor) -> Any:
    return op.graph.apply("SqrtGrad", op.outputs[0], dy)


@family.gradient("SqrtGrad", after=True)
def _sqrt_grad_grad(op: Any, dy: Tensor) -> Any:
    slope = dy / op.inputs[0]
    return -rules.conj(slope) * op.outputs[0], 0.5 * slope


@family.numpy_function(np.sqrt)
def sqrt(x: Any, name: str | None = None) -> Tensor:
    """The square root; NaN for negative numbers."""
    return apply_op("Sqrt", x, name=name)


# --- Rsqrt ----------------------------------------------------------------------------


def _rsqrt_slope(y: Expr, dy: Expr) -> Expr:
    y = _conj(y)
    return _unless_zero(dy, dy * -0.5 * y * (y * y))


family.elementwise("Rsqrt", "x", scalar.rsqrt, types=rules.INEXACT)
_slope_op("RsqrtGrad", _rsqrt_slope)


@family.gradient("Rsqrt")
def _rsqrt_grad(op: Any, dy: Tensor) -> Any:
    return op.graph.apply("RsqrtGrad", op.outputs[0], dy)


@family.gradient("RsqrtGrad", after=True)
def _rsqrt_grad_grad(op: Any, dy: Tensor) -> Any:
    y, inner = rules.conj(op.inputs[0]), op.inputs[1]
    apply = op.graph.apply
    slope = -1.5 * rules.conj(dy) * inner * apply("Square", y)
    return slope, apply("RsqrtGrad", y, dy)


def rsqrt(x: Any, name: str | None = None) -> Tensor:
    """``1 / sqrt(x)``; infinite at 0, NaN for negative numbers."""
    return apply_op("Rsqrt", x, name=name)


# --- Reciprocal, Inv ------------------------------------------------------------------


def _reciprocal_slope(y: Expr, dy: Expr) -> Expr:
    y = _conj(y)
    return _unless_zero(dy, -(dy * y) * y)


for _name in ("Reciprocal", "Inv"):
    family.elementwise(
        _name,
        "x",
        scalar.reciprocal,
        types=(*rules.FLOATS, *rules.SIGNED, *rules.COMPLEX),
    )
    _slope_op(f"{_name}Grad", _reciprocal_slope)


@family.gradient("Reciprocal", "Inv")
def _reciprocal_grad(op: Any, dy: Tensor) -> Any:
    return op.graph.apply(f"{op.type}Grad", op.outputs[0], dy)


@family.gradient("ReciprocalGrad", "InvGrad", after=True)
def _reciprocal_grad_grad(op: Any, dy: Tensor) -> Any:
    y, inner = rules.conj(op.inputs[0]), op.inputs[1]
    return rules.conj(dy) * -2.0 * inner * y, op.graph.apply(op.type, y, dy)


@family.numpy_function(np.reciprocal)
def reciprocal(x: Any, name: str | None = None) -> Tensor:
    """``1 / x``; infinite at 0."""
    return apply_op("Reciprocal", x, name=name)


# --- Exp, Expm1 -----------------------------------------------------------------------

family.elementwise("Exp", "x", scalar.exp, types=rules.INEXACT)


@family.gradient("Exp")
def _exp_grad(op: Any, dy: Tensor) -> Any:
    return dy * rules.conj(op.outputs[0])


@family.numpy_function(np.exp)
def exp(x: Any, name: str | None = None) -> Tensor:
    """The exponential function."""
    return apply_op("Exp", x, name=name)


family.elementwise("Expm1", "x", scalar.expm1, types=rules.INEXACT)


@family.gradient("Expm1", after=True)
def _expm1_grad(op: Any, dy: Tensor) -> Any:
    return dy * op.graph.apply("Exp", rules.conj(op.inputs[0]))


@family.numpy_function(np.expm1)
def expm1(x: Any, name: str | None = None) -> Tensor:
    """``exp(x) - 1``, accurate near 0."""
    return apply_op("Expm1", x, name=name)


# --- Log, Log1p -----------------------------------------------------------------------

family.elementwise("Log", "x", scalar.log, types=rules.INEXACT)


@family.gradient("Log", after=True)
def _log_grad(op: Any, dy: Tensor) -> Any:
    return dy * op.graph.apply("Reciprocal", rules.conj(op.inputs[0]))


@family.numpy_function(np.log)
def log(x: Any, name: str | None = None) -> Tensor:
    """The natural logarithm; -inf at 0, NaN for negative numbers."""
    return apply_op("Log", x, name=name)


family.elementwise("Log1p", "x", scalar.log1p, types=rules.INEXACT)


@family.gradient("Log1p", after=True)
def _log1p_grad(op: Any, dy: Tensor) -> Any:
    return dy * op.graph.apply("Reciprocal", 1 + rules.conj(op.inputs[0]))


@family.numpy_function(np.log1p)
def log1p(x: Any, name: str | None = None) -> Tensor:
    """``log(1 + x)``, accurate near 0."""
    return apply_op("Log1p", x, name=name)


# --- Sin, Cos, Tan --------------------------------------------------------------------

family.elementwise("Sin", "x", scalar.sin, types=rules.INEXACT)


@family.gradient("Sin", after=True)
def _sin_grad(op: Any, dy: Tensor) -> Any:
    return dy * op.graph.apply("Cos", rules.conj(op.inputs[0]))


@family.numpy_function(np.sin)
def sin(x: Any, name: str | None = None) -> Tensor:
    """The sine of radians."""
    return apply_op("Sin", x, name=name)


family.elementwise("Cos", "x", scalar.cos, types=rules.INEXACT)


@family.gradient("Cos", after=True)
def _cos_grad(op: Any, dy: Tensor) -> Any:
    return -dy * op.graph.apply("Sin", rules.conj(op.inputs[0]))


@family.numpy_function(np.cos)
def cos(x: Any, name: str | None = None) -> Tensor:
    """The cosine of radians."""
    return apply_op("Cos", x, name=name)


family.elementwise("Tan", "x", scalar.tan, types=rules.INEXACT)


@family.gradient("Tan", after=True)
def _tan_grad(op: Any, dy: Tensor) -> Any:
    apply = op.graph.apply
    secant = apply("Reciprocal", apply("Cos", rules.conj(op.inputs[0])))
    return apply("Square", secant) * dy


@family.numpy_function(np.tan)
def tan(x: Any, name: str | None = None) -> Tensor:
    """The tangent of radians."""
    return apply_op("Tan", x, name=name)


# --- Asin, Acos, Atan, Atan2 ----------------------------------------------------------

family.elementwise("Asin", "x", scalar.asin, types=rules.INEXACT)
family.elementwise("Acos", "x", scalar.acos, types=rules.INEXACT)


def _arc_slope(op: Any) -> Tensor:
    """``1 / sqrt(1 - x * x)``."""
    apply = op.graph.apply
    x2 = apply("Square", rules.conj(op.inputs[0]))
    one = rules.const(op.graph, 1, x2.dtype)
    return apply("Reciprocal", apply("Sqrt", apply("Sub", one, x2)))


@family.gradient("Asin", after=True)
def _asin_grad(op: Any, dy: Tensor) -> Any:
    return dy * _arc_slope(op)


@family.gradient("Acos", after=True)
def _acos_grad(op: Any, dy: Tensor) -> Any:
    slope = _arc_slope(op)
    return -dy * slope


@family.numpy_function(np.arcsin)
def asin(x: Any, name: str | None = None) -> Tensor:
    """The inverse sine, between -pi/2 and pi/2; NaN outside -1 .. 1."""
    return apply_op("Asin", x, name=name)


@family.numpy_function(np.arccos)
def acos(x: Any, name: str | None = None) -> Tensor:
    """The inverse cosine, between 0 and pi; NaN outside -1 .. 1."""
    return apply_op("Acos", x, name=name)


family.elementwise("Atan", "x", scalar.atan, types=rules.INEXACT)


@family.gradient("Atan", after=True)
def _atan_grad(op: Any, dy: Tensor) -> Any:
    apply = op.graph.apply
    x2 = apply("Square", rules.conj(op.inputs[0]))
    one = rules.const(op.graph, 1, x2.dtype)
    return dy * apply("Reciprocal", apply("AddV2", one, x2, name="Add"))


@family.numpy_function(np.arctan)
def atan(x: Any, name: str | None = None) -> Tensor:
    """The inverse tangent, between -pi/2 and pi/2."""
    return apply_op("Atan", x, name=name)


family.elementwise("Atan2", "y x", scalar.atan2, types=rules.FLOATS)


@family.gradient("Atan2", after=True)
def _atan2_grad(op: Any, dy: Tensor) -> Any:
    y, x = op.inputs
    apply = op.graph.apply
    slope = dy / (apply("Square", y) + apply("Square", x))
    return x * slope, -y * slope


@family.numpy_function(np.arctan2)
def atan2(y: Any, x: Any, name: str | None = None) -> Tensor:
    """The angle of the point (x, y), between -pi and pi, with broadcasting."""
    return apply_op("Atan2", y, x, name=name)


# --- Sinh, Cosh, Tanh -----------------------------------------------------------------

family.elementwise("Sinh", "x", scalar.sinh, types=rules.INEXACT)


@family.gradient("Sinh", after=True)
def _sinh_grad(op: Any, dy: Tensor) -> Any:
    return dy * op.graph.apply("Cosh", rules.conj(op.inputs[0]))


@family.numpy_function(np.sinh)
def sinh(x: Any, name: str | None = None) -> Tensor:
    """The hyperbolic sine."""
    return apply_op("Sinh", x, name=name)


family.elementwise("Cosh", "x", scalar.cosh, types=rules.INEXACT)


@family.gradient("Cosh", after=True)
def _cosh_grad(op: Any, dy: Tensor) -> Any:
    return dy * op.graph.apply("Sinh", rules.conj(op.inputs[0]))


@family.numpy_function(np.cosh)
def cosh(x: Any, name: str | None = None) -> Tensor:
    """The hyperbolic cosine."""
    return apply_op("Cosh", x, name=name)


family.elementwise("Tanh", "x", scalar.tanh, types=rules.INEXACT)
_slope_op("TanhGrad", lambda y, dy: dy * (1 - y * y))


@family.gradient("Tanh")
def _tanh_grad(op: Any, dy: Tensor) -> Any:
    return op.graph.apply("TanhGrad", rules.conj(op.outputs[0]), dy)


@family.gradient("TanhGrad", after=True)
def _tanh_grad_grad(op: Any, dy: Tensor) -> Any:
    y, inner = map(rules.conj, op.inputs)
    return dy * -2.0 * inner * y, op.graph.apply("TanhGrad", y, dy)


@family.numpy_function(np.tanh)
def tanh(x: Any, name: str | None = None) -> Tensor:
    """The hyperbolic tangent."""
    return apply_op("Tanh", x, name=name)


# --- Asinh, Acosh, Atanh --------------------------------------------------------------

family.elementwise("Asinh", "x", scalar.asinh, types=rules.INEXACT)


@family.gradient("Asinh", after=True)
def _asinh_grad(op: Any, dy: Tensor) -> Any:
    return dy / op.graph.apply("Cosh", rules.conj(op.outputs[0]))


@family.numpy_function(np.arcsinh)
def asinh(x: Any, name: str | None = None) -> Tensor:
    """The inverse hyperbolic sine."""
    return apply_op("Asinh", x, name=name)


family.elementwise("Acosh", "x", scalar.acosh, types=rules.INEXACT)


@family.gradient("Acosh", after=True)
def _acosh_grad(op: Any, dy: Tensor) -> Any:
    return dy / op.graph.apply("Sinh", rules.conj(op.outputs[0]))


@family.numpy_function(np.arccosh)
def acosh(x: Any, name: str | None = None) -> Tensor:
    """The inverse hyperbolic cosine; NaN below 1."""
    return apply_op("Acosh", x, name=name)


family.elementwise("Atanh", "x", scalar.atanh, types=rules.INEXACT)


@family.gradient("Atanh", after=True)
def _atanh_grad(op: Any, dy: Tensor) -> Any:
    apply = op.graph.apply
    x2 = apply("Square", rules.conj(op.inputs[0]))
    one = rules.const(op.graph, 1, x2.dtype)
    return dy * apply("Reciprocal", apply("Sub", one, x2))


@family.numpy_function(np.arctanh)
def atanh(x: Any, name: str | None = None) -> Tensor:
    """The inverse hyperbolic tangent; infinite at -1 and 1, NaN beyond."""
    return apply_op("Atanh", x, name=name)


# --- Sigmoid --------------------------------------------------------------------------


def _sigmoid(x: Expr) -> Expr:
    if rules.is_half(x.dtype):
        # exp(-x) would overflow float16 where the sigmoid itself is still normal.
        return cast(_sigmoid(cast(x, dtypes.float32)), x.dtype)
    return scalar.reciprocal(1 + scalar.exp(-x))


family.elementwise("Sigmoid", "x", _sigmoid, types=rules.INEXACT)
_slope_op("SigmoidGrad", lambda y, dy: dy * y * (1 - y))


@family.gradient("Sigmoid")
def _sigmoid_grad(op: Any, dy: Tensor) -> Any:
    return op.graph.apply("SigmoidGrad", rules.conj(op.outputs[0]), dy)


@family.gradient("SigmoidGrad", after=True)
def _sigmoid_grad_grad(op: Any, dy: Tensor) -> Any:
    y, inner = map(rules.conj, op.inputs)
    slope = dy * inner
    return slope - 2.0 * slope * y, op.graph.apply("SigmoidGrad", y, dy)


def sigmoid(x: Any, name: str | None = None) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return apply_op("Sigmoid", x, name=name)
