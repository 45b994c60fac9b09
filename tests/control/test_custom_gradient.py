"""custom_gradient, recompute_grad, grad_pass_through, and py_func."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


def run(fetches: Any) -> Any:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches)


@tf.custom_gradient
def scaled(a: Any, b: Any) -> Any:
    return [a * 1.0, b * 1.0], lambda da, db: (da * 10.0, db * 20.0)


@tf.custom_gradient
def cube(x: Any) -> Any:
    return x * x * x, lambda dy: dy * 7.0 * x


# --- custom_gradient ------------------------------------------------------------------


def test_unused_outputs_arrive_as_zeros() -> None:
    a, b = tf.constant(2.0), tf.constant(3.0)
    u, _ = scaled(a, b)
    assert u.op.type == "IdentityN" and u.name == "IdentityN:0"
    assert u.op.get_attr("_gradient_op_type").startswith(b"CustomGradient-")
    assert run(tf.gradients(u, [a, b])) == [10.0, 0.0]


def test_second_order_differentiates_the_gradient_function() -> None:
    x = tf.constant(2.0)
    (g,) = tf.gradients(cube(x), x)
    assert run([g, tf.gradients(g, x)[0]]) == [14.0, 7.0]


def test_structures_and_none() -> None:
    @tf.custom_gradient
    def f(a: Any, b: Any) -> Any:
        return (a * b, {"k": [a + b]}), lambda da, db: (da * 2.0, None)

    x, y = tf.constant(2.0), tf.constant(3.0)
    product, rest = f(x, y)
    assert run([product, rest["k"][0]]) == [6.0, 5.0]
    g = tf.gradients(product, [x, y])
    assert g[1] is None and run(g[0]) == 2.0


def test_methods_and_python_arguments() -> None:
    class Layer:
        @tf.custom_gradient
        def __call__(self, x: Any) -> Any:
            return x * 2.0, lambda dy: dy * 5.0

    x = tf.constant(1.0)
    assert run(tf.gradients(Layer.__call__.__get__(Layer())(x), x)) == [5.0]
    assert run(cube(2.0)) == 8.0
    assert cube.__name__ == "cube"


def test_variables() -> None:
    seen: list[Any] = []

    @tf.custom_gradient
    def f(a: Any) -> Any:
        w = tf.get_variable("w", initializer=3.0)

        def grad(dy: Any, variables: Any = None) -> Any:
            seen.extend(variables)
            return dy * 7.0, [dy * 5.0]

        return a * w, grad

    x = tf.constant(2.0)
    y = f(x)
    with tf.variable_scope("", reuse=True):
        w = tf.get_variable("w")
    assert run([y, tf.gradients(y, [x, w])]) == [6.0, [7.0, 5.0]]
    assert seen == [w]


def _with_variable(grad: Callable[..., Any]) -> Any:
    @tf.custom_gradient
    def f(a: Any) -> Any:
        return a * tf.Variable(2.0), grad

    return f


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda x: scaled(x, b=x), ValueError, "keywords arguments"),
        (lambda x: tf.custom_gradient(lambda a: (a, 3))(x), TypeError, "not 3"),
        (lambda x: _with_variable(lambda d: d)(x), TypeError, "'variables'"),
        (
            lambda x: tf.gradients(_with_variable(lambda d, variables: (d, []))(x), x),
            ValueError,
            "for each variable",
        ),
        (
            lambda x: tf.gradients(
                tf.custom_gradient(lambda a: (a * 2.0, lambda d: (d, d, d)))(x), x
            ),
            ValueError,
            'Num gradients 4 generated for op name: "IdentityN"',
        ),
    ],
)
def test_misuse(make: Callable[[Any], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make(tf.constant(2.0))


def test_values_run_at_once() -> None:
    value = gg.function(lambda: gg.constant(2.0))()
    with tf.Graph().as_default():
        pass
    assert isinstance(value, gg.EagerTensor) or run(value) == 2.0


# --- recompute_grad, grad_pass_through ------------------------------------------------


def test_recomputation_gives_the_same_gradient() -> None:
    w = tf.Variable([0.5, -1.0])
    block = lambda a: tf.sin(tf.exp(a) * w)  # noqa: E731
    x = tf.constant([0.3, 0.7])
    got = tf.gradients(tf.recompute_grad(block)(x), [x, w])
    plain = tf.gradients(block(x), [x, w])
    for one, other in zip(*run([got, plain])):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_recomputation_is_not_merged_with_what_it_repeats() -> None:
    """The exponential is computed twice: for the value, and again for the gradient."""
    x = tf.placeholder_with_default([0.3, 0.7], [2])
    calls = []

    def counted(value: Any) -> Any:
        calls.append(1)
        return np.exp(value)

    def block(a: Any) -> Any:
        noted = tf.py_func(counted, [a], tf.float32)
        noted.set_shape([2])
        return tf.exp(a) + tf.stop_gradient(noted)

    y = tf.recompute_grad(block)(x)
    (g,) = tf.gradients(y, x)
    run([y, g])
    assert len(calls) >= 1
    barrier = [o for o in x.graph.get_operations() if o.type == "RecomputeBarrier"]
    assert len(barrier) == 1
    again = [op for op in barrier[0].outputs[0].consumers() if op.type == "Exp"]
    assert len(again) == 1


def test_grad_pass_through() -> None:
    x = tf.constant(1.7)
    y = 3.0 * tf.grad_pass_through(tf.round)(x)
    assert run([y, tf.gradients(y, x)[0]]) == [6.0, 3.0]


# --- py_func --------------------------------------------------------------------------


def test_py_func_values() -> None:
    x = tf.constant([1.0, 2.0])
    one = tf.py_func(lambda v: v * 2, [x], tf.float32)
    two = tf.py_func(lambda v: (v, v.sum()), [x], [tf.float32, tf.float32])
    text = tf.numpy_function(lambda: "abc", [], tf.string)
    nothing = tf.py_func(lambda v: None, [x], [])
    assert one.op.type == "PyFunc" and one.shape.rank is None
    got = run([one, two, text, nothing])
    np.testing.assert_array_equal(got[0], [2, 4])
    assert got[1][1] == 3.0 and got[2] == b"abc" and got[3] is None
    assert tf.gradients(one, x) == [None]
    stateless = tf.py_func(lambda: np.float32(1.0), [], tf.float32, stateful=False)
    assert stateless.op.type == "PyFuncStateless"


def test_scalars_arrive_as_numpy_scalars() -> None:
    kinds = []
    run(tf.py_func(lambda v: kinds.append(type(v)), [tf.constant(3)], []))
    assert kinds == [np.int32]


@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [
        (
            lambda v: v.astype("d"),
            gg.errors.InvalidArgumentError,
            "float64, but expects",
        ),
        (lambda v: (v, v), gg.errors.InvalidArgumentError, "returns 2 values"),
        (lambda v: 1 / 0, gg.errors.UnknownError, "ZeroDivisionError"),
        (lambda v: [][1], gg.errors.UnknownError, "IndexError"),
        (lambda v: int("x"), gg.errors.InvalidArgumentError, "ValueError"),
    ],
)
def test_py_func_errors(
    function: Callable[..., Any], kind: type[Exception], text: str
) -> None:
    y = tf.py_func(function, [tf.constant([1.0])], tf.float32)
    with pytest.raises(kind, match=text):
        run(y)


def test_py_func_needs_a_function() -> None:
    with pytest.raises(ValueError, match="callable"):
        tf.py_func(3, [], tf.float32)
