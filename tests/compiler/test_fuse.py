"""Groups merge: how many kernels are left, what they move, and that nothing changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpugrad as gg
import gpugrad.compat.v1 as tf
from gpugrad import dtypes
from gpugrad.backends.base import StepError
from gpugrad.backends.numpy.backend import NumpyBackend
from gpugrad.compiler.cost import bytes_moved, least_bytes
from gpugrad.compiler.pipeline import PASSES, optimize
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import Barrier, Call, Group, Program
from gpugrad.kir.scalar import abs_, postorder
from gpugrad.kir.space import View
from gpugrad.kir.verify import check_program
from gpugrad.runtime.explain import lowered
from tests.backends.programs import Trial, trials
from tests.compiler.test_passes import close

F32 = dtypes.float32


def fused(builder: Builder, inputs: list[View], results: list[View]) -> list[Any]:
    """The steps that are left, outputs written in place."""
    program = optimize(close(builder, inputs, results))
    check_program(program)
    return list(program.steps)


# --- by hand --------------------------------------------------------------------------


def test_a_chain_becomes_one_kernel() -> None:
    b = Builder()
    x = b.new(F32, (4, 3), "input")
    y = b.map(scalar.exp, b.map(scalar.add, b.map(scalar.tanh, x), x))
    (step,) = fused(b, [x], [y])
    assert repr(step.stores[0].expr) == "exp(add(tanh(in0), in0))"
    assert step.loads == (x,)


def test_a_value_with_two_readers_in_one_kernel_is_computed_once() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    y = b.map(scalar.tanh, x)
    (step,) = fused(b, [x], [b.map(scalar.mul, b.map(scalar.exp, y), y)])
    tanhs = [e for e in postorder(step.stores[0].expr) if repr(e) == "tanh(in0)"]
    assert len(tanhs) == 1


def test_several_results_leave_one_kernel() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    y = b.map(scalar.tanh, x)
    (step,) = fused(b, [x], [y, b.map(scalar.exp, y)])
    assert [repr(s.expr) for s in step.stores] == ["tanh(in0)", "exp(tanh(in0))"]


def test_a_transposed_reader_turns_the_loads() -> None:
    b = Builder()
    x = b.new(F32, (4, 3), "input")
    y = b.map(scalar.tanh, x)
    (step,) = fused(b, [x], [b.map(scalar.exp, y.transpose((1, 0)))])
    assert step.extents == (3, 4)
    assert step.loads == (x.transpose((1, 0)),)


def test_a_reshaped_reader_has_its_axes_split() -> None:
    b = Builder()
    x, c = b.new(F32, (4, 6), "input"), b.new(F32, (6,), "input")
    y = b.map(scalar.add, x, c)
    (step,) = fused(b, [x, c], [b.map(scalar.exp, y.reshape((24,)))])
    assert step.extents == (4, 6)
    y = b.map(scalar.mul, x, c)
    (step,) = fused(b, [x, c], [b.map(scalar.exp, y.reshape((2, 12)))])
    assert step.extents == (2, 2, 6)


def test_slices_of_a_value_are_computed_where_they_are_read() -> None:
    """The gates of an LSTM: four parts of one sum."""
    b = Builder()
    x, c = b.new(F32, (4, 8), "input"), b.new(F32, (8,), "input")
    y = b.map(scalar.add, x, c)
    gates = [y.slice((0, 2 * i), (4, 2)) for i in range(4)]
    total = b.map(scalar.tanh, gates[0])
    for gate in gates[1:]:
        total = b.map(lambda t, g: t * scalar.tanh(g), total, gate)
    (step,) = fused(b, [x, c], [total])
    assert len(step.loads) == 8


def test_a_sliding_window_stays_in_memory() -> None:
    b = Builder()
    x = b.new(F32, (6,), "input")
    y = b.map(scalar.tanh, x)
    windows = View(y.buffer, (4, 3), (1, 1), 0)
    assert len(fused(b, [x], [b.map(scalar.exp, windows)])) == 2


def test_coordinates_follow() -> None:
    b = Builder()
    x = b.new(F32, (2, 3), "input")
    y = b.generate(lambda i, j: i * 3 + j, (2, 3), F32)
    z = b.map(
        scalar.add, y.transpose((1, 0)).slice((1, 0), (2, 2)), x.slice((0, 0), (2, 2))
    )
    program = optimize(close(b, [x], [z]))
    assert len(program.steps) == 1
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    (found,) = NumpyBackend().load(program).run([0 * values], [], 0)
    np.testing.assert_array_equal(found, values.T[1:3])


def test_a_dear_value_is_not_computed_for_every_repetition() -> None:
    b = Builder()
    x, v = b.new(F32, (64, 8), "input"), b.new(F32, (8,), "input")
    y = b.map(scalar.add, x, b.map(scalar.exp, v))
    assert len(fused(b, [x, v], [y])) == 2
    b = Builder()
    x, v = b.new(F32, (64, 8), "input"), b.new(F32, (8,), "input")
    y = b.map(scalar.add, x, b.map(lambda e: e * 0.5, v))
    assert len(fused(b, [x, v], [y])) == 1


def test_a_cheap_value_is_computed_by_each_reader_if_that_saves_bytes() -> None:
    b = Builder()
    x, weights = b.new(dtypes.bool_, (64, 8), "input"), b.new(F32, (8, 8), "input")
    y = b.map(lambda e: e, x, dtype=F32)
    (z,) = b.call("product", _product, [y, weights], [(F32, (64, 8))])
    _, call, product = fused(b, [x, weights], [b.map(scalar.mul, y, z)])
    assert isinstance(call, Call)
    # The product reads one byte an element of x rather than four of the cast.
    assert dtypes.bool_ in [v.dtype for v in product.loads]


def _product(xp: Any, outs: Any, x: Any, y: Any) -> None:
    xp.matmul(x, y, out=outs[0])


@pytest.mark.parametrize("functions", [(scalar.tanh, scalar.exp), (scalar.neg, abs_)])
def test_nothing_passes_a_barrier(functions: Any) -> None:
    """Not even what is cheap: who computes it again does not wait for the gate."""
    b = Builder()
    x = b.new(F32, (4,), "input")
    y, z = (b.map(f, x) for f in functions)
    b.barrier([y, z])
    first, barrier, last = fused(b, [x], [b.map(scalar.mul, y, z)])
    assert len(first.stores) == 2
    assert isinstance(barrier, Barrier)
    assert {m.buffer for m in barrier.members} == {v.buffer for v in first.writes}
    assert set(last.loads) == {y, z}


def test_no_cycle_through_a_call() -> None:
    """tanh is read before the call and after it: one kernel cannot be both."""
    b = Builder()
    x, w = b.new(F32, (4, 4), "input"), b.new(F32, (4, 4), "input")
    y = b.map(scalar.tanh, x)
    (z,) = b.call("product", _product, [y, w], [(F32, (4, 4))])
    first, call, last = fused(b, [x, w], [b.map(scalar.mul, y, z)])
    assert [type(s) for s in (first, call, last)] == [Group, Call, Group]


def test_parts_of_a_buffer_are_written_before_it_is_read() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    whole = b.new(F32, (8,))
    b.copy(b.map(scalar.tanh, x), whole.slice((0,), (4,)))
    b.copy(b.map(scalar.exp, x), whole.slice((4,), (4,)))
    steps = fused(b, [x], [b.map(scalar.neg, whole)])
    assert [len(s.loads) for s in steps] == [1, 1, 1]


def test_a_fold_of_the_points_and_the_points() -> None:
    b = Builder()
    x = b.new(F32, (64, 32), "input")
    y = b.map(scalar.exp, x)
    (step,) = fused(b, [x], [y, b.reduce("sum", y, (1,))])
    assert [s.view.shape for s in step.stores] == [(64, 32), (64, 1)]


def test_folds_over_different_axes_stay_apart() -> None:
    b = Builder()
    x = b.new(F32, (64, 32), "input")
    rows, columns = b.reduce("sum", x, (1,)), b.reduce("sum", x, (0,))
    assert len(fused(b, [x], [rows, columns])) == 2


def test_points_are_stored_on_the_way_of_a_fold() -> None:
    """A bias's gradient and what it is the sum of; a loss and its gradient."""
    for axes in ((0,), (0, 1)):
        b = Builder()
        x = b.new(F32, (1 << 12, 32), "input")
        y = b.map(scalar.exp, x)
        (step,) = fused(b, [x], [y, b.reduce("sum", y, axes)])
        assert len(step.stores) == 2


