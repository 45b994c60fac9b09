"""Optimizers: names, gating, the updates they make, errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from tests.train import optimizer_cases


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


def names_with(graph: tf.Graph, prefix: str) -> list[tuple[str, str]]:
    return [
        (op.name, op.type)
        for op in graph.get_operations()
        if op.name.startswith(prefix)
    ]


# --- names and gates ------------------------------------------------------------------


def test_ops_of_a_step(graph: tf.Graph) -> None:
    v = tf.get_variable("v", initializer=[1.0, 2.0])
    step = tf.train.get_or_create_global_step()
    train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(
        tf.reduce_sum(v * v), global_step=step
    )
    assert (train.name, train.type) == ("Momentum", "AssignAddVariableOp")
    assert names_with(graph, "Momentum") == [
        ("Momentum/learning_rate", "Const"),
        ("Momentum/momentum", "Const"),
        ("Momentum/update_v/ResourceApplyMomentum", "ResourceApplyMomentum"),
        ("Momentum/update", "NoOp"),
        ("Momentum/Const", "Const"),
        ("Momentum", "AssignAddVariableOp"),
    ]
    assert names_with(graph, "v/Momentum")[:2] == [
        ("v/Momentum/Initializer/zeros", "Const"),
        ("v/Momentum", "VarHandleOp"),
    ]


def test_slots() -> None:
    v = tf.get_variable("v", initializer=1.0)
    opt = tf.train.AdamOptimizer()
    train = opt.minimize(v * v)
    assert (train.name, train.type) == ("Adam", "NoOp")
    assert [s.name for s in opt.variables()] == [
        "beta1_power:0", "beta2_power:0", "v/Adam:0", "v/Adam_1:0",
    ]  # fmt: skip
    assert opt.get_slot_names() == ["m", "v"]
    assert opt.get_slot(v, "m").name == "v/Adam:0" and opt.get_slot(v, "x") is None
    assert tf.trainable_variables() == [v]


@pytest.mark.parametrize(
    ("gate", "name"),
    [
        (0, "gradients/mul_grad/Mul:0"),
        (1, "gradients/mul_grad/tuple/control_dependency:0"),
        (2, "tuple/control_dependency:0"),
    ],
)
def test_gates(gate: int, name: str) -> None:
    v = tf.get_variable("v", initializer=1.0)
    w = tf.get_variable("w", initializer=2.0)
    opt = tf.train.GradientDescentOptimizer(0.1)
    pairs = opt.compute_gradients(v * w, gate_gradients=gate)
    assert pairs[0][0].name == name
    assert [variable for _, variable in pairs] == [v, w]


# --- updates --------------------------------------------------------------------------


class Rule:
    """NumPy's word for an optimizer: state of one array, one step at a time."""

    def __init__(self, step: Callable[..., Any], *slots: float) -> None:
        self.step, self.slots = step, slots


def _sgd(v: Any, g: Any, t: int) -> Any:
    return (v - 0.5 * g,)


def _momentum(v: Any, g: Any, t: int, a: Any) -> Any:
    a = 0.9 * a + g
    return v - 0.2 * a, a


def _nesterov(v: Any, g: Any, t: int, a: Any) -> Any:
    a = 0.9 * a + g
    return v - 0.2 * (g + 0.9 * a), a


def _adam(v: Any, g: Any, t: int, m: Any, s: Any) -> Any:
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
    rate = 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return v - rate * m / (np.sqrt(s) + 1e-8), m, s


def _adagrad(v: Any, g: Any, t: int, a: Any) -> Any:
    a = a + g * g
    return v - 0.5 * g / np.sqrt(a), a


def _adadelta(v: Any, g: Any, t: int, a: Any, d: Any) -> Any:
    a = 0.9 * a + 0.1 * g * g
    u = np.sqrt(d + 1e-2) / np.sqrt(a + 1e-2) * g
    return v - u, a, 0.9 * d + 0.1 * u * u


def _rms(v: Any, g: Any, t: int, s: Any, m: Any) -> Any:
    s = 0.9 * s + 0.1 * g * g
    m = 0.5 * m + 0.1 * g / np.sqrt(s + 1e-10)
    return v - m, s, m


def _centered(v: Any, g: Any, t: int, s: Any, c: Any, m: Any) -> Any:
    s, c = 0.9 * s + 0.1 * g * g, 0.9 * c + 0.1 * g
    m = 0.05 * g / np.sqrt(s - c * c + 1e-10)
    return v - m, s, c, m


