"""Arithmetic: sums, products, powers, signs, extremes and rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import shapes
from gpugrad.errors import GraphError
from gpugrad.graph.build import apply_op, convert_to_tensor, is_tensor
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.scalar import Expr
from gpugrad.kir.space import View
from gpugrad.ops import rules, static
from gpugrad.ops.family import OpFamily

family = OpFamily()

_SIGNED = (*rules.FLOATS, *rules.SIGNED)


# --- Add, AddV2 -----------------------------------------------------------------------

family.elementwise("AddV2", "x y", scalar.add, types=rules.NUMBERS)
family.elementwise("Add", "x y", scalar.add, types=rules.NUMBERS)


@family.gradient("AddV2", "Add", slices=True)
def _add_grad(op: Any, dy: Any) -> Any:
    return dy, dy


@family.numpy_function(np.add)
def add(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x + y``, element by element, with broadcasting."""
    return apply_op("AddV2", x, y, name=name or "Add")


# --- Sub ------------------------------------------------------------------------------

family.elementwise("Sub", "x y", scalar.sub, types=rules.NUMBERS)


@family.gradient("Sub", slices=True)
def _sub_grad(op: Any, dy: Any) -> Any:
    return dy, -dy


@family.numpy_function(np.subtract)
def subtract(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x - y``, element by element, with broadcasting."""
    return apply_op("Sub", x, y, name=name)


sub = subtract


# --- Mul ------------------------------------------------------------------------------

family.elementwise("Mul", "x y", scalar.mul, types=rules.NUMBERS)


@family.gradient("Mul")
def _mul_grad(op: Any, dy: Tensor) -> Any:
    x, y = op.inputs
    apply = op.graph.apply
    return apply("Mul", dy, rules.conj(y)), apply("Mul", rules.conj(x), dy)


@family.numpy_function(np.multiply)
def multiply(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x * y``, element by element, with broadcasting."""
    return apply_op("Mul", x, y, name=name)


mul = multiply


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Any:
    """A scalar times a tensor or IndexedSlices, which stay IndexedSlices.

    The scalar takes x's dtype. ValueError if it is known not to be a scalar.
    """
    slices = x if isinstance(x, IndexedSlices) else None
    values = convert_to_tensor(x) if slices is None else slices.values
    if not is_tensor(scalar):
        scalar = convert_to_tensor(scalar, values.dtype, "scalar")
    shape = shapes.as_shape(getattr(scalar, "shape", ()))
    if shape.ndims not in (0, None):
        raise ValueError(
            f"The input scalar must be a 0-D value. Received shape {shape}."
        )
    product = apply_op("Mul", scalar, values, name=name)
    if slices is None:
        return product
    return IndexedSlices(product, slices.indices, slices.dense_shape)


# --- Neg ------------------------------------------------------------------------------

family.elementwise("Neg", "x", scalar.neg, types=(*_SIGNED, *rules.COMPLEX))


@family.gradient("Neg", slices=True)
def _neg_grad(op: Any, dy: Any) -> Any:
    return -dy


@family.numpy_function(np.negative)
def negative(x: Any, name: str | None = None) -> Tensor:
    """``-x``, element by element."""
    return apply_op("Neg", x, name=name)


neg = negative


# --- AddN, AccumulateNV2 --------------------------------------------------------------


def _infer_sum(op: Any) -> Any:
    rules.require_dtype(op, 0, rules.NUMBERS)
    shape = shapes.as_partial(op.attrs.get("shape"))
    for tensor in op.inputs:
        shape = rules.merge_shapes(shape, tensor._shape)
    return ((op.inputs[0].dtype, shape),)


_TERMS = 8


def _lower_sum(b: Builder, site: Site) -> View:
    first = site.inputs[0]
    for other in site.inputs[1:]:
        rules.merge_shapes(first.shape, other.shape)

    def total(*terms: Expr) -> Expr:
        result = terms[0]
        for term in terms[1:]:
            result = result + term
        return result

    # A few at a time: each kernel may then compute its own terms.
    inputs = site.inputs[1:]
    for start in range(0, len(inputs), _TERMS):
        first = b.map(total, first, *inputs[start : start + _TERMS])
    return first


family.op("AddN", [Input("inputs", number="N")], infer=_infer_sum, lower=_lower_sum)
family.op(
    "AccumulateNV2",
    [Input("inputs", number="N")],
    attrs={"shape": None},
    infer=_infer_sum,
    lower=_lower_sum,
)


@family.gradient("AddN", "AccumulateNV2", slices=True)
def _add_n_grad(op: Any, dy: Any) -> Any:
    return [dy] * len(op.inputs)


def _terms(inputs: Any) -> list[Any]:
    if isinstance(inputs, (Tensor, IndexedSlices)):
        inputs = [inputs] if isinstance(inputs, IndexedSlices) else iter(inputs)
    terms = list(inputs) if hasattr(inputs, "__iter__") else []
    if not terms:
        raise ValueError(
            "Inputs must be an iterable of at least one Tensor/IndexedSlices with the "
            "same dtype and shape."
        )
    return terms


def add_n(inputs: Any, name: str | None = None) -> Tensor:
    """The sum of a list of tensors of one shape and dtype; nothing is broadcast.

    IndexedSlices become dense. One tensor is given back as it is, unless ``name``
    asks for an Identity.
    """
    terms = _terms(inputs)
    if len(terms) > 1:
        return apply_op("AddN", terms, name=name)
    (only,) = terms
    values = only.values if isinstance(only, IndexedSlices) else convert_to_tensor(only)
    return apply_op("Identity", values, name=name) if name else values


def accumulate_n(
    inputs: Any, shape: Any = None, tensor_dtype: Any = None, name: str | None = None
) -> Tensor:
    """The sum of a list of tensors of one shape and dtype, like add_n.

    ``shape`` and ``tensor_dtype`` are what the caller knows of the terms: ValueError
    and TypeError if they are something else.
    """
    terms = [convert_to_tensor(t) for t in _terms(inputs)]
    known = shapes.as_shape(shape)
    for term in terms:
        if not known.is_compatible_with(term.shape):
            raise GraphError(f"Shapes {known} and {term.shape} are not compatible")
        known = known.merge_with(term.shape)
        if tensor_dtype is not None and term.dtype != tensor_dtype:
            raise TypeError(
                f"tensor_dtype is {tensor_dtype!r}, but {term!r} is among the inputs."
            )
    if len(terms) == 1:
        return apply_op("Identity", terms[0], name=name) if name else terms[0]
    return apply_op("AddN", terms, name=name)


# --- Square, SquaredDifference --------------------------------------------------------

family.elementwise("Square", "x", lambda x: x * x, types=rules.NUMBERS)


@family.gradient("Square", after=True)
def _square_grad(op: Any, dy: Tensor) -> Any:
    x = rules.conj(op.inputs[0])
    apply = op.graph.apply
    two = rules.const(op.graph, 2, dy.dtype)
    return apply("Mul", dy, apply("Mul", x, two))


@family.numpy_function(np.square)
def square(x: Any, name: str | None = None) -> Tensor:
    """``x * x``, element by element."""
    return apply_op("Square", x, name=name)


def _squared_difference(x: Expr, y: Expr) -> Expr:
    difference = x - y
    if difference.dtype.is_complex:
        return difference * scalar.conj(difference)
    return difference * difference


family.elementwise("SquaredDifference", "x y", _squared_difference, types=rules.NUMBERS)


@family.gradient("SquaredDifference", after=True)
def _squared_difference_grad(op: Any, dy: Tensor) -> Any:
    x, y = op.inputs
    two = rules.const(op.graph, 2, dy.dtype, "scalar")
    dx = op.graph.apply("Mul", two, dy) * (x - y)
    return dx, -dx


def squared_difference(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``(x - y) ** 2`` with broadcasting; ``|x - y| ** 2`` for complex numbers."""
    return apply_op("SquaredDifference", x, y, name=name)


# --- Pow ------------------------------------------------------------------------------

family.elementwise(
    "Pow", "x y", scalar.pow_, types=(*rules.FLOATS, *rules.SIGNED, *rules.COMPLEX)
)


@family.gradient("Pow")
def _pow_grad(op: Any, dy: Tensor) -> Any:
    apply = op.graph.apply
    x, y = map(rules.conj, op.inputs)
    dx = dy * y * apply("Pow", x, y - 1)
    # log x where it is defined; elsewhere the slope in y counts as 0.
    defined = apply("NotEqual" if x.dtype.is_complex else "Greater", x, 0)
    with op.graph.name_scope("ones_like") as scope:
        sizes = static.shape_of(x)
        one = rules.const(op.graph, 1, x.dtype)
        ones = apply("Fill", sizes, one, name=scope)
    log = apply("Log", apply("Select", defined, x, ones))
    log = apply("Select", defined, log, rules.zeros_like(op.graph, x))
    return dx, dy * rules.conj(op.outputs[0]) * log


@family.numpy_function(np.power)
def pow(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x ** y`` with broadcasting. Integers to a negative power fail in the run."""
    return apply_op("Pow", x, y, name=name)


# --- Sign -----------------------------------------------------------------------------

family.elementwise("Sign", "x", scalar.sign, types=(*_SIGNED, *rules.COMPLEX))


@family.gradient("Sign")
def _sign_grad(op: Any, dy: Tensor) -> Any:
    return rules.zeros_like(op.graph, op.inputs[0])


@family.numpy_function(np.sign)
def sign(x: Any, name: str | None = None) -> Tensor:
    """-1, 0 or 1, element by element; ``x / abs(x)`` for complex numbers, 0 at 0."""
    x = convert_to_tensor(x)
    if x.dtype.is_complex:
        size = apply_op("Cast", apply_op("ComplexAbs", x), DstT=x.dtype)
        return apply_op("DivNoNan", x, size, name=name)
    return apply_op("Sign", x, name=name)


# --- Abs ------------------------------------------------------------------------------

family.elementwise("Abs", "x", scalar.abs_, types=_SIGNED)


@family.gradient("Abs")
def _abs_grad(op: Any, dy: Tensor) -> Any:
    return dy * op.graph.apply("Sign", op.inputs[0])


@family.numpy_function(np.absolute, np.fabs)
def abs(x: Any, name: str | None = None) -> Tensor:
    """The absolute value, element by element; real for complex numbers."""
    x = convert_to_tensor(x, name="x")
    op_type = "ComplexAbs" if x.dtype.is_complex else "Abs"
    return apply_op(op_type, x, name=name or "Abs")


# --- Maximum, Minimum -----------------------------------------------------------------

family.elementwise("Maximum", "x y", scalar.maximum, types=rules.REAL)
family.elementwise("Minimum", "x y", scalar.minimum, types=rules.REAL)


def _extreme_grad(op: Any, dy: Tensor, first_wins: str) -> Any:
    """All of dy to one argument: on a tie to the first, with a NaN to the second."""
    apply = op.graph.apply
    zero = rules.const(op.graph, 0, dy.dtype, "zeros_like")
    first = apply(first_wins, *op.inputs)
    return apply("SelectV2", first, dy, zero), apply("SelectV2", first, zero, dy)


@family.gradient("Maximum")
def _maximum_grad(op: Any, dy: Tensor) -> Any:
    return _extreme_grad(op, dy, "GreaterEqual")


@family.gradient("Minimum")
def _minimum_grad(op: Any, dy: Tensor) -> Any:
    return _extreme_grad(op, dy, "LessEqual")


@family.numpy_function(np.maximum)
def maximum(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The larger of two, element by element, with broadcasting; NaN if one is."""
    return apply_op("Maximum", x, y, name=name)


@family.numpy_function(np.minimum)
def minimum(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The smaller of two, element by element, with broadcasting; NaN if one is."""
    return apply_op("Minimum", x, y, name=name)


# --- Floor, Ceil, Round, Rint ---------------------------------------------------------

family.elementwise("Floor", "x", scalar.floor, types=rules.FLOATS)
family.elementwise("Ceil", "x", scalar.ceil, types=rules.FLOATS)
family.elementwise("Round", "x", scalar.rint, types=_SIGNED)
family.elementwise("Rint", "x", scalar.rint, types=rules.FLOATS)


@family.gradient("Floor", "Ceil", "Round", "Rint")
def _step_grad(op: Any, dy: Tensor) -> Any:
    return None


@family.numpy_function(np.floor)
def floor(x: Any, name: str | None = None) -> Tensor:
    """The largest whole number that is not larger than x."""
    return apply_op("Floor", x, name=name)


@family.numpy_function(np.ceil)
def ceil(x: Any, name: str | None = None) -> Tensor:
    """The smallest whole number that is not smaller than x."""
    return apply_op("Ceil", x, name=name)


def round(x: Any, name: str | None = None) -> Tensor:
    """The nearest whole number, the even one half-way; integers as they are."""
    x = convert_to_tensor(x, name="x")
    return x if x.dtype.is_integer else apply_op("Round", x, name=name)


@family.numpy_function(np.rint)
def rint(x: Any, name: str | None = None) -> Tensor:
    """The nearest whole number, the even one half-way."""
    return apply_op("Rint", x, name=name)