def test_a_norm_and_what_it_scales_are_one_kernel() -> None:
    b = Builder()
    x = b.new(F32, (64, 32), "input")
    norm = b.map(scalar.rsqrt, b.reduce("sum", b.map(lambda e: e * e, x), (1,), True))
    (step,) = fused(b, [x], [b.map(scalar.mul, x, norm)])
    assert repr(step.stores[0].expr) == "mul(in0, rsqrt(sum[mul(in0, in0)]))"


def test_kernels_that_read_the_same_join() -> None:
    """The second one could only run after a call, had it not been for its inputs."""
    b = Builder()
    x, w = b.new(F32, (4, 4), "input"), b.new(F32, (4, 4), "input")
    y = b.map(scalar.tanh, x)
    (z,) = b.call("product", _product, [y, w], [(F32, (4, 4))])
    first, call = fused(b, [x, w], [z, b.map(scalar.exp, b.map(scalar.neg, x))])
    assert isinstance(call, Call)
    assert len(first.stores) == 2


def test_a_cheap_value_is_not_stored_for_who_reads_its_inputs() -> None:
    b = Builder()
    x, y = b.new(F32, (64, 48), "input"), b.new(F32, (64, 48), "input")
    product = b.map(scalar.sub, b.map(lambda e: e + 1.0, x), b.map(scalar.neg, y))
    rows = b.reduce("sum", b.map(scalar.mul, product, b.map(scalar.mul, x, y)), (1,))
    columns = b.reduce("max", b.map(scalar.mul, b.map(scalar.mul, product, x), y), (0,))
    steps = fused(b, [x, y], [rows, columns])
    assert len(steps) == 2
    assert all(set(s.loads) == {x, y} for s in steps)


