"""The documented examples of tf.gradients: they print here what they print there."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import numpy as np
import pytest

import gpugrad as tf
import gpugrad.compat.v1 as v1
from tests.contract.support import lists, refused, run


@pytest.fixture
def graph() -> Iterator[v1.Graph]:
    with v1.Graph().as_default() as graph:
        yield graph


# --- examples, each in a function that is traced and run ------------------------------


def test_a_sum_and_its_own_term(capsys: pytest.CaptureFixture[str]) -> None:
    @tf.function
    def example() -> None:
        a = tf.ones([1, 2])
        b = 5 * a
        g1 = tf.gradients([b + a], [a])
        print("res: ", g1)

    example()
    assert capsys.readouterr().out == (
        "res:  [<tf.Tensor 'gradients/AddN:0' shape=(1, 2) dtype=float32>]\n"
    )


def test_a_single_product(capsys: pytest.CaptureFixture[str]) -> None:
    @tf.function
    def example() -> None:
        a = tf.ones([1, 2])
        b = 5 * a
        g1 = tf.gradients([b], [a])
        print("res: ", g1)

    example()
    assert capsys.readouterr().out == (
        "res:  [<tf.Tensor 'gradients/mul_grad/Mul_1:0' shape=(1, 2) dtype=float32>]\n"
    )


def shown(*numbers: float) -> str:
    return ", ".join(
        f"<tf.Tensor: shape=(), dtype=float32, numpy={number}>" for number in numbers
    )


def test_partial_derivatives() -> None:
    @tf.function
    def example():
        a = tf.constant(0.0)
        b = 2 * a
        return tf.gradients(a + b, [a, b], stop_gradients=[a, b])

    assert repr(example()) == f"[{shown(1.0, 1.0)}]"


def test_total_derivatives() -> None:
    @tf.function
    def example():
        a = tf.constant(0.0)
        b = 2 * a
        return tf.gradients(a + b, [a, b])

    assert repr(example()) == f"[{shown(3.0, 1.0)}]"


def test_partial_derivatives_by_stop_gradient() -> None:
    @tf.function
    def example():
        a = tf.stop_gradient(tf.constant(0.0))
        b = tf.stop_gradient(2 * a)
        return tf.gradients(a + b, [a, b])

    assert repr(example()) == f"[{shown(1.0, 1.0)}]"


@pytest.mark.parametrize(
    ("choice", "printed"),
    [
        ("none", "[None]"),
        (
            "zero",
            "[<tf.Tensor: shape=(1, 2), dtype=float32, "
            "numpy=array([[0., 0.]], dtype=float32)>]",
        ),
        (tf.UnconnectedGradients.NONE, "[None]"),
    ],
)
def test_unconnected(choice: object, printed: str) -> None:
    @tf.function
    def example():
        a = tf.ones([1, 2])
        b = tf.ones([3, 1])
        return tf.gradients([b], [a], unconnected_gradients=choice)

    assert repr(example()) == printed


def test_a_tuple_comes_back_as_a_tuple() -> None:
    @tf.function
    def example():
        ws = tf.constant(0.0)
        bs = 2 * ws
        cost = ws + bs
        g = tf.gradients(cost, [ws, bs])
        return g[0], g[1]

    assert repr(example()) == f"({shown(3.0, 1.0)})"


# --- examples with a session ----------------------------------------------------------


def test_a_polynomial(graph: v1.Graph, capsys: pytest.CaptureFixture[str]) -> None:
    x = v1.placeholder(v1.float32, name="x")
    y = x * x + 3 * x
    grad = v1.gradients(y, x)[0]
    with v1.Session() as sess:
        print(sess.run(grad, {x: 2.0}))
    assert capsys.readouterr().out == "7.0\n"
    assert repr(grad) == (
        "<tf.Tensor 'gradients/AddN:0' shape=<unknown> dtype=float32>"
    )


def test_two_variables(graph: v1.Graph, capsys: pytest.CaptureFixture[str]) -> None:
    x = v1.placeholder(v1.float32, name="x")
    y = v1.placeholder(v1.float32, name="y")
    z = x * y + y * y
    with v1.Session() as sess:
        gx, gy = sess.run(v1.gradients(z, [x, y]), {x: 2.0, y: 3.0})
    print(gx, gy)
    assert capsys.readouterr().out == "3.0 8.0\n"


def test_total_derivatives_in_a_session(graph: v1.Graph) -> None:
    a = v1.constant(0.0)
    b = 2 * a
    assert repr(run(v1.gradients(a + b, [a, b]))) == (
        "[np.float32(3.0), np.float32(1.0)]"
    )


# --- statements -----------------------------------------------------------------------

SHARED = {
    "ys": inspect.Parameter.empty,
    "xs": inspect.Parameter.empty,
    "grad_ys": None,
    "name": "gradients",
}
REST = {"aggregation_method": None, "stop_gradients": None}


@pytest.mark.parametrize(
    ("function", "middle"),
    [
        (tf.gradients, {"gate_gradients": False}),
        (
            v1.gradients,
            {"colocate_gradients_with_ops": False, "gate_gradients": False},
        ),
    ],
    ids=["gpugrad", "compat.v1"],
)
def test_signatures(function: object, middle: dict[str, bool]) -> None:
    parameters = inspect.signature(function).parameters
    assert [(p.name, p.default) for p in parameters.values()] == [
        *SHARED.items(),
        *middle.items(),
        *REST.items(),
        ("unconnected_gradients", tf.UnconnectedGradients.NONE),
    ]


def test_gradients_are_of_the_sum_and_symbolic(graph: v1.Graph) -> None:
    x = v1.constant([1.0, 2.0, 3.0])
    w = v1.constant(2.0)
    found = v1.gradients([x * w, x * x], [x, w])
    assert [type(g) for g in found] == [v1.Tensor, v1.Tensor]
    assert lists(found) == [[4.0, 6.0, 8.0], 6.0]


def test_not_on_values() -> None:
    tf.enable_eager_execution()
    try:
        for call in (
            lambda: tf.gradients(1.0, 1.0),
            lambda: v1.gradients(1.0, 1.0),
            lambda: tf.hessians(1.0, 1.0),
        ):
            refused(
                call,
                RuntimeError,
                "tf.gradients is not supported when eager execution is enabled",
            )
    finally:
        tf.disable_eager_execution()


def test_where_a_gradient_stops(graph: v1.Graph) -> None:
    x = v1.constant(3.0)
    z = v1.stop_gradient(x * x) * x
    w = v1.identity(z)
    other = v1.constant(1.0)
    assert run(v1.gradients(w, x)) == [9.0]
    assert v1.gradients(w, x, stop_gradients=[z]) == [None]
    assert run(v1.gradients(w, x, stop_gradients=[other])) == [9.0]


def test_integers_are_constant(graph: v1.Graph) -> None:
    x = v1.constant([1.5, 2.5])
    assert v1.gradients(v1.cast(v1.cast(x, v1.int32), v1.float32), x) == [None]


def test_the_three_reasons_for_none(graph: v1.Graph) -> None:
    x = v1.constant([1.0, 2.0])
    for y in (v1.constant(1.0), v1.floor(x), v1.stop_gradient(x)):
        assert v1.gradients(y, x) == [None]


def test_weights_of_ys(graph: v1.Graph) -> None:
    x = v1.constant([3.0, 1.0])
    ys = [v1.reduce_sum(x), v1.reduce_sum(x * x)]
    assert lists(v1.gradients(ys, x, grad_ys=[2.0, 10.0])) == [[62.0, 22.0]]
    assert lists(v1.gradients(ys, x, grad_ys=[None, None])) == [[7.0, 3.0]]


def test_a_function_builds_what_a_graph_builds(graph: v1.Graph) -> None:
    names = []

    def body(x):
        y = tf.tanh(x) * x
        gradient = tf.gradients(y, x, gate_gradients=True)[0]
        names.append([op.name for op in gradient.graph.get_operations()])
        return gradient

    body(v1.placeholder(v1.float32, [2], name="x"))
    tf.function(body)(np.ones(2, np.float32))
    assert names[0] == names[1]
