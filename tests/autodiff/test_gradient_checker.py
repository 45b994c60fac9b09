"""compute_gradient: Jacobians of both kinds, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture
def session():
    with tf.Graph().as_default(), tf.Session() as session:
        yield session


def test_jacobian_in_a_session(session) -> None:
    x = tf.placeholder(tf.float64, [2, 2])
    y = tf.reduce_sum(x * x, 1)
    start = np.array([[1.0, 2.0], [3.0, 4.0]])
    exact, rough = tf.test.compute_gradient(x, [2, 2], y, [2], start)
    assert exact.tolist() == [[2.0, 0.0], [4.0, 0.0], [0.0, 6.0], [0.0, 8.0]]
    assert rough == pytest.approx(exact, abs=1e-9)
    assert tf.test.compute_gradient_error(x, [2, 2], y, [2]) < 1e-9


def test_a_list_of_xs_and_a_wrong_rule(session) -> None:
    x = tf.placeholder(tf.float64, [2])
    w = tf.placeholder_with_default(np.ones(2), [2])

    @tf.custom_gradient
    def wrong(t):
        return t * 3.0, lambda dy: dy * 2.0

    y = wrong(x) * w
    pairs = tf.test.compute_gradient(
        [x, w], [[2], [2]], y, [2], extra_feed_dict={x: [1.0, 2.0]}
    )
    assert [len(pair) for pair in pairs] == [2, 2]
    error = tf.test.compute_gradient_error(x, [2], y, [2])
    assert error == pytest.approx(1.0, abs=1e-6)


def test_complex_numbers_count_twice(session) -> None:
    z = tf.placeholder(tf.complex128, [1])
    exact, rough = tf.test.compute_gradient(z, [1], z * z, [1], np.array([1 + 2j]))
    assert exact.shape == (2, 2)
    assert exact == pytest.approx(rough, abs=1e-8)


def test_slices_count_as_dense(session) -> None:
    x = tf.placeholder(tf.float64, [3])
    exact, rough = tf.test.compute_gradient(x, [3], tf.gather(x, [2, 2, 0]), [3])
    assert exact == pytest.approx(rough, abs=1e-9)


def test_refused_in_a_session(session) -> None:
    i = tf.placeholder(tf.int32, [1])
    x = tf.placeholder(tf.float32, [1])
    with pytest.raises(AssertionError, match="Don't support type int32 for x"):
        tf.test.compute_gradient(i, [1], x, [1])
    with pytest.raises(AssertionError, match="dx = None"):
        tf.test.compute_gradient(x, [1], tf.constant([1.0]), [1])
    with pytest.raises(AssertionError, match="x_shape"):
        tf.test.compute_gradient(x, [1], x, [1], np.ones(2))


def test_needs_a_session() -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [1])
        with pytest.raises(ValueError, match="No default session"):
            tf.test.compute_gradient(x, [1], x, [1])


def test_of_a_function() -> None:
    exact, rough = gg.test.compute_gradient(
        lambda x, w: tf.matmul(x, w) * 2.0, [np.ones((1, 2)), np.array([[3.0], [4.0]])]
    )
    assert [j.tolist() for j in exact] == [[[6.0, 8.0]], [[2.0, 2.0]]]
    assert gg.test.max_error(exact, rough) < 1e-9


def test_of_a_function_of_complex_numbers_and_of_nothing() -> None:
    exact, rough = gg.test.compute_gradient(lambda z: tf.abs(z), [np.array([1 + 2j])])
    assert exact[0].shape == (1, 2)
    assert gg.test.max_error(exact, rough) < 1e-6
    exact, _ = gg.test.compute_gradient(lambda x, w: w * 1.0, [[1.0], [2.0]])
    assert exact[0].tolist() == [[0.0]]


def test_refused_of_a_function() -> None:
    with pytest.raises(ValueError, match="must be a list or tuple"):
        gg.test.compute_gradient(lambda x: x, np.ones(2))
    with pytest.raises(AssertionError, match="int32"):
        gg.test.compute_gradient(lambda x: x, [[1, 2]])