def test_a_long_fold_is_not_gone_through_twice() -> None:
    """One block of a GPU would walk it alone."""
    b = Builder()
    x = b.new(F32, (1 << 20,), "input")
    y = b.map(scalar.sub, x, b.reduce("sum", x, (0,)))
    assert len(fused(b, [x], [y])) == 2


def test_what_follows_a_fold_is_in_its_kernel() -> None:
    b = Builder()
    x = b.new(F32, (1 << 20,), "input")
    norm = b.map(scalar.sqrt, b.reduce("sum", b.map(lambda e: e * e, x), (0,)))
    (step,) = fused(b, [x], [norm])
    assert repr(step.stores[0].expr) == "sqrt(sum[mul(in0, in0)])"


def test_a_long_chain_is_cut() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    y = x
    for _ in range(1000):
        y = b.map(scalar.tanh, y)
    steps = fused(b, [x], [y])
    assert 5 < len(steps) < 12


def test_many_loads_are_cut() -> None:
    b = Builder()
    xs = [b.new(F32, (4,), "input") for _ in range(100)]
    total = xs[0]
    for x in xs[1:]:
        total = b.map(scalar.add, total, x)
    steps = fused(b, xs, [total])
    assert len(steps) < 8
    assert all(len(s.loads) + len(s.stores) <= 24 for s in steps)


def test_origins_are_the_nodes_of_all_members() -> None:
    b = Builder()
    x = b.new(dtypes.int32, (4,), "input")
    b.origin = "negative"
    y = b.map(scalar.neg, x)
    b.origin = "quotient"
    y = b.map(scalar.floordiv, b.map(lambda e: e + 0 * e, x), y)
    b.origin = "sum"
    program = optimize(close(b, [x], [b.map(scalar.add, y, x)]))
    (origin,) = program.origins
    assert set(origin) == {"negative", "quotient", "sum", None} - {None}
    # The one that can fail is the one that an error names.
    assert origin[0] == "quotient"
    with pytest.raises(StepError) as caught:
        NumpyBackend().load(program).run([np.zeros(4, np.int32)], [], 0)
    assert caught.value.origin == origin


# --- from graphs ----------------------------------------------------------------------


def compiled(fetches: Any, feeds: dict[Any, Any]) -> Program:
    return optimize(lowered(fetches, feeds)[1])


def groups(program: Program) -> list[Group]:
    return [s for s in program.steps if isinstance(s, Group)]


@pytest.fixture
def graph() -> Any:
    with gg.Graph().as_default() as graph:
        yield graph


def test_softmax(graph: Any) -> None:
    x = gg.placeholder(gg.float32, [64, 100])
    program = compiled(gg.nn.softmax(x), {x: np.ones((64, 100))})
    assert len(groups(program)) == 1
    assert bytes_moved(program) == least_bytes(program) == 2 * 4 * 6400


