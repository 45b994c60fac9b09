"""Small groups: folds by BLAS and by argmax, operands spread by copies."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpugrad import config, dtypes
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import Expr, Load, Reduce
from gpugrad.kir.space import Shape
from tests.backends.programs import feed, finish

SHAPES = (
    (8, 3),
    (3, 8),
    (1, 7),
    (7, 1),
    (1, 1),
    (2, 3, 5),
    (512, 2),
    (600, 3),
    (3, 600),
)
EXTREMES = {"max": np.max, "min": np.min}


@pytest.fixture(autouse=True)
def numpy_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that machine code could do are NumPy calls here."""
    monkeypatch.setattr(config, "_current", replace(config.current(), machine_code=0))


def folded(kind: str, x: np.ndarray, reduced: tuple[bool, ...]) -> tuple[Any, str]:
    """The fold of ``x``, read by an exponential as well, and the source."""
    b = Builder()
    view = feed(b, x)
    shape = tuple(1 if r else n for n, r in zip(x.shape, reduced))
    fold = Reduce(kind, scalar.neg(Load(0, view.dtype)))
    one, two = (b.new(view.dtype, s, "temp") for s in (shape, x.shape))
    strides = tuple(0 if r else s for s, r in zip(one.strides, reduced))
    spread = fold + Load(0, view.dtype)
    stores = (Store(one._replace(strides=strides), fold), Store(two, spread))
    b.append(Group(x.shape, reduced, (view,), stores))
    executable = finish(b, [view], [one, two])
    return executable.run([x], [], 0), executable.source


def _axes(reduced: tuple[bool, ...]) -> tuple[int, ...]:
    return tuple(i for i, r in enumerate(reduced) if r)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "float16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_folds_over_any_axes(shape: Shape, dtype: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(-9, 9, shape).astype(dtype)
    for reduced in itertools.product((False, True), repeat=len(shape)):
        if True not in reduced:
            continue
        axes = _axes(reduced)
        for kind, function in (("sum", np.sum), ("max", np.max), ("min", np.min)):
            (one, two), _ = folded(kind, x, reduced)
            wanted = function(-x, axis=axes, keepdims=True)
            np.testing.assert_array_equal(one, wanted)
            np.testing.assert_array_equal(two, wanted + x)
            assert one.dtype == two.dtype == x.dtype


@pytest.mark.parametrize("kind", ["max", "min", "sum"])
def test_nan_and_infinities_in_folds(kind: str) -> None:
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    x[0, 2] = x[1, 0] = x[2, 3] = np.nan
    x[3, 1], x[4, 2], x[4, 3] = np.inf, np.inf, -np.inf
    x[2, 1] = np.inf
    with np.errstate(invalid="ignore"):
        wanted = getattr(np, kind)(-x, axis=1, keepdims=True)
        (one, two), source = folded(kind, x, (False, True))
        np.testing.assert_array_equal(one, wanted)
        np.testing.assert_array_equal(two, wanted + x)
    assert {"sum": ".dot(", "max": ".argmax(", "min": ".argmin("}[kind] in source


def test_sums_are_as_exact_as_numpys() -> None:
    rng = np.random.default_rng(5)
    for shape, reduced in (
        ((2000,), (True,)),
        ((8, 512), (False, True)),
        ((512, 8), (True, False)),
        ((8, 1000), (False, True)),
        ((1000, 8), (True, False)),
    ):
        x = (1 + rng.random(shape)).astype(np.float32)
        (one, _), _ = folded("sum", x, reduced)
        exact = -x.astype(np.float64).sum(_axes(reduced), keepdims=True)
        theirs = -x.sum(_axes(reduced), keepdims=True)
        limit = max(np.abs(theirs - exact).max(), 4e-7 * np.abs(exact).max())
        assert np.abs(one - exact).max() <= limit


X = np.arange(12, dtype=np.float32).reshape(3, 4) - 5


@pytest.mark.parametrize(
    ("shape", "perm", "shapes"),
    [
        ((4,), (0,), (3, 4)),  # a row for all
        ((3, 1), (0, 1), (3, 4)),  # a column for all
        ((4, 3), (1, 0), (3, 4)),  # turned
        ((1, 1), (0, 1), (3, 4)),  # one element
        ((), (), (3, 4)),
    ],
)
def test_operands_of_other_shapes(shape: Shape, perm: Shape, shapes: Shape) -> None:
    b = Builder()
    other = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)
    x, y = feed(b, X), feed(b, other)
    turned = y.transpose(perm).broadcast(shapes)
    wanted = np.broadcast_to(other.transpose(perm), shapes)

    def twice(a: Expr, c: Expr) -> Expr:
        return scalar.tanh(a * c) + c

    result = b.map(twice, x, turned)
    variable = b.map(lambda a, c: scalar.maximum(a, c) - c * c, turned, result)
    (one, two) = finish(b, [x, y], [result, variable]).run([X, other], [], 0)
    first = np.tanh(X * wanted) + wanted
    np.testing.assert_allclose(one, first, rtol=1e-6)
    np.testing.assert_allclose(
        two, np.maximum(wanted, first) - first * first, rtol=1e-5
    )


def test_a_row_softmax_with_a_bias() -> None:
    """What many networks end in: sums and maxima that are read by every element."""
    b = Builder()
    bias = np.array([0.5, -1, 2, 0], np.float32)
    x, w = feed(b, X), feed(b, bias)
    value = Load(0, dtypes.float32) + Load(1, dtypes.float32)
    e = scalar.exp(value - Reduce("max", value))
    out = b.new(dtypes.float32, (3, 4), "temp")
    store = Store(out, e / Reduce("sum", e))
    b.append(Group((3, 4), (False, True), (x, w.broadcast((3, 4))), (store,)))
    executable = finish(b, [x, w], [out])
    for scale in (1, 30):
        (got,) = executable.run([X * scale, bias], [], 0)
        wanted = np.exp((X * scale + bias).astype(np.float64))
        wanted /= wanted.sum(1, keepdims=True)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-30)


def test_a_fold_of_what_repeats_along_it_and_is_read_besides() -> None:
    b = Builder()
    column = np.array([[1], [2], [3]], np.float32)
    x, y = feed(b, X), feed(b, column)
    repeated = scalar.neg(Load(1, dtypes.float32))
    total, other = (b.new(dtypes.float32, s, "temp") for s in ((3, 1), (3, 4)))
    stores = (
        Store(total._replace(strides=(1, 0)), Reduce("sum", repeated)),
        Store(other, repeated * Load(0, dtypes.float32)),
    )
    b.append(Group((3, 4), (False, True), (x, y.broadcast((3, 4))), stores))
    one, two = finish(b, [x, y], [total, other]).run([X, column], [], 0)
    np.testing.assert_array_equal(one, -4 * column)
    np.testing.assert_array_equal(two, -column * X)
