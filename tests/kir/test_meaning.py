"""The corners where NumPy's own functions mean something else than TensorFlow's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.kir import scalar
from gpugrad.kir.interpret import evaluate
from gpugrad.kir.meaning import MEANING, REDUCTION, function
from gpugrad.kir.scalar import OPS, REDUCTIONS, Apply, Load, ScalarOp

INF, NAN = np.inf, np.nan
F32, F64, I32, U8 = dtypes.float32, dtypes.float64, dtypes.int32, dtypes.uint8
C64 = dtypes.complex64


def apply(op: ScalarOp, dtype: DType, *args: Any) -> np.ndarray:
    arrays = [np.asarray(a, dtype.np_dtype) for a in args]
    return evaluate(Apply(op, tuple(Load(i, dtype) for i in range(len(args)))), arrays)


def test_every_function_has_a_meaning() -> None:
    assert MEANING.keys() == OPS.keys()
    assert REDUCTION.keys() == set(REDUCTIONS)


LOW, HIGH = -(2**31), 2**31 - 1

CORNERS: list[tuple[ScalarOp, DType, tuple[Any, ...], Any]] = [
    (scalar.maximum, F32, ([NAN, 1, -0.0], [1, NAN, -1]), [NAN, NAN, 0]),
    (scalar.minimum, F32, ([NAN, 1, 2], [1, NAN, 3]), [NAN, NAN, 2]),
    (scalar.sign, F32, ([NAN, -2, 0, INF],), [NAN, -1, 0, 1]),
    (scalar.sign, C64, ([3 + 4j, 0, -2j],), [0.6 + 0.8j, 0, -1j]),
    (scalar.sign, I32, ([-5, 0, 5],), [-1, 0, 1]),
    (scalar.abs_, C64, ([3 + 4j, -1],), [5, 1]),
    (scalar.rint, F32, ([0.5, 1.5, 2.5, -0.5, -1.5],), [0, 2, 2, 0, -2]),
    (scalar.rint, I32, ([HIGH, -3],), [HIGH, -3]),
    (scalar.floor, I32, ([HIGH, -3],), [HIGH, -3]),
    (scalar.floordiv, I32, ([7, -7, 7, -7], [2, 2, -2, -2]), [3, -4, -4, 3]),
    (scalar.floormod, I32, ([7, -7, 7, -7], [3, 3, -3, -3]), [1, 2, -2, -1]),
    (scalar.truncdiv, I32, ([7, -7, 7, -7, -6], [2, 2, -2, -2, 2]), [3, -3, -3, 3, -3]),
    (scalar.truncmod, I32, ([7, -7, 7, -7], [3, 3, -3, -3]), [1, -1, 1, -1]),
    (scalar.truncdiv, I32, ([HIGH, LOW], [HIGH, 1]), [1, LOW]),
    (scalar.truncdiv, U8, ([255, 254], [2, 254]), [127, 1]),
    # The floor of the rounded quotient; Python's 1 // 0.1 is 9.
    (scalar.floordiv, F64, ([1.0, -7.0, INF, 1.0], [0.1, 2.0, 2.0, 0.0]),
     [10, -4, INF, INF]),
    (scalar.floormod, F64, ([-7.0, 7.0, 5.0, 1.0], [3.0, -3.0, INF, 0.0]),
     [2, -2, 5, NAN]),
    (scalar.truncdiv, F64, ([-7.0, 7.0], [2.0, 2.0]), [-3, 3]),
    (scalar.truncmod, F64, ([-7.0, 7.0], [3.0, -3.0]), [-1, 1]),
    (scalar.pow_, I32, ([2, -3, 0, 7], [10, 3, 0, 0]), [1024, -27, 1, 1]),
    (scalar.pow_, F32, ([2, 4, 0, -1], [-1, 0.5, 0, 0.5]), [0.5, 2, 1, NAN]),
    (scalar.reciprocal, I32, ([1, -1, 2, -2],), [1, -1, 0, 0]),
    (scalar.reciprocal, F32, ([2, 0, -0.0],), [0.5, INF, -INF]),
    (scalar.rsqrt, F32, ([4, 0, -1, INF],), [0.5, INF, NAN, 0]),
    (scalar.rsqrt, C64, ([-4, 4],), [-0.5j, 0.5]),
    (scalar.shift_left, I32, ([1, 1, -1], [31, 32, 40]), [LOW, 0, 0]),
    (scalar.shift_right, I32, ([-8, -8, 8, 8], [1, 40, 2, 40]), [-4, -1, 2, 0]),
    (scalar.shift_right, U8, ([255, 255], [7, 8]), [1, 0]),
    (scalar.bit_not, U8, ([0, 255],), [255, 0]),
    (scalar.isnan, I32, ([0, 1],), [False, False]),
    (scalar.equal, F32, ([NAN, 0.0], [NAN, -0.0]), [False, True]),
    (scalar.real, C64, ([1 + 2j],), [1]),
    (scalar.imag, C64, ([1 + 2j],), [2]),
    (scalar.angle, C64, ([1j, -1],), [np.pi / 2, np.pi]),
    (scalar.complex_, F32, ([1, 2], [3, 4]), [1 + 3j, 2 + 4j]),
    (scalar.log1p, F32, ([-1, -2, 1e-10],), [-INF, NAN, 1e-10]),
]  # fmt: skip


@pytest.mark.parametrize(("op", "dtype", "args", "wanted"), CORNERS, ids=str)
def test_corner(op: ScalarOp, dtype: DType, args: tuple[Any, ...], wanted: Any) -> None:
    found = apply(op, dtype, *args)
    np.testing.assert_allclose(found, wanted, rtol=2e-7)


@pytest.mark.parametrize("name", ["floordiv", "floormod", "truncdiv", "truncmod"])
@pytest.mark.parametrize("dtype", [I32, U8], ids=str)
def test_integer_division_by_zero(name: str, dtype: DType) -> None:
    with pytest.raises(ZeroDivisionError, match="Integer division by zero"):
        apply(OPS[name], dtype, [1, 2], [1, 0])


def test_integer_reciprocal_of_zero() -> None:
    with pytest.raises(ZeroDivisionError, match="Integer division by zero"):
        apply(scalar.reciprocal, I32, [1, 0])


def test_integer_to_a_negative_power() -> None:
    with pytest.raises(ValueError, match="negative integer powers"):
        apply(scalar.pow_, I32, [2], [-1])


CASTS: list[tuple[DType, DType, Any, Any]] = [
    (F32, I32, [1.9, -1.9, 0.5], [1, -1, 0]),
    (F32, dtypes.bool_, [0.0, -0.0, NAN, 0.1], [False, False, True, True]),
    (C64, dtypes.bool_, [0, 1j, 1], [False, True, True]),
    (C64, F32, [1 + 2j], [1]),
    (C64, I32, [-1.5 + 2j], [-1]),
    (I32, U8, [256, -1, 255], [0, 255, 255]),
    (dtypes.bool_, F32, [True, False], [1, 0]),
    (F64, F32, [1e300, -1e300], [INF, -INF]),
]


@pytest.mark.parametrize(("source", "target", "values", "wanted"), CASTS, ids=str)
def test_cast(source: DType, target: DType, values: Any, wanted: Any) -> None:
    """Quietly, too: warnings are errors in these tests."""
    expr = scalar.cast(Load(0, source), target)
    found = evaluate(expr, [np.asarray(values, source.np_dtype)])
    assert found.dtype == target.np_dtype
    np.testing.assert_array_equal(found, np.asarray(wanted, target.np_dtype))


def test_cast_of_nan_is_quiet() -> None:
    found = evaluate(scalar.cast(Load(0, F32), I32), [np.array([NAN, INF], "f")])
    assert found.dtype == np.int32


OUT: list[tuple[ScalarOp, DType, int]] = [
    (scalar.erf, F32, 1), (scalar.rsqrt, F32, 1), (scalar.floordiv, F64, 2),
    (scalar.floordiv, I32, 2), (scalar.truncdiv, I32, 2), (scalar.truncmod, I32, 2),
    (scalar.floor, I32, 1), (scalar.real, C64, 1), (scalar.angle, C64, 1),
    (scalar.complex_, F32, 2),
]  # fmt: skip


@pytest.mark.parametrize(("op", "dtype", "arity"), OUT, ids=str)
def test_out_is_filled_and_returned(op: ScalarOp, dtype: DType, arity: int) -> None:
    """Whether the function is a ufunc or ours, and through a strided view as well."""
    args = [np.array([3, 7, -8]).astype(dtype.np_dtype) for _ in range(arity)]
    expr = Apply(op, tuple(Load(i, dtype) for i in range(arity)))
    wanted = evaluate(expr, args)
    out = np.zeros(6, expr.dtype.np_dtype)[::-2]
    with np.errstate(all="ignore"):
        assert function(op, dtype)(*args, out=out) is out
    np.testing.assert_array_equal(out, wanted)