def _ftrl(v: Any, g: Any, t: int, n: Any, z: Any) -> Any:
    new = n + g * g
    z = z + g - (np.sqrt(new) - np.sqrt(n)) / 0.5 * v
    shrunk = (np.sign(z) * 0.01 - z) / (np.sqrt(new) / 0.5 + 2 * 0.02)
    return np.where(np.abs(z) <= 0.01, 0.0, shrunk), new, z


def _soft(v: Any, rate: Any) -> Any:
    return np.sign(v) * np.maximum(np.abs(v) - rate * 0.1, 0) / (1 + rate * 0.2)


def _proximal(v: Any, g: Any, t: int) -> Any:
    return (_soft(v - 0.5 * g, 0.5),)


def _proximal_adagrad(v: Any, g: Any, t: int, a: Any) -> Any:
    a = a + g * g
    rate = 0.5 / np.sqrt(a)
    return _soft(v - rate * g, rate), a


L1L2 = {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.02}
PROXIMAL = {"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.2}
RULES: dict[str, tuple[Callable[[Any], Any], Rule]] = {
    "sgd": (lambda t: t.GradientDescentOptimizer(0.5), Rule(_sgd)),
    "momentum": (lambda t: t.MomentumOptimizer(0.2, 0.9), Rule(_momentum, 0.0)),
    "nesterov": (
        lambda t: t.MomentumOptimizer(0.2, 0.9, use_nesterov=True),
        Rule(_nesterov, 0.0),
    ),
    "adam": (lambda t: t.AdamOptimizer(0.1), Rule(_adam, 0.0, 0.0)),
    "adagrad": (lambda t: t.AdagradOptimizer(0.5), Rule(_adagrad, 0.1)),
    "adadelta": (
        lambda t: t.AdadeltaOptimizer(1.0, rho=0.9, epsilon=1e-2),
        Rule(_adadelta, 0.0, 0.0),
    ),
    "rmsprop": (
        lambda t: t.RMSPropOptimizer(0.1, momentum=0.5),
        Rule(_rms, 1.0, 0.0),
    ),
    "centered": (
        lambda t: t.RMSPropOptimizer(0.05, centered=True),
        Rule(_centered, 1.0, 0.0, 0.0),
    ),
    "ftrl": (lambda t: t.FtrlOptimizer(0.5, **L1L2), Rule(_ftrl, 0.1, 0.0)),
    "proximal": (
        lambda t: t.ProximalGradientDescentOptimizer(0.5, **PROXIMAL),
        Rule(_proximal),
    ),
    "proximal_adagrad": (
        lambda t: t.ProximalAdagradOptimizer(0.5, **PROXIMAL),
        Rule(_proximal_adagrad, 0.1),
    ),
}
START = np.array([[0.3, -0.7], [1.1, 0.2], [-0.4, 0.9]])


@pytest.mark.parametrize("name", RULES)
def test_dense_updates(name: str) -> None:
    make, rule = RULES[name]
    v = tf.Variable(START)
    target = np.array([[1.0, -1.0], [0.5, 0.0], [0.0, 2.0]])
    train = make(tf.train).minimize(tf.reduce_sum(tf.square(v - target)))
    state = [START, *[np.full_like(START, s) for s in rule.slots]]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for t in range(1, 5):
            session.run(train)
            state = list(rule.step(state[0], 2 * (state[0] - target), t, *state[1:]))
            np.testing.assert_allclose(session.run(v), state[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_rows(name: str) -> None:
    """Rows named twice count with their sum; other rows and their slots stay, but for
    Adam, whose means decay everywhere."""
    make, rule = RULES[name]
    v = tf.Variable(START)
    rows = tf.placeholder(tf.int32, [None])
    train = make(tf.train).minimize(tf.reduce_sum(tf.square(tf.gather(v, rows) - 1.0)))
    state = [START, *[np.full_like(START, s) for s in rule.slots]]
    everywhere = name == "adam"
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for t, batch in enumerate(([0, 2, 2], [2, 1], [0, 0]), 1):
            session.run(train, {rows: batch})
            grad = np.zeros_like(START)
            np.add.at(grad, batch, 2 * (state[0][batch] - 1.0))
            new = rule.step(state[0], grad, t, *state[1:])
            touched = np.zeros((3, 1), bool)
            touched[batch] = True
            touched |= everywhere
            state = [np.where(touched, n, o) for n, o in zip(new, state)]
            np.testing.assert_allclose(session.run(v), state[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "rows"])
@pytest.mark.parametrize("name", optimizer_cases.CASES)
def test_as_tensorflow(name: str, kind: str) -> None:
    """Names of slots and variables, and four steps in float32, of TensorFlow 2.21."""
    wanted = json.loads(optimizer_cases.RECORDED.read_text())[f"{name}-{kind}"]
    found = optimizer_cases.steps(tf, name, kind == "rows")
    for key in ("variables", "slots", "all"):
        assert found[key] == wanted[key]
    for step, (ours, theirs) in enumerate(zip(found["values"], wanted["values"])):
        for variable, (a, b) in enumerate(zip(ours, theirs)):
            np.testing.assert_allclose(
                a, b, rtol=2e-5, atol=2e-6, err_msg=f"step {step} variable {variable}"
            )


def test_float32_and_a_learning_rate_that_is_fed() -> None:
    v = tf.Variable([1.0, 2.0])
    rate = tf.placeholder(tf.float32, [])
    train = tf.train.GradientDescentOptimizer(rate).minimize(tf.reduce_sum(v * v))
    with tf.Session() as session:
        session.run(v.initializer)
        session.run(train, {rate: 0.25})
        np.testing.assert_allclose(session.run(v), [0.5, 1.0])


def test_constraints_hold_after_each_step() -> None:
    v = tf.Variable([1.0, 0.1], constraint=lambda t: tf.maximum(t, 0.05))
    train = tf.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(v))
    with tf.Session() as session:
        session.run(v.initializer)
        session.run(train)
        np.testing.assert_allclose(session.run(v), [0.05, 0.05])


def test_one_optimizer_in_two_graphs() -> None:
    opt = tf.train.AdamOptimizer(0.1)
    for _ in range(2):
        with tf.Graph().as_default():
            v = tf.Variable(1.0)
            train = opt.minimize(v * v)
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(train)
                assert session.run(v) == pytest.approx(0.9, abs=1e-6)


# --- errors ---------------------------------------------------------------------------


def test_none_is_left_out_and_all_none_is_an_error() -> None:
    v = tf.get_variable("v", initializer=1.0)
    u = tf.get_variable("u", initializer=1.0)
    opt = tf.train.GradientDescentOptimizer(0.1)
    assert [g is None for g, _ in opt.compute_gradients(v * v)] == [False, True]
    opt.minimize(v * v)
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        opt.minimize(v * v, var_list=[u])


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (
            lambda o, v: o.minimize(v * v, var_list=[]),
            ValueError,
            "No variables to opti",
        ),
        (lambda o, v: o.apply_gradients([]), ValueError, "No variables provided"),
        (
            lambda o, v: o.apply_gradients([(None, v)]),
            ValueError,
            "No gradients provid",
        ),
        (
            lambda o, v: o.apply_gradients([(v * 1.0, v * 1.0)]),
            NotImplementedError,
            "Trying to update a Tensor",
        ),
        (lambda o, v: o.apply_gradients([(1.0, v)]), TypeError, "Gradient must be"),
        (lambda o, v: o.apply_gradients([(v * 1.0, 3)]), TypeError, "tf.Variable"),
        (
            lambda o, v: o.compute_gradients(tf.cast(v, tf.int32)),
            ValueError,
            r"Invalid type tf.int32 for Cast:0, expected: \[tf.float32",
        ),
        (
            lambda o, v: o.compute_gradients(v * v, gate_gradients=5),
            ValueError,
            "gate_gradients must be one of",
        ),
        (
            lambda o, v: o.apply_gradients([(tf.ones([3]), v)]),
            ValueError,
            "not compatible",
        ),
        (lambda o, v: tf.train.FtrlOptimizer(0.1, 0.5), ValueError, "negative or zero"),
        (lambda o, v: tf.train.AdagradOptimizer(0.1, 0.0), ValueError, "positive"),
        (lambda o, v: tf.train.Optimizer(False, ""), ValueError, "name"),
    ],
)
def test_misuse(make: Callable[..., Any], kind: type[Exception], text: str) -> None:
    v = tf.get_variable("v", initializer=[1.0, 2.0])
    with pytest.raises(kind, match=text):
        make(tf.train.GradientDescentOptimizer(0.1), v)
