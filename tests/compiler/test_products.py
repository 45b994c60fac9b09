"""Products: what is read of them, sums of them, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpugrad.compat.v1 as tf
from gpugrad import dtypes
from gpugrad.backends.numpy.backend import NumpyBackend
from gpugrad.compiler.cse import merge_equal_steps
from gpugrad.compiler.narrow import narrow_products
from gpugrad.compiler.pieces import place_pieces
from gpugrad.compiler.pipeline import PASSES, optimize
from gpugrad.compiler.products import join_products
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import Barrier, Call, Commit, Program
from gpugrad.kir.space import View
from gpugrad.kir.verify import check_program
from gpugrad.ops.matmul import product, swapped
from gpugrad.runtime.explain import lowered
from tests.compiler.test_passes import close

F32 = dtypes.float32


def calls(program: Program) -> list[Call]:
    """The library calls that are left."""
    return [s for s in program.steps if isinstance(s, Call)]


def total(b: Builder, terms: list[View]) -> View:
    """The sum of all, a few at a time, as AddN is lowered."""
    first = terms[0]
    for start in range(1, len(terms), 8):

        def add(*values: Any) -> Any:
            result = values[0]
            for value in values[1:]:
                result = result + value
            return result

        first = b.map(add, first, *terms[start : start + 8])
    return first


def same_results(program: Program, compiled: Program, seed: int = 0) -> None:
    """Both give the same, of small whole numbers, whose sums are exact."""
    check_program(compiled)
    rng = np.random.default_rng(seed)
    feeds = [
        rng.integers(-3, 4, i.size).astype(i.dtype.np_dtype) for i in program.inputs
    ]
    wanted = NumpyBackend().load(program).run(feeds, [None] * 8, 0)
    found = NumpyBackend().load(compiled).run(feeds, [None] * 8, 0)
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, two)


def steps_of_a_layer(
    b: Builder, count: int, rows: int = 4, columns: int = 6
) -> tuple[list[View], list[View]]:
    """Inputs; and for each step a product of two of its arrays, ``A.T @ B``."""
    inputs, terms = [], []
    for _ in range(count):
        x = b.new(F32, (2, rows), "input")
        y = b.new(F32, (2, columns), "input")
        inputs += [x, y]
        a, c = b.map(scalar.neg, x), b.map(scalar.abs_, y)
        terms.append(product(b, swapped(a), c, F32))
    return inputs, terms


# --- sums -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 9, 30])
def test_a_sum_of_products_is_one_product(count: int) -> None:
    b = Builder()
    inputs, terms = steps_of_a_layer(b, count)
    program = close(b, inputs, [b.map(scalar.neg, total(b, terms))])
    compiled = optimize(program)
    (call,) = calls(compiled)
    assert call.name == "matmul"
    assert [v.shape for v in call.args] == [(4, 2 * count), (2 * count, 6)]
    assert call.flops == 2 * 4 * 6 * 2 * count
    same_results(program, compiled)


def test_the_sum_itself_is_fetched() -> None:
    b = Builder()
    inputs, terms = steps_of_a_layer(b, 3)
    program = close(b, inputs, [total(b, terms)])
    compiled = optimize(program)
    (call,) = calls(compiled)
    assert call.outs[0].buffer.kind == "output"
    same_results(program, compiled)


def test_other_terms_are_added() -> None:
    b = Builder()
    inputs, terms = steps_of_a_layer(b, 4)
    others = [b.new(F32, (4, 6), "input") for _ in range(20)]
    mixed = [*others[:1], *terms[:2], *others[1:], *terms[2:]]
    program = close(b, [*inputs, *others], [total(b, mixed)])
    compiled = optimize(program)
    assert len(calls(compiled)) == 1
    same_results(program, compiled)


def test_a_tree_of_sums_of_two_kinds_of_products() -> None:
    b = Builder()
    inputs, terms = steps_of_a_layer(b, 3)
    x, y = b.new(F32, (4, 3), "input"), b.new(F32, (3, 6), "input")
    more = [b.map(scalar.neg, x), b.map(scalar.abs_, y)]
    left = b.map(scalar.add, terms[0], product(b, more[0], more[1], F32))
    right = b.map(scalar.add, terms[1], terms[2])
    program = close(b, [*inputs, x, y], [b.map(scalar.add, left, right)])
    compiled = optimize(program)
    assert sorted(c.args[0].shape for c in calls(compiled)) == [(4, 3), (4, 6)]
    same_results(program, compiled)


def test_a_term_that_counts_twice_stays_apart() -> None:
    b = Builder()
    inputs, terms = steps_of_a_layer(b, 2)
    twice = b.map(lambda x, y: x + y + x, *terms)
    program = close(b, inputs, [twice])
    assert len(calls(optimize(program))) == 2
    same_results(program, optimize(program))


@pytest.mark.parametrize("backwards", [False, True])
def test_steps_of_a_fed_sequence_lie_side_by_side_already(backwards: bool) -> None:
    """In whatever order their products are added up."""
    b = Builder()
    x = b.new(F32, (5, 2, 4), "input")
    inputs, terms = [x], []
    for step in range(5):
        y = b.new(F32, (2, 6), "input")
        inputs.append(y)
        at = x.slice((step, 0, 0), (1, 2, 4)).drop_axes((0,))
        terms.append(product(b, swapped(at), b.map(scalar.neg, y), F32))
    program = close(b, inputs, [total(b, terms[::-1] if backwards else terms)])
    compiled = optimize(program)
    (call,) = calls(compiled)
    assert call.args[0] == swapped(x.reshape((10, 4)))
    same_results(program, compiled)


def test_a_matrix_by_its_own_transpose() -> None:
    b = Builder()
    inputs = [b.new(F32, (2, 4), "input") for _ in range(3)]
    values = [b.map(scalar.neg, x) for x in inputs]
    terms = [product(b, swapped(v), v, F32) for v in values]
    program = close(b, inputs, [total(b, terms)])
    compiled = optimize(program)
    (call,) = calls(compiled)
    assert call.args[0] == swapped(call.args[1])
    same_results(program, compiled)


def test_two_sums_share_their_factors() -> None:
    """The gradients of two weights of a layer: the same factors from the right."""
    b = Builder()
    inputs, terms = [], ([], [])
    for _ in range(3):
        x, h, y = (b.new(F32, (2, n), "input") for n in (4, 5, 6))
        inputs += [x, h, y]
        d = b.map(scalar.abs_, y)
        for one, values in zip((x, h), terms):
            values.append(product(b, swapped(b.map(scalar.neg, one)), d, F32))
    program = close(b, inputs, [total(b, t) for t in terms])
    compiled = optimize(program)
    one, two = calls(compiled)
    assert one.args[1] == two.args[1]
    same_results(program, compiled)


@pytest.mark.parametrize("crossed", [False, True])
def test_factors_are_wanted_in_two_orders(crossed: bool) -> None:
    """In any order, but one for both factors."""
    b = Builder()
    inputs, values = [], []
    for _ in range(3):
        x, y = b.new(F32, (2, 4), "input"), b.new(F32, (2, 6), "input")
        inputs += [x, y]
        values.append((b.map(scalar.neg, x), b.map(scalar.abs_, y)))
    other = [(x, y) for (x, _), (_, y) in zip(values, values[::-1])]
    sums = []
    for pairs in (values, other if crossed else values[::-1]):
        terms = [product(b, swapped(x), y, F32) for x, y in pairs]
        sums.append(total(b, terms))
    sums[1] = b.map(scalar.neg, sums[1])
    program = close(b, inputs, sums)
    compiled = optimize(program, tuple(p for p in PASSES if p is not merge_equal_steps))
    assert len(calls(compiled)) == (4 if crossed else 2)
    same_results(program, compiled)


def test_products_stay_apart_where_that_takes_less_memory() -> None:
    """The factors of a sum live until it is made; the terms are smaller here."""
    b = Builder()
    inputs, terms = [], []
    for _ in range(3):
        x = b.new(F32, (64, 4), "input")
        y = b.new(F32, (64, 4), "input")
        inputs += [x, y]
        a, c = b.map(scalar.neg, x), b.map(scalar.abs_, y)
        terms.append(product(b, swapped(a), c, F32))
    program = close(b, inputs, [total(b, terms)])
    compiled = optimize(program)
    assert len(calls(compiled)) == 3
    same_results(program, compiled)


def test_products_stay_apart_where_others_need_them() -> None:
    def left(change: Any) -> int:
        b = Builder()
        inputs, terms = steps_of_a_layer(b, 2)
        results, rest = change(b, terms)
        program = close(b, inputs, [total(b, terms), *results], **rest)
        compiled = optimize(program)
        same_results(program, compiled)
        return len(calls(compiled))

    assert left(lambda b, t: ([], {})) == 1
    assert left(lambda b, t: ([t[0]], {})) == 2  # one is fetched
    assert left(lambda b, t: ([b.map(scalar.tanh, t[1])], {})) == 2
    assert left(lambda b, t: ([], {"commits": (Commit(0, t[0]),)})) == 2


def test_factors_that_leave_stay_where_they_are() -> None:
    b = Builder()
    inputs, terms = steps_of_a_layer(b, 2)
    factor = next(s for s in b.steps if isinstance(s, Call)).args[1]
    program = close(b, inputs, [total(b, terms)], commits=(Commit(0, factor),))
    compiled = optimize(program)
    assert len(calls(compiled)) == 2
    same_results(program, compiled)


def test_a_barrier_holds_back_the_factors() -> None:
    b = Builder()
    inputs, terms = steps_of_a_layer(b, 2)
    other = b.map(scalar.exp, inputs[0])
    b.barrier([terms[0], other])
    program = close(b, inputs, [total(b, terms), b.map(scalar.neg, other)])
    joined = join_products(program)
    (barrier,) = [s for s in joined.steps if isinstance(s, Barrier)]
    (call,) = calls(joined)
    assert set(barrier.members) == {other, call.args[0], call.args[2]}
    assert joined.steps.index(barrier) < joined.steps.index(call)
    same_results(program, optimize(program))


def test_a_barrier_holds_back_part_of_a_sum() -> None:
    b = Builder()
    inputs, terms = steps_of_a_layer(b, 4)
    first, other = total(b, terms[:2]), b.map(scalar.exp, inputs[0])
    b.barrier([first, other])
    results = [b.map(scalar.neg, other), total(b, [first, *terms[2:]])]
    program = close(b, inputs, results)
    joined = join_products(program)
    (barrier,) = [s for s in joined.steps if isinstance(s, Barrier)]
    assert len(calls(joined)) == 2
    assert first in barrier.members
    same_results(program, optimize(program))


def test_a_call_of_pieces_runs_as_it_is() -> None:
    b = Builder()
    inputs, terms = steps_of_a_layer(b, 5)
    program = close(b, inputs, [total(b, terms)])
    joined = join_products(program)
    (call,) = calls(joined)
    assert call.name == "sum_of_matmul"
    assert len(call.args) == 10
    same_results(program, joined)
    same_results(program, place_pieces(joined))


# --- parts ----------------------------------------------------------------------------


def test_only_columns_that_are_read_are_computed() -> None:
    b = Builder()
    x, w = b.new(F32, (4, 8), "input"), b.new(F32, (8, 6), "input")
    y = product(b, x, w, F32)
    part = b.map(scalar.neg, y.slice((0, 2), (4, 3)))
    other = b.map(scalar.exp, y.slice((1, 3), (2, 2)))
    program = close(b, [x, w], [part, other])
    narrow = narrow_products(program)
    (call,) = calls(narrow)
    assert [v.shape for v in (*call.args, *call.outs)] == [(4, 8), (8, 3), (4, 3)]
    assert call.flops == 2 * 4 * 8 * 3
    same_results(program, optimize(program))


def test_rows_of_a_product_of_rows() -> None:
    """The last first: what reads less of its arguments lets those be less."""
    b = Builder()
    x, w, v = (b.new(F32, (6, 6), "input") for _ in range(3))
    y = product(b, product(b, x, w, F32), v, F32)
    program = close(b, [x, w, v], [y.slice((5, 5), (3, 3), (-2, -1))])
    narrow = narrow_products(program)
    assert [c.outs[0].shape for c in calls(narrow)] == [(5, 6), (5, 3)]
    same_results(program, optimize(program))


def test_a_batch_is_cut_too() -> None:
    b = Builder()
    x, w = b.new(F32, (5, 3, 4), "input"), b.new(F32, (5, 4, 2), "input")
    y = product(b, x, w, F32).slice((1, 1, 0), (2, 2, 2)).transpose((2, 0, 1))
    program = close(b, [x, w], [b.map(scalar.neg, y)])
    (call,) = calls(optimize(program))
    shapes = [v.shape for v in (*call.args, *call.outs)]
    assert shapes == [(2, 2, 4), (2, 4, 2), (2, 2, 2)]
    same_results(program, optimize(program))


def test_what_is_read_in_another_order_is_not_cut() -> None:
    b = Builder()
    x, w = b.new(F32, (4, 8), "input"), b.new(F32, (8, 6), "input")
    y = product(b, x, w, F32)
    windows = View(y.buffer, (5, 4), (3, 1), 0)
    program = close(b, [x, w], [b.map(scalar.neg, windows)])
    (call,) = calls(optimize(program))
    assert call.outs[0].shape == (4, 6)
    same_results(program, optimize(program))


def test_a_barrier_of_parts_of_one_product_is_none() -> None:
    b = Builder()
    x, w = b.new(F32, (4, 8), "input"), b.new(F32, (8, 6), "input")
    y = product(b, x, w, F32)
    parts = [y.slice((0, 0), (4, 2)), y.slice((0, 2), (4, 4))]
    b.barrier(parts)
    program = close(b, [x, w], [b.map(scalar.neg, parts[1])])
    narrow = narrow_products(program)
    assert not any(isinstance(s, Barrier) for s in narrow.steps)
    same_results(program, optimize(program))


# --- whole programs -------------------------------------------------------------------


def test_the_weights_of_a_recurrent_layer() -> None:
    """One product for the gradient of the kernel; none for that of the sequence."""
    steps = 7
    with tf.Graph().as_default(), tf.Session() as session:
        kernel = tf.Variable(np.full((3 + 5, 5), 0.1, np.float32))
        x = tf.placeholder(tf.float32, [steps, 2, 3])
        h = tf.zeros([2, 5])
        for step in range(steps):
            h = tf.tanh(tf.matmul(tf.concat([x[step], h], 1), kernel))
        (gradient,) = tf.gradients(tf.reduce_sum(h), [kernel])
        feed = {x: np.ones((steps, 2, 3), np.float32)}
        session.run(tf.global_variables_initializer())
        _, program = lowered(gradient, feed, session)
    compiled = optimize(program)
    shapes = [c.outs[0].shape for c in calls(compiled)]
    assert shapes.count((8, 5)) == 1
    assert shapes.count((2, 5)) == 2 * steps - 1
    value = [np.full((8, 5), 0.1, np.float32)]
    (wanted,) = NumpyBackend().load(program).run(list(feed.values()), value, 0)
    (found,) = NumpyBackend().load(compiled).run(list(feed.values()), value, 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 30), st.data())
def test_any_passes_leave_the_results(seed: int, data: Any) -> None:
    """Products, sums and parts of each other, fetched here and there."""
    rng = np.random.default_rng(seed)
    b = Builder()
    side = (2, 3, 4)
    inputs = [
        b.new(F32, tuple(rng.choice(side, 2).tolist()), "input") for _ in range(3)
    ]
    values = list(inputs)
    for _ in range(int(rng.integers(4, 16))):
        x = values[rng.integers(0, len(values))]
        if rng.random() < 0.4:
            x = swapped(x)
        fit = [v for v in values if v.shape[0] == x.shape[1]]
        equal = [v for v in values if v.shape == x.shape]
        form = rng.random()
        if form < 0.5 and fit:
            terms = [
                product(b, x, fit[rng.integers(0, len(fit))], F32)
                for _ in range(rng.integers(1, 3))
            ]
            shapes = {t.shape for t in terms}
            values.append(total(b, terms) if len(shapes) == 1 else terms[0])
        elif form < 0.7 and equal:
            values.append(b.map(scalar.add, x, equal[rng.integers(0, len(equal))]))
        elif form < 0.85 and x.shape[0] > 2:
            values.append(x.slice((1, 0), (x.shape[0] - 1, x.shape[1])))
        else:
            # Keeps numbers small, so that all sums are exact.
            values.append(b.map(scalar.sign, x))
        if rng.random() < 0.1:
            b.barrier(values[-2:])
    results = [values[i] for i in sorted(set(rng.integers(3, len(values), 2)))]
    program = close(b, inputs, results)
    chosen = tuple(p for p in PASSES if data.draw(st.booleans(), label=p.__name__))
    compiled = replace(program, offsets={}, arena_bytes=0)
    for run_pass in chosen:
        compiled = run_pass(compiled)
        check_program(compiled)
    check_program(program)
    feeds = [rng.integers(-1, 2, v.shape).astype(np.float32) for v in inputs]
    wanted = NumpyBackend().load(program).run(feeds, [], 0)
    found = NumpyBackend().load(compiled).run(feeds, [], 0)
    for one, two in zip(found, wanted):
        if np.abs(two).max(initial=0) < 1 << 22:
            np.testing.assert_array_equal(one, two)
