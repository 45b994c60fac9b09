"""What loops keep for their gradients: no more than these need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.control import loop as control_loop


def kept(y: tf.Tensor) -> list[str]:
    """The names of the tensors that the loop behind ``y`` keeps an iteration."""
    (loop,) = [op for op in y.graph.get_operations() if op.type == "StatelessWhile"][:1]
    return [t.op.name for saved in loop.attrs["_saved"] for t in saved]


def loop(body: Callable[[Any, Any], Any], start: Any) -> tf.Tensor:
    return tf.while_loop(
        lambda i, y: i < 3, lambda i, y: (i + 1, body(i, y)), [0, start]
    )[1]


X = np.array([[0.3, -0.4], [0.5, 0.6]])


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (lambda i, y, w: y + w, 0),
        (lambda i, y, w: y * 2.0 - 1.5, 0),
        (lambda i, y, w: y * w, 1),
        (lambda i, y, w: y * (tf.sin(w) + 1.0), 1),
        (lambda i, y, w: tf.matmul(y, tf.matmul(w, w)), 1),
        (lambda i, y, w: tf.tanh(y), 1),
        (lambda i, y, w: tf.tanh(tf.matmul(y, w) + 0.1), 2),
        (lambda i, y, w: tf.reduce_mean(y, 0, keepdims=True) + w, 0),
        (lambda i, y, w: tf.transpose(y) / tf.constant([2.0, 3.0]), 0),
        (lambda i, y, w: y + tf.random_uniform([2, 2], seed=1) * w, 1),
    ],
)
def test_only_what_changes_and_is_needed_is_kept(
    body: Callable[..., Any], count: int
) -> None:
    with tf.Graph().as_default():
        x, w = (tf.placeholder(tf.float32, [2, 2]) for _ in range(2))
        y = loop(lambda i, y: body(i, y, w), x)
        found = tf.gradients(y, [x, w])
        assert len(kept(y)) == count, kept(y)
        if any("random" in name for name in kept(y)):
            return  # unrolled, it draws other numbers
        outside = x
        for i in range(3):
            outside = body(i, outside, w)
        expected = tf.gradients(outside, [x, w])
        assert [a is None for a in found] == [b is None for b in expected]
        pairs = [(a, b) for a, b in zip(found, expected) if b is not None]
        with tf.Session() as session:
            for a, b in session.run(pairs, {x: X, w: X.T}):
                np.testing.assert_allclose(a, b, rtol=1e-5)


def test_of_rows_only_the_number_and_the_row_are_kept() -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float64, [3, 2])
        y = tf.map_fn(lambda row: tf.sin(row) * 2.0, x)
        assert tf.gradients(y, x) != [None]
        number, row = kept(y)
        assert row.endswith("TensorListGetItem") and "Tensor" not in number


def _trained(repeat: Callable[..., Any], rows: int, second: bool) -> list[np.ndarray]:
    """Gradients of a recurrent layer whose steps ``repeat`` repeats."""
    with tf.Graph().as_default():
        w = tf.Variable(np.linspace(-0.3, 0.4, 30).reshape(5, 6))
        v = tf.Variable(np.linspace(-0.2, 0.3, 30).reshape(6, 5))
        start = tf.constant(np.linspace(-1, 1, rows * 5).reshape(rows, 5))
        y = repeat(lambda i, y: tf.tanh(tf.matmul(tf.tanh(tf.matmul(y, w)), v)), start)
        found = tf.gradients(tf.reduce_sum(y * y), [w, v, start])
        if second:
            found = tf.gradients(sum(tf.reduce_sum(g * g) for g in found), [w, v])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            return session.run(found)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("rows", [2, 7])
def test_the_gradient_of_weights_is_one_product_after_the_loop(
    rows: int, second: bool
) -> None:
    """Where the factors are smaller than what they make; else it is summed up."""

    def unrolled(body: Callable[..., Any], y: Any) -> Any:
        for i in range(3):
            y = body(i, y)
        return y

    def checked(body: Callable[..., Any], start: Any) -> Any:
        y = loop(body, start)
        tf.gradients(y, tf.trainable_variables())
        kinds = [op.type for op in y.graph.get_operations()]
        assert kinds.count("MatMul") == (2 if rows == 2 else 0)
        return y

    found, wanted = _trained(checked, rows, second), _trained(unrolled, rows, second)
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10)


def test_weights_that_a_step_uses_twice() -> None:
    def body(i: Any, y: Any, w: Any) -> Any:
        return tf.tanh(tf.matmul(tf.tanh(tf.matmul(y, w)), w))

    with tf.Graph().as_default(), tf.Session() as session:
        w = tf.constant(np.linspace(-0.3, 0.4, 36).reshape(6, 6))
        x = tf.constant([[0.5, -0.5, 1.0, 0.1, 0.2, 0.3]], tf.float64)
        outside = x
        for i in range(3):
            outside = body(i, outside, w)
        inside = loop(lambda i, y: body(i, y, w), x)
        one, two = session.run(
            [tf.gradients(inside, w)[0], tf.gradients(outside, w)[0]]
        )
        np.testing.assert_allclose(one, two, rtol=1e-12)
        (product,) = [op for op in inside.graph.get_operations()
                      if op.type == "ConcatSaved"]  # fmt: skip
        assert product.outputs[0].shape[1] == 6


def test_a_variable_that_no_iteration_writes_is_kept_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: list[list[str]] = []
    before = control_loop._Layout.before

    def watched(self: Any) -> Any:
        bodies = before(self)
        names.append([t.op.type for t in bodies[0][2]])
        assert not set(bodies[0][2]) & set(self.results)
        return bodies

    monkeypatch.setattr(control_loop._Layout, "before", watched)
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([[1.5, 0.5], [0.25, 2.0]])
        y = loop(lambda i, y: y * tf.sin(v), tf.constant(X, tf.float32))
        (gradient,) = tf.gradients(y, v)
        session.run(v.initializer)
        found = session.run(gradient)
        wanted = session.run(tf.gradients(X * tf.sin(v) ** 3, v)[0])
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert names == [["ReadVariableOp"]]


def test_a_variable_that_iterations_write_is_kept_of_each() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([[1.5, 0.5], [0.25, 2.0]])

        def body(i: Any, y: Any) -> Any:
            y = y * v.read_value()
            with tf.control_dependencies([y]):
                added = v.assign_add(tf.ones([2, 2]))
            with tf.control_dependencies([added]):
                return tf.identity(y)

        x = tf.constant(X, tf.float32)
        y = loop(body, x)
        (gradient,) = tf.gradients(y, x)
        session.run(v.initializer)
        start = session.run(v)
        np.testing.assert_allclose(
            session.run(gradient), start * (start + 1) * (start + 2), rtol=1e-6
        )


def test_a_variable_that_is_never_read_may_have_no_value() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([[1.5, 0.5], [0.25, 2.0]])
        n, x = tf.placeholder(tf.int32, []), tf.constant(X, tf.float32)
        y = tf.while_loop(
            lambda i, y: i < n, lambda i, y: (i + 1, y * tf.sin(v)), [0, x]
        )[1]
        (gradient,) = tf.gradients(y, x)
        np.testing.assert_array_equal(session.run(gradient, {n: 0}), np.ones((2, 2)))
