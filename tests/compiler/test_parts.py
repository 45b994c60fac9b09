"""What is written in parts and read as one: the reader joins the writer."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad import dtypes
from gpugrad.backends.numpy.backend import NumpyBackend
from gpugrad.compiler.parts import split_readers
from gpugrad.compiler.pipeline import PASSES, optimize
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import Barrier, Commit, Group, Program
from gpugrad.kir.scalar import Expr, Index, Lit
from gpugrad.kir.space import View
from gpugrad.kir.verify import check_program
from gpugrad.runtime.explain import lowered
from tests.compiler.test_passes import close

F32 = dtypes.float32
WITHOUT = tuple(p for p in PASSES if p is not split_readers)


def in_parts(
    b: Builder, x: View, steps: tuple[int, ...], dtype: Any = F32, most: int = 99
) -> View:
    """A buffer whose part number i, every ``steps``-th element, is x + i."""
    extents = x.shape
    shape = tuple(n * k for n, k in zip(extents, steps))
    whole = b.new(dtype, shape)
    starts = list(product(*map(range, steps)))[:most]
    views = [
        View(
            whole.buffer,
            extents,
            tuple(s * k for s, k in zip(whole.strides, steps)),
            sum(s * r for s, r in zip(whole.strides, start)),
        )
        for start in starts
    ]

    def each(e: Expr) -> list[Expr]:
        return [e + Lit(i, e.dtype) for i in range(len(views))]

    b.store_each(views, each, x)
    return whole


def same_results(program: Program) -> list[Any]:
    """The steps that are left; all results are those without the pass."""
    compiled = optimize(program)
    check_program(compiled)
    rng = np.random.default_rng(0)
    feeds = [
        rng.integers(-9, 9, i.size).astype(i.dtype.np_dtype) for i in program.inputs
    ]
    load = NumpyBackend().load
    wanted = load(optimize(program, WITHOUT)).run(feeds, [None] * 8, 0)
    found = load(compiled).run(feeds, [None] * 8, 0)
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, two)
    return list(compiled.steps)


CUTS = [(1, 2, 3, 1), (2, 1, 1, 1), (1, 1, 1, 2), (2, 2, 1, 2)]


@pytest.mark.parametrize("steps", CUTS)
def test_a_reader_of_every_point(steps: tuple[int, ...]) -> None:
    b = Builder()
    x = b.new(F32, (2, 3, 2, 5), "input")
    whole = in_parts(b, x, steps)
    other = b.new(F32, whole.shape, "input")
    y = b.map(lambda e, f: e * f, whole, other)
    (step,) = same_results(close(b, [x, other], [y]))
    assert step.extents == x.shape
    assert len(step.stores) == np.prod(steps)


@pytest.mark.parametrize("steps", CUTS)
@pytest.mark.parametrize("kind", ["sum", "max", "min"])
def test_a_reader_that_folds(steps: tuple[int, ...], kind: str) -> None:
    b = Builder()
    x = b.new(F32, (2, 3, 2, 5), "input")
    whole = in_parts(b, x, steps)
    other = b.new(F32, whole.shape, "input")
    axes = [a for a, k in enumerate(steps) if k > 1]
    fold = b.reduce(
        kind, whole, axes, before=lambda e, f: e - f, others=[other], after=scalar.neg
    )
    (step,) = same_results(close(b, [x, other], [fold]))
    assert len(step.stores) == 1


def test_every_point_and_a_fold_in_one_kernel() -> None:
    b = Builder()
    x, c = b.new(F32, (4, 3, 5), "input"), b.new(F32, (5,), "input")
    y = b.map(scalar.mul, in_parts(b, x, (2, 2, 1)), c)
    (step,) = same_results(close(b, [x, c], [y, b.reduce("sum", y, (0, 1))]))
    assert len(step.stores) == 5


def test_coordinates_are_those_of_the_whole() -> None:
    b = Builder()
    x = b.new(F32, (2, 3), "input")
    whole = in_parts(b, x, (2, 3))
    place = scalar.cast(Index(0) * 100 + Index(1), F32)
    y = b.map(lambda e: e - place, whole)
    (step,) = same_results(close(b, [x], [y, b.reduce("max", y, (0, 1))]))
    assert len(step.stores) == 7


def kernels(steps: list[Any]) -> list[Group]:
    return [s for s in steps if isinstance(s, Group)]


def test_what_keeps_them_apart() -> None:
    def built(case: str) -> Program:
        b = Builder()
        x, c = b.new(F32, (4, 3), "input"), b.new(F32, (8, 3), "input")
        rest: dict[str, Any] = {}
        if case == "a part is missing":
            whole = b.new(F32, (8, 3))
            b.store_value(whole, 7)
            parts = [whole.slice((r, 0), (4, 3), (2, 1)) for r in (0, 1)]
            b.store_each(parts[:1], lambda e: [e], x)
            b.store_each(parts[1:], lambda e: [e + e], x)
        elif case == "blocks, not every second":
            whole = b.new(F32, (8, 3))
            parts = [whole.slice((r, 0), (4, 3)) for r in (0, 4)]
            b.store_each(parts, lambda e: [e, e + e], x)
        else:
            whole = in_parts(b, x, (2, 1))
        if case == "a barrier holds it":
            b.append(Barrier((whole, x)))
        if case == "turned round":
            results = [b.map(scalar.exp, whole.slice((0, 2), (8, 3), (1, -1)))]
        elif case == "a fold over half of the parts":
            results = [b.reduce("sum", whole, (1,))]
        else:
            results = [b.map(scalar.mul, whole, c)]
        if case == "two readers":
            results.append(b.map(scalar.exp, whole.transpose((1, 0))))
        if case == "fetched":
            results.append(whole)
        if case == "a variable takes it":
            rest["commits"] = (Commit(0, whole),)
        return close(b, [x, c], results, **rest)

    cases = [
        "a part is missing",
        "blocks, not every second",
        "turned round",
        "a fold over half of the parts",
        "two readers",
        "fetched",
        "a variable takes it",
    ]
    for case in cases:
        program = built(case)
        if case != "a variable takes it":
            same_results(program)
        before = optimize(program, WITHOUT)
        assert split_readers(before).steps == before.steps, case
    program = built("a barrier holds it")
    assert split_readers(program).steps == program.steps
    program = built("none of these")
    assert len(split_readers(program).steps) < len(program.steps)


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16])
def test_halves_are_summed_by_one_fold(dtype: Any) -> None:
    b = Builder()
    x = b.new(dtype, (4, 3), "input")
    fold = b.reduce("sum", in_parts(b, x, (2, 1), dtype), (0,))
    program = close(b, [x], [fold])
    before = optimize(program, WITHOUT)
    assert split_readers(before).steps == before.steps


def test_what_is_overwritten_meanwhile() -> None:
    """What the parts are made of changes before they are read."""
    b = Builder()
    x, c = b.new(F32, (4, 3), "input"), b.new(F32, (8, 3), "input")
    changing = b.new(F32, (4, 3))
    b.store(changing, scalar.neg, x)
    whole = in_parts(b, changing, (2, 1))
    b.store(changing, scalar.abs_, x)
    program = close(b, [x, c], [b.map(scalar.mul, whole, c), changing])
    assert split_readers(program).steps == program.steps
    same_results(program)


def test_the_gradient_of_a_pool_takes_its_readers_along() -> None:
    """Bias, relu, pool: one kernel from the pool's cotangent to that of the bias."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [4, 6, 6, 3])
        bias = tf.placeholder(tf.float32, [3])
        y = tf.nn.max_pool(tf.nn.relu(tf.cumsum(x, 0) + bias), 2, 2, "SAME")
        cotangent = tf.placeholder(tf.float32, y.shape)
        dx, db = tf.gradients(y, [x, bias], cotangent)
        session = tf.Session()
        feeds = {
            x: np.random.default_rng(3).normal(size=x.shape),
            bias: [0.5, 0.0, -0.5],
            cotangent: np.random.default_rng(4).normal(size=y.shape),
        }
        _, program = lowered([dx, db], feeds, session)
        split = kernels(list(optimize(program).steps))
        apart = kernels(list(optimize(program, WITHOUT).steps))
        assert len(split) == len(apart) - 1
