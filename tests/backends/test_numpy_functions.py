"""A row for every scalar function, cast and reduction, in every type it takes."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.interpret import evaluate
from gpugrad.kir.scalar import OPS, Apply, Load
from gpugrad.kir.space import View
from tests.backends.programs import feed, finish

# --- a row for every scalar function --------------------------------------------------

FLOATS = [dtypes.float16, dtypes.float32, dtypes.float64]
if dtypes.bfloat16.np_dtype is not None:
    FLOATS.append(dtypes.bfloat16)
INTEGERS = [d for d in dtypes.ALL if d.is_integer]
COMPLEX = [dtypes.complex64, dtypes.complex128]
BOOL = [dtypes.bool_]
NUMBERS = [*FLOATS, *INTEGERS, *COMPLEX]
ORDERED = [*FLOATS, *INTEGERS]
INEXACT = [*FLOATS, *COMPLEX]
ALL = [*NUMBERS, *BOOL]
NATIVE = [dtypes.float32, dtypes.float64]

DIVISIONS = ("floordiv", "floormod", "truncdiv", "truncmod")

ACCEPTS: dict[str, list[DType]] = {
    **dict.fromkeys(("add", "sub", "mul", "pow", "neg", "sign", "conj"), NUMBERS),
    **dict.fromkeys(DIVISIONS, ORDERED),
    **dict.fromkeys(("maximum", "minimum", "floor", "ceil", "rint", "trunc"), ORDERED),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal"), ORDERED),
    **dict.fromkeys(("isnan", "isinf", "isfinite", "abs"), NUMBERS),
    **dict.fromkeys(("equal", "not_equal", "cast", "select"), ALL),
    **dict.fromkeys(("atan2", "nextafter"), FLOATS),
    **dict.fromkeys(("div", "sqrt", "rsqrt", "reciprocal", "exp", "expm1"), INEXACT),
    **dict.fromkeys(("log", "log1p", "sin", "cos", "tan", "asin", "acos"), INEXACT),
    **dict.fromkeys(("atan", "sinh", "cosh", "tanh", "asinh", "acosh"), INEXACT),
    "atanh": INEXACT,
    **dict.fromkeys(("erf", "erfc", "erfinv", "lgamma", "digamma"), FLOATS),
    **dict.fromkeys(("zeta", "polygamma", "igamma", "igammac", "betainc"), FLOATS),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor", "logical_not"), BOOL),
    **dict.fromkeys(("bit_and", "bit_or", "bit_xor", "bit_not"), INTEGERS),
    **dict.fromkeys(("shift_left", "shift_right"), INTEGERS),
    **dict.fromkeys(("real", "imag", "angle"), COMPLEX),
    "complex": NATIVE,
}


def test_every_function_has_a_row() -> None:
    assert ACCEPTS.keys() == OPS.keys()


ROWS = [(name, dtype) for name, accepted in ACCEPTS.items() for dtype in accepted]


@pytest.mark.parametrize(("name", "dtype"), ROWS, ids=lambda v: getattr(v, "name", v))
def test_function(name: str, dtype: DType) -> None:
    """On special values too, in contiguous and in strided arrays, and quietly."""
    op = OPS[name]
    args = [_arguments(dtype, i) for i in range(op.arity)]
    kinds = [dtype] * op.arity
    if name == "select":
        args[0], kinds[0] = _arguments(dtypes.bool_, 0), dtypes.bool_
        args[1:] = [a[:4] for a in args[1:]]
    if dtype.is_integer and name in ("pow", *DIVISIONS):
        # What 0 and negative exponents do is tested with the errors.
        args[1] = np.maximum(args[1], dtype.as_numpy_dtype(1))
    builder = Builder()
    views = [feed(builder, a) for a in args]
    expr = Apply(op, tuple(Load(i, k) for i, k in enumerate(kinds)))
    plain = builder.map(op, *views)
    flipped = builder.map(op, *[_flip(v) for v in views])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, back = finish(builder, views, [plain, flipped]).run(args, [], 0)
    wanted = evaluate(expr, args)
    assert found.dtype == wanted.dtype == expr.dtype.np_dtype
    tolerance = 8 * _eps(expr.dtype)
    for result in (found, back[::-1]):
        np.testing.assert_allclose(
            _wide(result), _wide(wanted), rtol=tolerance, atol=tolerance
        )


def _arguments(dtype: DType, number: int) -> np.ndarray:
    if dtype.is_bool:
        return np.array([True, False, True, False]) ^ np.array(
            [number, number, 0, 0], bool
        )
    if dtype.is_integer:
        edges = [0, 1, 2, 3, 5, 7, dtype.max, dtype.min]
    elif dtype.is_complex:
        edges = [0, 1, -1, 1j, 0.5 - 0.25j, -2 + 3j, 0.1, 2j]
    else:
        edges = [0.0, -0.0, 0.5, -0.5, 1.0, 2.5, -2.5, np.inf, -np.inf, np.nan, 3.0]
    return np.roll(np.array(edges, dtype.np_dtype), number)


def _flip(view: View) -> View:
    last = tuple(n - 1 for n in view.shape)
    return view.slice(last, view.shape, (-1,) * view.rank)


def _eps(dtype: DType) -> float:
    if dtype.name == "bfloat16":
        return 2.0**-8
    if dtype.is_floating or dtype.is_complex:
        return float(np.finfo(dtype.np_dtype).eps)
    return 0.0


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.itemsize == 2 else array


@pytest.mark.parametrize(
    ("source", "target"), list(product(ALL, repeat=2)), ids=lambda d: d.name
)
def test_cast(source: DType, target: DType) -> None:
    values = np.array([0, 1, 3, 100]).astype(source.np_dtype)
    builder = Builder()
    view = feed(builder, values)
    cast = builder.map(lambda x: scalar.cast(x, target), view)
    (found,) = finish(builder, [view], [cast]).run([values], [], 0)
    numbers = [0, 1, 1, 1] if dtypes.bool_ in (source, target) else [0, 1, 3, 100]
    assert found.dtype == target.np_dtype
    np.testing.assert_array_equal(found.astype(complex), numbers)


# --- reductions -----------------------------------------------------------------------


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min"])
def test_reduce(kind: str, axes: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    builder = Builder()
    view = feed(builder, values)
    turned = view.transpose((2, 0, 1))
    results = [
        builder.reduce(kind, view, axes),
        builder.reduce(kind, turned, axes, keepdims=True, before=scalar.exp),
    ]
    found, back = finish(builder, [view], results).run([values], [], 0)
    numpy = getattr(np, kind)
    np.testing.assert_allclose(found, numpy(values, axes), rtol=1e-13)
    wanted = numpy(np.exp(values.transpose(2, 0, 1)), axes, keepdims=True)
    np.testing.assert_allclose(back, wanted, rtol=1e-13)


def test_what_a_fold_reads_keeps_its_shape_for_other_readers() -> None:
    """The same number for all elements: counted twice by the fold, there once."""
    builder = Builder()
    view = feed(builder, np.array([0.5]))
    number = scalar.exp(Load(0, view.dtype))
    total = builder.reduce(
        "sum",
        view.broadcast((2,)),
        (0,),
        keepdims=True,
        before=scalar.exp,
        after=lambda folded: folded * number,
    )
    (found,) = finish(builder, [view], [total]).run([np.array([0.5])], [], 0)
    np.testing.assert_allclose(found, [2 * np.exp(1.0)])


@pytest.mark.parametrize("dtype", [d for d in FLOATS if d.itemsize == 2], ids=str)
def test_half_types_add_in_float32(dtype: DType) -> None:
    """Adding ones in the type itself stops at 2048 (float16) or 256 (bfloat16)."""
    ones = np.ones((2, 4096), dtype.np_dtype)
    builder = Builder()
    view = feed(builder, ones)
    total = builder.reduce("sum", view, (1,))
    (found,) = finish(builder, [view], [total]).run([ones], [], 0)
    assert found.dtype == dtype.np_dtype
    np.testing.assert_array_equal(found.astype(float), [4096, 4096])


IDENTITIES = [
    ("sum", dtypes.int32, 0),
    ("prod", dtypes.complex64, 1),
    ("max", dtypes.float32, -np.inf),
    ("min", dtypes.float16, np.inf),
    ("max", dtypes.int8, -128),
    ("min", dtypes.uint16, 65535),
    ("all", dtypes.bool_, True),
    ("any", dtypes.bool_, False),
]


@pytest.mark.parametrize(("kind", "dtype", "identity"), IDENTITIES)
def test_reduce_of_nothing(kind: str, dtype: DType, identity: Any) -> None:
    empty = np.ones((2, 0, 3), dtype.np_dtype)
    builder = Builder()
    view = feed(builder, empty)
    results = [builder.reduce(kind, view, (1,)), builder.reduce(kind, view, (0, 1, 2))]
    rows, whole = finish(builder, [view], results).run([empty], [], 0)
    np.testing.assert_array_equal(rows, np.full((2, 3), identity, dtype.np_dtype))
    np.testing.assert_array_equal(whole, np.asarray(identity, dtype.np_dtype))