def test_softmax_gradient(graph: Any) -> None:
    x = gg.placeholder(gg.float32, [64, 100])
    dy = gg.placeholder(gg.float32, [64, 100])
    y = gg.nn.softmax(x)
    feeds = {x: np.ones((64, 100)), dy: np.ones((64, 100))}
    program = compiled(gg.gradients(y, x, dy), feeds)
    assert len(groups(program)) == 1
    assert bytes_moved(program) == 3 * 4 * 6400


def test_gelu_and_its_gradient(graph: Any) -> None:
    x = gg.placeholder(gg.float32, [1000])
    y = gg.nn.gelu(x)
    program = compiled([y, gg.gradients(y, x)], {x: np.ones(1000)})
    assert len(groups(program)) == 1
    assert bytes_moved(program) == 3 * 4000


def test_l2_norm_and_its_gradient(graph: Any) -> None:
    x = gg.placeholder(gg.float32, [64, 100])
    dy = gg.placeholder(gg.float32, [64, 100])
    y = gg.nn.l2_normalize(x, axis=1)
    feeds = {x: np.ones((64, 100)), dy: np.ones((64, 100))}
    for fetches in (y, gg.gradients(y, x, dy)):
        program = compiled(fetches, feeds)
        assert len(groups(program)) == 1
        assert bytes_moved(program) == least_bytes(program)


@pytest.mark.parametrize("sparse", [False, True])
def test_cross_entropy_and_its_gradient(graph: Any, sparse: bool) -> None:
    """One kernel by rows, and the mean of the rows."""
    x = gg.placeholder(gg.float32, [64, 100])
    if sparse:
        labels = gg.placeholder(gg.int32, [64])
        rows = gg.nn.sparse_softmax_cross_entropy_with_logits(labels, x)
        feeds = {x: np.ones((64, 100)), labels: np.ones(64, np.int32)}
    else:
        labels = gg.placeholder(gg.float32, [64, 100])
        rows = -gg.reduce_sum(labels * gg.nn.log_softmax(x), axis=1)
        feeds = {x: np.ones((64, 100)), labels: np.ones((64, 100))}
    loss = gg.reduce_mean(rows)
    program = compiled([loss, gg.gradients(loss, x)], feeds)
    assert [g.reduced for g in groups(program)] == [(False, True), (True,)]
    # Beside the least, the losses of the rows are written and read once more.
    assert bytes_moved(program) <= least_bytes(program) + 2 * 4 * 64


def test_layer_norm_and_its_gradient(graph: Any) -> None:
    """Back: the moments, gamma and beta by columns, x by rows."""
    x = gg.placeholder(gg.float32, [512, 128])
    dy = gg.placeholder(gg.float32, [512, 128])
    gamma, beta = (gg.placeholder(gg.float32, [128]) for _ in range(2))
    mean, variance = gg.nn.moments(x, [-1], keepdims=True)
    y = gg.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)
    feeds = {x: np.ones((512, 128)), dy: np.ones((512, 128))}
    feeds |= {gamma: np.ones(128), beta: np.ones(128)}
    program = compiled(y, feeds)
    assert len(groups(program)) == 1
    assert bytes_moved(program) == least_bytes(program)
    program = compiled(gg.gradients(y, [x, gamma, beta], dy), feeds)
    assert len(groups(program)) == 3
    # x three times, dy twice, the gradient once; of rows and columns some vectors.
    assert bytes_moved(program) <= 6 * 4 * 512 * 128 + 12 * 4 * (512 + 128)


def test_a_loss_with_three_gradients_is_one_kernel(graph: Any) -> None:
    x = gg.placeholder(gg.float32, [1 << 16])
    w, c = gg.placeholder(gg.float32, []), gg.placeholder(gg.float32, [])
    y = gg.reduce_sum(gg.tanh(x * w + c) * gg.exp(-(x**2)))
    feeds = {x: np.ones(1 << 16), w: 1.0, c: 1.0}
    program = compiled([y, gg.gradients(y, [x, w, c])], feeds)
    assert len(groups(program)) == 1
    assert bytes_moved(program) == least_bytes(program)


def test_adam_is_one_kernel_a_variable(graph: Any) -> None:
    x = tf.placeholder(tf.float32, [64, 256])
    value = x
    variables = []
    for size in (128, 96):
        weights = tf.Variable(np.ones((value.shape[1], size), np.float32))
        value = tf.tanh(tf.matmul(value, weights))
        variables.append(weights)
    step = tf.train.AdamOptimizer().minimize(tf.reduce_sum(value))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        _, program = lowered(step, {x: np.ones((64, 256))}, session)
        program = optimize(program)
    updates = [g for g in groups(program) if len(g.stores) == 3 and g.extents]
    shapes = [tuple(v.shape) for v in variables]
    assert sorted(g.extents for g in updates) == sorted(shapes)
    for group in updates:
        whole = [v for v in group.loads if 0 not in v.strides]
        assert len(whole) == 4  # the variable, both moments, the gradient


