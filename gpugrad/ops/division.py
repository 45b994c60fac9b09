"""Division in all its kinds: true, floored, truncated, safe, and their remainders."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.graph.build import apply_op, convert_to_tensor, graph_of, is_tensor
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.scalar import Expr, Lit
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily

family = OpFamily()


def _dtype(x: Any, y: Any, name: str) -> tuple[Any, Any]:
    """(x, the dtype of x / y); x becomes a constant if neither is a tensor."""
    for operand in (x, y):
        if is_tensor(operand):
            return x, operand.dtype.base_dtype
    x = convert_to_tensor(x, name=f"{name}/x")
    return x, x.dtype


# --- RealDiv, Div ---------------------------------------------------------------------

family.elementwise("RealDiv", "x y", scalar.div, types=rules.INEXACT)


def _div(x: Expr, y: Expr) -> Expr:
    return scalar.truncdiv(x, y) if x.dtype.is_integer else x / y


family.elementwise("Div", "x y", _div, types=rules.NUMBERS)


@family.gradient("RealDiv", "Div")
def _div_grad(op: Any, dy: Tensor) -> Any:
    x, y = map(rules.conj, op.inputs)
    div = op.graph.apply
    kind = op.type
    dx = div(kind, dy, y)
    return dx, dy * div(kind, div(kind, -x, y), y)


@family.numpy_function(np.divide)
def truediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x / y`` with broadcasting; integers are divided as float64.

    8 and 16 bit integers are divided as float32.
    """
    label = name or "truediv"
    x, _ = _dtype(x, y, label)
    if is_tensor(x):  # a variable, say
        x = convert_to_tensor(x, name=f"{label}/x")
    return graph_of(x, y).true_divide(x, y, label)


divide = truediv


def div(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x / y`` with broadcasting; rounded down for integers, as in Python 2."""
    label = name or "div"
    x, dtype = _dtype(x, y, label)
    return apply_op("FloorDiv" if dtype.is_integer else "RealDiv", x, y, name=label)


def realdiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x / y`` of floating or complex tensors, with broadcasting."""
    return apply_op("RealDiv", x, y, name=name)


# --- FloorDiv, TruncateDiv ------------------------------------------------------------

family.elementwise("FloorDiv", "x y", scalar.floordiv, types=rules.REAL)
family.elementwise("TruncateDiv", "x y", scalar.truncdiv, types=rules.REAL)


@family.gradient("FloorDiv", "TruncateDiv")
def _whole_division_grad(op: Any, dy: Tensor) -> Any:
    return None, None


@family.numpy_function(np.floor_divide)
def floordiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x // y``: the quotient rounded down, with broadcasting.

    Raises:  InvalidArgumentError when run on a CPU for an integer divided by 0, as do
             floormod and the truncating functions; a GPU, which cannot, gives 0.
    """
    return apply_op("FloorDiv", x, y, name=name or "floordiv")


def floor_div(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x // y``: the quotient rounded down, with broadcasting (see floordiv)."""
    return apply_op("FloorDiv", x, y, name=name)


def truncatediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The quotient rounded towards zero, as in C, with broadcasting (see floordiv)."""
    return apply_op("TruncateDiv", x, y, name=name)


# --- FloorMod, TruncateMod, Mod -------------------------------------------------------

family.elementwise("FloorMod", "x y", scalar.floormod, types=rules.REAL)
family.elementwise("TruncateMod", "x y", scalar.truncmod, types=rules.REAL)
family.elementwise("Mod", "x y", scalar.truncmod, types=rules.REAL)


@family.gradient("FloorMod")
def _floormod_grad(op: Any, dy: Tensor) -> Any:
    return dy, dy * -op.graph.apply("FloorDiv", *op.inputs)


@family.numpy_function(np.remainder)
def floormod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x % y`` as in Python: of the sign of y. With broadcasting (see floordiv)."""
    return apply_op("FloorMod", x, y, name=name)


mod = floormod


@family.numpy_function(np.fmod)
def truncatemod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """What truncated division leaves, of the sign of x, as in C (see floordiv)."""
    return apply_op("TruncateMod", x, y, name=name)


# --- DivNoNan, MulNoNan ---------------------------------------------------------------


def _zero_where(condition: Expr, value: Expr) -> Expr:
    return scalar.select(condition, Lit(0, value.dtype), value)


family.elementwise(
    "DivNoNan",
    "x y",
    lambda x, y: _zero_where(scalar.equal(y, 0), x / y),
    types=rules.INEXACT,
)


@family.gradient("DivNoNan")
def _div_no_nan_grad(op: Any, dy: Tensor) -> Any:
    x, y = map(rules.conj, op.inputs)

    def div(x: Tensor, y: Tensor) -> Tensor:
        return op.graph.apply("DivNoNan", x, y, name="div_no_nan")

    dx = div(dy, y)
    return dx, dy * div(div(-x, y), y)


def div_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x / y`` with broadcasting, and 0 where y is 0."""
    label = name or "div_no_nan"
    x, _ = _dtype(x, y, label)
    return apply_op("DivNoNan", x, y, name=label)


divide_no_nan = div_no_nan


def reciprocal_no_nan(x: Any, name: str | None = None) -> Tensor:
    """``1 / x``, and 0 where x is 0."""
    label = name or "reciprocal_no_nan"
    return apply_op("DivNoNan", 1, convert_to_tensor(x), name=label)


family.elementwise(
    "MulNoNan",
    "x y",
    lambda x, y: _zero_where(scalar.equal(y, 0), x * y),
    types=rules.INEXACT,
)


@family.gradient("MulNoNan")
def _mul_no_nan_grad(op: Any, dy: Tensor) -> Any:
    x, y = op.inputs
    apply = op.graph.apply
    return apply("MulNoNan", dy, y), apply("MulNoNan", x, dy)


def multiply_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x * y`` with broadcasting, and 0 where y is 0, whatever x is."""
    label = name or "multiply_no_nan"
    x, _ = _dtype(x, y, label)
    return apply_op("MulNoNan", x, y, name=label)
