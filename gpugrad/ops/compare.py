"""Comparisons, tests of floats, logic, and the bits of integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.graph.build import apply_op, convert_to_tensor
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily

family = OpFamily()


# --- Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual --------------------------

for _type, _function in (("Equal", scalar.equal), ("NotEqual", scalar.not_equal)):
    family.elementwise(
        _type,
        "x y",
        _function,
        result=dtypes.bool_,
        attrs={"incompatible_shape_error": True},
    )
for _type, _function in (
    ("Less", scalar.less),
    ("LessEqual", scalar.less_equal),
    ("Greater", scalar.greater),
    ("GreaterEqual", scalar.greater_equal),
):
    family.elementwise(_type, "x y", _function, result=dtypes.bool_, types=rules.REAL)
family.no_gradient("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual")


@family.numpy_function(np.equal)
def equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x == y``, element by element, with broadcasting; False where one is NaN."""
    return apply_op("Equal", x, y, name=name)


@family.numpy_function(np.not_equal)
def not_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x != y``, element by element, with broadcasting; True where one is NaN."""
    return apply_op("NotEqual", x, y, name=name)


@family.numpy_function(np.less)
def less(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x < y``, element by element, with broadcasting."""
    return apply_op("Less", x, y, name=name)


@family.numpy_function(np.less_equal)
def less_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x <= y``, element by element, with broadcasting."""
    return apply_op("LessEqual", x, y, name=name)


@family.numpy_function(np.greater)
def greater(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x > y``, element by element, with broadcasting."""
    return apply_op("Greater", x, y, name=name)


@family.numpy_function(np.greater_equal)
def greater_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x >= y``, element by element, with broadcasting."""
    return apply_op("GreaterEqual", x, y, name=name)


# --- ApproximateEqual -----------------------------------------------------------------


def _infer_approximate(op: Any) -> Any:
    x, y = op.inputs
    rules.require_dtype(op, 0, rules.NUMBERS)
    return ((dtypes.bool_, shapes.broadcast(x._shape, y._shape)),)


def _lower_approximate(b: Builder, site: Site) -> View:
    tolerance = site.attrs["tolerance"]
    return b.map(lambda x, y: scalar.less(scalar.abs_(x - y), tolerance), *site.inputs)


family.op(
    "ApproximateEqual",
    "x y",
    attrs={"tolerance": 1e-5},
    infer=_infer_approximate,
    lower=_lower_approximate,
    elementwise=True,
)
family.no_gradient("ApproximateEqual")


def approximate_equal(
    x: Any, y: Any, tolerance: float = 1e-5, name: str | None = None
) -> Tensor:
    """``abs(x - y) < tolerance``, element by element."""
    return apply_op("ApproximateEqual", x, y, tolerance=tolerance, name=name)


# --- IsNan, IsInf, IsFinite -----------------------------------------------------------
# As in TensorFlow these have no gradient entry at all: one that arrives is an error.

for _type, _function in (
    ("IsNan", scalar.isnan),
    ("IsInf", scalar.isinf),
    ("IsFinite", scalar.isfinite),
):
    family.elementwise(_type, "x", _function, result=dtypes.bool_, types=rules.FLOATS)


@family.numpy_function(np.isnan)
def is_nan(x: Any, name: str | None = None) -> Tensor:
    """True where x is not a number."""
    return apply_op("IsNan", x, name=name)


@family.numpy_function(np.isinf)
def is_inf(x: Any, name: str | None = None) -> Tensor:
    """True where x is infinite, of either sign."""
    return apply_op("IsInf", x, name=name)


@family.numpy_function(np.isfinite)
def is_finite(x: Any, name: str | None = None) -> Tensor:
    """True where x is neither infinite nor NaN."""
    return apply_op("IsFinite", x, name=name)


# --- LogicalAnd, LogicalOr, LogicalNot ------------------------------------------------


def _booleans(names: str) -> list[Input]:
    return [Input(name, attr=None, dtype=dtypes.bool_) for name in names.split()]


family.elementwise("LogicalAnd", _booleans("x y"), scalar.logical_and)
family.elementwise("LogicalOr", _booleans("x y"), scalar.logical_or)
family.elementwise("LogicalNot", _booleans("x"), scalar.logical_not)
family.no_gradient("LogicalAnd", "LogicalOr", "LogicalNot")


@family.numpy_function(np.logical_and)
def logical_and(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x and y`` of booleans, element by element, with broadcasting."""
    return apply_op("LogicalAnd", x, y, name=name)


@family.numpy_function(np.logical_or)
def logical_or(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x or y`` of booleans, element by element, with broadcasting."""
    return apply_op("LogicalOr", x, y, name=name)


@family.numpy_function(np.logical_not)
def logical_not(x: Any, name: str | None = None) -> Tensor:
    """``not x`` of booleans, element by element."""
    return apply_op("LogicalNot", x, name=name)


@family.numpy_function(np.logical_xor)
def logical_xor(x: Any, y: Any, name: str | None = "LogicalXor") -> Tensor:
    """True where exactly one of two booleans is, with broadcasting."""
    either = logical_or(x, y)
    return logical_and(either, logical_not(logical_and(x, y)), name=name)


# --- BitwiseAnd, BitwiseOr, BitwiseXor, Invert, LeftShift, RightShift -----------------

for _type, _inputs, _function in (
    ("BitwiseAnd", "x y", scalar.bit_and),
    ("BitwiseOr", "x y", scalar.bit_or),
    ("BitwiseXor", "x y", scalar.bit_xor),
    ("Invert", "x", scalar.bit_not),
    ("LeftShift", "x y", scalar.shift_left),
    ("RightShift", "x y", scalar.shift_right),
):
    family.elementwise(_type, _inputs, _function, types=rules.INTEGERS)
    family.no_gradient(_type)


@family.numpy_function(np.bitwise_and)
def bitwise_and(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The bits that both integers have, with broadcasting."""
    return apply_op("BitwiseAnd", x, y, name=name)


@family.numpy_function(np.bitwise_or)
def bitwise_or(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The bits that either integer has, with broadcasting."""
    return apply_op("BitwiseOr", x, y, name=name)


@family.numpy_function(np.bitwise_xor)
def bitwise_xor(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The bits that exactly one of two integers has, with broadcasting."""
    return apply_op("BitwiseXor", x, y, name=name)


@family.numpy_function(np.invert)
def invert(x: Any, name: str | None = None) -> Tensor:
    """The bits that an integer does not have; for booleans, ``not x``."""
    x = convert_to_tensor(x)
    return apply_op("LogicalNot" if x.dtype.is_bool else "Invert", x, name=name)


@family.numpy_function(np.left_shift)
def left_shift(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The bits of x moved up by y, with broadcasting."""
    return apply_op("LeftShift", x, y, name=name)


@family.numpy_function(np.right_shift)
def right_shift(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The bits of x moved down by y, with broadcasting; the sign bit is repeated."""
    return apply_op("RightShift", x, y, name=name)