def test_sum_of_a_thousand_branches(graph: Any) -> None:
    x = gg.placeholder(gg.float32, [1000])
    total = gg.add_n([gg.tanh(x * float(i)) for i in range(1000)])
    program = compiled(total, {x: np.ones(1000)})
    assert len(groups(program)) <= 32
    assert bytes_moved(program) <= 32 * 3 * 4000


# --- results --------------------------------------------------------------------------


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(trials(), st.data())
def test_any_passes_leave_the_results(trial: Trial, data: Any) -> None:
    chosen = tuple(p for p in PASSES if data.draw(st.booleans(), label=p.__name__))
    outputs, committed = trial.expected()
    program = replace(trial.program, offsets={}, arena_bytes=0)
    for run_pass in chosen:
        program = run_pass(program)
        check_program(program)
    variables = list(trial.variables)
    results = NumpyBackend().load(program).run(trial.inputs, variables, 0)
    for found, wanted in zip(results, outputs):
        _near(found, wanted)
    for slot, wanted in committed.items():
        _near(variables[slot], wanted)


def _near(found: Any, wanted: np.ndarray) -> None:
    if wanted.dtype.kind == "V":
        found, wanted = found.astype(np.float32), wanted.astype(np.float32)
    np.testing.assert_array_equal(found, wanted)


def _viewed(b: Builder, rng: np.random.Generator, value: View) -> View:
    """``value`` turned, reshaped, cut, folded or repeated, or as it is."""
    form = rng.integers(0, 8)
    shapes = {
        24: [(4, 6), (6, 4), (24,), (2, 12), (2, 3, 4)],
        6: [(6,), (2, 3), (6, 1)],
        4: [(4,), (4, 1), (2, 2)],
    }
    if form == 0 and value.rank == 2:
        return value.transpose((1, 0))
    if form == 1 and value.size in shapes:
        choice = shapes[value.size]
        return value.reshape(choice[rng.integers(0, len(choice))]) or value
    if form == 2 and value.rank and value.shape[0] > 1:
        sizes = (value.shape[0] - 1, *value.shape[1:])
        return value.slice((1,) + (0,) * (value.rank - 1), sizes)
    if form == 3 and value.rank:
        kind, axis = (
            ("sum", "max")[rng.integers(0, 2)],
            int(rng.integers(0, value.rank)),
        )
        return b.reduce(kind, value, (axis,), keepdims=bool(rng.integers(0, 2)))
    if form == 4 and 0 < value.rank < 3:
        return value.broadcast((3, *value.shape))
    return value


def _fits(value: View, other: View) -> bool:
    return other.rank == value.rank and all(
        m in (1, n) for m, n in zip(other.shape, value.shape)
    )


@pytest.mark.parametrize("seed", range(120))
def test_views_of_values_leave_the_results(seed: int) -> None:
    """Steps that read each other's results in other shapes, by any of the passes."""
    rng = np.random.default_rng(seed)
    b = Builder()
    inputs = [b.new(dtypes.float64, s, "input") for s in ((4, 6), (6,), (4, 1), (24,))]
    values = list(inputs)
    for _ in range(int(rng.integers(5, 30))):
        value = _viewed(b, rng, values[rng.integers(0, len(values))])
        op = (scalar.tanh, scalar.neg, abs_)[rng.integers(0, 3)]
        others = [v for v in values if _fits(value, v)]
        if others and rng.random() < 0.6:
            other = others[rng.integers(0, len(others))]
            values.append(b.map(lambda x, y, op=op: op(x) - y, value, other))
        else:
            values.append(b.map(op, value))
    results = [values[i] for i in sorted(set(rng.integers(4, len(values), 3)))]
    program = close(b, inputs, results)
    feeds = [rng.normal(size=v.shape) for v in inputs]
    wanted = NumpyBackend().load(program).run(feeds, [], 0)
    for run_pass in PASSES:
        if seed % 2 == 0 or rng.random() < 0.8:
            program = run_pass(program)
            check_program(program)
    found = NumpyBackend().load(program).run(feeds, [], 0)
    for one, two in zip(found, wanted):
        np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12)
