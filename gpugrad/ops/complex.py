"""Complex numbers: their making, their parts, and NextAfter's walk along the floats."""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, is_tensor, name_scope
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily

family = OpFamily()

_WIDE = (dtypes.float32, dtypes.float64)


def _real_type(dtype: dtypes.DType) -> dtypes.DType:
    return dtype.real_dtype


def _complex_type(dtype: dtypes.DType) -> dtypes.DType:
    return dtypes.complex64 if dtype is dtypes.float32 else dtypes.complex128


# --- Complex --------------------------------------------------------------------------

family.elementwise(
    "Complex",
    "real imag",
    scalar.complex_,
    result=_complex_type,
    attrs={"Tout": None},
    types=_WIDE,
)


@family.gradient("Complex")
def _complex_grad(op: Any, dy: Tensor) -> Any:
    apply = op.graph.apply
    return apply("Real", dy), apply("Imag", dy)


def complex(real: Any, imag: Any, name: str | None = None) -> Tensor:
    """``real + 1j * imag`` of float32 or float64 tensors, with broadcasting."""
    if not (is_tensor(real) or is_tensor(imag)):
        real = convert_to_tensor(real, name="real")
    kinds = [x.dtype.base_dtype for x in (real, imag) if is_tensor(x)]
    if len(set(kinds)) > 1 or kinds[0] not in _WIDE:
        raise TypeError(
            "The `real` and `imag` components have incorrect types: "
            f"{' '.join(kind.name for kind in kinds)}. They must be consistent, and "
            f"one of {list(_WIDE)}"
        )
    return apply_op("Complex", real, imag, name=name)


# --- ComplexAbs -----------------------------------------------------------------------

family.elementwise(
    "ComplexAbs",
    "x",
    scalar.abs_,
    result=_real_type,
    attrs={"Tout": None},
    types=rules.COMPLEX,
)


@family.gradient("ComplexAbs")
def _complex_abs_grad(op: Any, dy: Tensor) -> Any:
    apply = op.graph.apply
    x, y = op.inputs[0], op.outputs[0]
    zero = rules.const(op.graph, 0, dy.dtype, "zeros_like")
    along = apply("Complex", dy, zero) * x
    return apply("DivNoNan", along, apply("Complex", y, zero), name="div_no_nan")


# --- Real, Imag, Angle, Conj ----------------------------------------------------------

for _type, _function in (
    ("Real", scalar.real),
    ("Imag", scalar.imag),
    ("Angle", scalar.angle),
):
    family.elementwise(
        _type,
        "input",
        _function,
        result=_real_type,
        attrs={"Tout": None},
        types=rules.COMPLEX,
    )
family.elementwise("Conj", "input", scalar.conj, types=rules.COMPLEX)


@family.gradient("Real")
def _real_grad(op: Any, dy: Tensor) -> Any:
    return op.graph.apply("Complex", dy, rules.const(op.graph, 0, dy.dtype))


@family.gradient("Imag")
def _imag_grad(op: Any, dy: Tensor) -> Any:
    return op.graph.apply("Complex", rules.const(op.graph, 0, dy.dtype), dy)


@family.gradient("Angle", after=True)
def _angle_grad(op: Any, dy: Tensor) -> Any:
    z = op.inputs[0]
    apply = op.graph.apply
    real, imag = apply("Real", z), apply("Imag", z)
    slope = apply("Reciprocal", apply("Complex", imag, real))
    wide = apply("Complex", dy, rules.const(op.graph, 0, dy.dtype))
    return -wide * slope


@family.gradient("Conj")
def _conj_grad(op: Any, dy: Tensor) -> Any:
    return op.graph.apply("Conj", dy)


@family.numpy_function(np.real)
def real(input: Any, name: str | None = None) -> Tensor:
    """The real part; a real tensor is given back as it is."""
    x = convert_to_tensor(input)
    return apply_op("Real", x, name=name) if x.dtype.is_complex else x


@family.numpy_function(np.imag)
def imag(input: Any, name: str | None = None) -> Tensor:
    """The imaginary part; zeros for a real tensor."""
    x = convert_to_tensor(input)
    return apply_op("Imag" if x.dtype.is_complex else "ZerosLike", x, name=name)


@family.numpy_function(np.angle)
def angle(input: Any, name: str | None = None) -> Tensor:
    """The angle in radians, between -pi and pi; 0 or pi for a real tensor."""
    x = convert_to_tensor(input)
    if x.dtype.is_complex:
        return apply_op("Angle", x, name=name)
    with name_scope(name, "Angle", [x]) as scope:
        turned = apply_op("Mul", apply_op("OnesLike", x), pi)
        return apply_op("SelectV2", x < 0, turned, apply_op("ZerosLike", x), name=scope)


@family.numpy_function(np.conjugate)
def conj(x: Any, name: str | None = None) -> Tensor:
    """The complex conjugate; a real tensor is given back as it is."""
    x = convert_to_tensor(x, name="x")
    return apply_op("Conj", x, name=name) if x.dtype.is_complex else x


# --- NextAfter ------------------------------------------------------------------------

family.elementwise("NextAfter", "x1 x2", scalar.nextafter, types=_WIDE)


@family.gradient("NextAfter")
def _nextafter_grad(op: Any, dy: Tensor) -> Any:
    return dy, rules.zeros_like(op.graph, dy)


@family.numpy_function(np.nextafter)
def nextafter(x1: Any, x2: Any, name: str | None = None) -> Tensor:
    """The float next to x1 in the direction of x2, with broadcasting."""
    return apply_op("NextAfter", x1, x2, name=name)
