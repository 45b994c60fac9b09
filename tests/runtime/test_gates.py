"""gate_gradients from the graph down to the threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from gpugrad import config
from gpugrad.compiler import streams as stream_pass
from gpugrad.compiler.lower import Bound, lower_stage
from gpugrad.compiler.pipeline import optimize
from gpugrad.compiler.schedule import schedule
from gpugrad.kir.program import Barrier, Program
from gpugrad.kir.target import Target

Optimizer = tf.train.Optimizer


@pytest.fixture(autouse=True)
def graph():
    with gg.Graph().as_default() as g:
        yield g


@pytest.fixture
def four_streams(monkeypatch):
    """Sessions run on four threads, each step where it would be done first."""
    monkeypatch.setattr(config, "_current", replace(config.current(), streams=4))
    monkeypatch.setattr(stream_pass, "_WORTH", -1e9)  # also where it does not pay


def program_of(fetches, feeds=()) -> Program:
    """What a session would run, for four streams."""
    plan = schedule(
        [f for f in fetches if isinstance(f, gg.Tensor)],
        [f for f in fetches if not isinstance(f, gg.Tensor)],
        list(feeds),
    )
    bound = {
        n: Bound(t.dtype, tuple(t.shape.as_list())) for n, t in zip(plan.inputs, feeds)
    }

    def handle(op):
        raise AssertionError(f"{op.name} reads a variable")

    program = lower_stage(plan, 0, bound, handle).program
    return optimize(program, target=Target(streams=4))


def barriers(program: Program) -> list[int]:
    """How many members each barrier has."""
    return [len(s.members) for s in program.steps if isinstance(s, Barrier)]


def test_gradients_of_an_op_are_gated_together() -> None:
    x, y = (tf.placeholder(tf.float32, [8]) for _ in range(2))
    z = x * y
    gated = tf.gradients(z, [x, y], tf.exp(z), gate_gradients=True)
    loose = tf.gradients(z, [x, y], tf.exp(z))
    assert barriers(program_of([g + 1 for g in gated], [x, y])) == [2]
    assert barriers(program_of([g + 1 for g in loose], [x, y])) == []


def test_a_gated_gradient_that_nobody_fetches_is_not_computed() -> None:
    x, y = (tf.placeholder(tf.float32, [8]) for _ in range(2))
    z = x * y
    gated = tf.gradients(z, [x, y], tf.exp(z), gate_gradients=True)
    program = program_of([gated[0]], [x, y])
    alone = program_of([tf.gradients(z, [x], tf.exp(z))[0]], [x, y])
    assert barriers(program) == []
    assert len(program.steps) == len(alone.steps)


def test_a_tuple_over_several_devices_has_one_barrier_over_all() -> None:
    x = tf.placeholder(tf.float32, [8])
    with tf.device("/gpu:0"):
        a, b = tf.exp(x), tf.sin(x)
    with tf.device("/gpu:1"):
        c = tf.cos(x)
    gated = tf.tuple([a, b, c])
    assert max(barriers(program_of([g + 1 for g in gated], [x]))) == 3


def test_optimizers_gate_nothing_each_op_or_all() -> None:
    x = tf.placeholder(tf.float32, [4, 4])
    value = x
    for name in "uvw":
        value = tf.tanh(tf.matmul(value, tf.get_variable(name, [4, 4], tf.float32)))
    loss = tf.reduce_sum(value)
    found = {}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for gate in (Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH):
            step = tf.train.GradientDescentOptimizer(0.1).minimize(
                loss, gate_gradients=gate
            )
            text = gg.explain(step, {x: np.ones((4, 4))}, session)
            lines = [t for t in text.splitlines() if t.startswith("barrier: ")]
            found[gate] = [line.count("temp") for line in lines]
    assert found[Optimizer.GATE_NONE] == []
    # The matmuls whose input has a gradient as well.
    assert found[Optimizer.GATE_OP] == [2, 2]
    assert found[Optimizer.GATE_GRAPH] == [3]


def test_training_is_the_same_on_threads(four_streams) -> None:
    rng = np.random.default_rng(0)
    # Large enough for two matmuls to be worth two threads.
    data, weights = rng.normal(size=(2, 128, 128)) / 64
    results = []
    for gate in (Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH):
        for count in (1, 4):
            config._current = replace(config.current(), streams=count)
            with gg.Graph().as_default():
                x = tf.placeholder(tf.float64, [128, 128])
                layers = [tf.Variable(weights * k, dtype=tf.float64) for k in (1, 2, 3)]
                value = x
                for layer in layers:
                    value = tf.tanh(tf.matmul(value, layer)) + value
                step = tf.train.MomentumOptimizer(0.01, 0.9).minimize(
                    tf.reduce_sum(value * value), gate_gradients=gate
                )
                with tf.Session() as session:
                    session.run(tf.global_variables_initializer())
                    for _ in range(20):
                        session.run(step, {x: data})
                    results.append(session.run(layers))
                    if count == 4:
                        text = gg.explain(step, {x: data}, session)
                        assert "# stream 1, step" in text
    for other in results[1:]:
        for one, two in zip(results[0], other):
            np.testing.assert_array_equal(one, two)


def test_threads_end_with_the_error_of_the_node(four_streams) -> None:
    x = tf.placeholder(tf.float32, [8])
    with tf.control_dependencies([tf.exp(x)]):
        parts = [tf.exp(x) * k for k in range(6)]
        parts[3] = tf.check_numerics(parts[3], "checked", name="the_check")
    total = tf.add_n(parts)
    with tf.Session() as session:
        with pytest.raises(tf.errors.InvalidArgumentError, match="the_check") as caught:
            session.run(total, {x: np.full(8, np.inf)})
        assert caught.value.op.name == "the_check"
        assert session.run(total, {x: np.zeros(8)}).tolist() == [15.0] * 8
