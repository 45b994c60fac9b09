"""gradients() inside function bodies: arguments, captured tensors, variables."""

from __future__ import annotations

import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def run(fetches):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches)


def test_arguments_captures_and_variables() -> None:
    c = tf.constant(4.0)
    w = tf.get_variable("w", initializer=2.0, use_resource=True)

    @gg.function
    def f(x):
        return gg.gradients(x * c * w, [x, c, w])

    assert run(f(tf.constant(3.0))) == [8.0, 6.0, 12.0]


def test_not_across_the_boundary_of_a_call() -> None:
    c = tf.constant(4.0)

    @gg.function
    def f(y, x):
        return gg.gradients(y, x)

    assert f(c * c, c) == [None]


def test_outer_tensors_only() -> None:
    x = tf.constant(3.0)
    y = x * x

    @gg.function
    def f():
        return gg.gradients(y, x)[0]

    assert run(f()) == 6.0


def test_a_path_that_begins_outside_and_ends_inside() -> None:
    """y is made in the body of z, which is made outside of x: both parts count."""
    x = tf.constant([3.0, 2.0])
    z = x * x

    @gg.function
    def f(a):
        y = tf.reduce_sum(z * a + tf.exp(x))
        return gg.gradients(y, [x, z, a])

    got = run(f(tf.constant(5.0)))
    assert got[0] == pytest.approx([2 * 3 * 5 + 20.0855369, 2 * 2 * 5 + 7.3890561])
    assert got[1].tolist() == [5.0, 5.0]
    assert got[2] == 13.0


def test_stop_gradients_outside() -> None:
    x = tf.constant(3.0)
    z = x * x

    @gg.function
    def f():
        return gg.gradients(z * 2.0 + x, x, stop_gradients=[z])[0]

    assert run(f()) == 1.0


def test_a_body_in_a_body() -> None:
    x = tf.constant(3.0)
    z = x * x

    @gg.function
    def outer(a):
        b = z * a

        @gg.function
        def inner():
            return gg.gradients(b * b, [x, a])

        return inner()

    assert run(outer(tf.constant(2.0))) == [2 * 9 * 4 * 6.0, 2 * 81 * 2.0]


def test_captures_that_do_not_depend_on_x() -> None:
    x = tf.constant(3.0)
    beside = tf.floor(tf.constant(2.5))

    @gg.function
    def f(a):
        return gg.gradients(a * beside, x) + gg.gradients(a * beside, a)

    assert run(f(tf.constant(5.0))[1]) == 2.0
    assert f(tf.constant(5.0))[0] is None


def test_names_inside_are_those_of_a_graph() -> None:
    names = []

    @gg.function
    def f(x):
        gradient = gg.gradients(x * x, x)[0]
        names.append(gradient.name)
        return gradient

    run(f(tf.constant(2.0)))
    assert names == ["gradients/AddN:0"]
