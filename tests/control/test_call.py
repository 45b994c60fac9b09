"""Calls of functions in graphs: one op, differentiated as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


def test_a_call_is_one_op_and_so_is_its_gradient() -> None:
    c = tf.constant(4.0)
    w = tf.get_variable("w", initializer=2.0)
    x = tf.constant(3.0)
    y, z = tf.function(lambda a: (a * c * w, a * 2.0))(x)
    grads = tf.gradients(y, [x, c, w])
    assert (y.name, z.name) == (
        "StatefulPartitionedCall:0",
        "StatefulPartitionedCall:1",
    )
    prefix = "gradients/StatefulPartitionedCall_grad/PartitionedCall"
    assert [g.name for g in grads] == [f"{prefix}:{i}" for i in range(3)]
    assert run([y, z, grads]) == [24.0, 6.0, [8.0, 6.0, 12.0]]


def test_second_order_and_several_gradients_of_one_call() -> None:
    x = tf.constant(3.0)
    f = tf.function(lambda a: a * a * a)
    y = f(f(x))
    (first,) = tf.gradients(y, x)
    (again,) = tf.gradients(y, x)
    (second,) = tf.gradients(first, x)
    (third,) = tf.gradients(second, x)
    got = run([y, first, again, second, third])
    assert got == [19683.0, 9 * 3.0**8, 9 * 3.0**8, 72 * 3.0**7, 504 * 3.0**6]


def test_integers_and_unconnected_inputs_get_none() -> None:
    x, i, u = tf.ones([3]), tf.placeholder_with_default([1, 2], [2]), tf.constant(1.0)
    rows, same, _ = tf.function(lambda a, j, b: (tf.gather(a, j), j, b))(x, i, u)
    g = tf.gradients(rows, [x, i, u], unconnected_gradients="none")
    assert isinstance(g[0], tf.IndexedSlices) and g[1] is None
    assert run(g[0]).indices.tolist() == [1, 2]
    assert run(tf.gradients(rows, [u])) == [0.0]  # an output that nothing reached
    assert tf.gradients(tf.cast(same, tf.float32), [x]) == [None]


def test_state_changes_once_a_run() -> None:
    v = tf.Variable(1.0)

    @tf.function
    def f(x: Any) -> Any:
        v.assign_add(1.0)
        return x * x * v

    x = tf.constant(3.0)
    y = f(x)
    (g,) = tf.gradients(y, x)
    with tf.Session() as session:
        session.run(v.initializer)
        assert session.run(g) == 12.0
        assert session.run(v) == 2.0
        assert session.run([y, g]) == [27.0, 18.0]
        assert session.run(v) == 3.0


def test_the_gradient_uses_what_the_call_has_computed() -> None:
    """A random value inside is drawn once for the value and the gradient."""
    x = tf.ones([5])
    f = tf.function(lambda a: a * tf.random_uniform([5]))
    y = f(x)
    value, slope = run([y, tf.gradients(y, x)[0]])
    np.testing.assert_array_equal(value, slope)


def test_calls_within_calls() -> None:
    w = tf.Variable(2.0)
    inner = tf.function(lambda a: a * w)
    outer = tf.function(lambda a: inner(inner(a)) + a)
    x = tf.constant(3.0)
    y = outer(x)
    assert run([y, tf.gradients(y, [x, w])]) == [15.0, [5.0, 12.0]]


def test_what_was_traced_in_a_graph_still_runs_on_values() -> None:
    f = tf.function(lambda a: a * a * a)
    x = tf.constant(np.float32(3.0))
    assert run(tf.gradients(f(x), x)) == [27.0]
    assert run(f(tf.constant(2.0))) == 8.0
