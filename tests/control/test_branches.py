"""cond, case, switch_case."""

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


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


def switch(value: bool = True) -> Any:
    return tf.placeholder_with_default(value, [])


def test_names_and_types() -> None:
    x = tf.constant(2.0)
    y = tf.cond(switch(), lambda: x * x, lambda: 3.0 * x)
    assert y.name == "cond/Identity:0" and y.op.inputs[0].op.type == "StatelessIf"
    v = tf.Variable(1.0)
    z = tf.cond(switch(), lambda: v.assign(2.0), lambda: v.value(), name="hey")
    assert z.name == "hey/Identity:0" and z.op.inputs[0].op.type == "If"
    s = tf.switch_case(tf.constant(1), [lambda: x, lambda: x * 2.0])
    assert s.name == "switch_case/indexed_case/Identity:0"


def test_a_tensor_of_the_other_branch_gets_zero_one_of_neither_none() -> None:
    x, z, q = tf.constant(2.0), tf.constant(5.0), tf.constant(7.0)
    y = tf.cond(switch(False), lambda: x * x, lambda: z * 3.0)
    g = tf.gradients(y, [x, z, q])
    assert g[2] is None and run(g[:2]) == [0.0, 3.0]


def test_what_is_built_outside_always_runs() -> None:
    v = tf.get_variable("v", initializer=1.0)
    bump = tf.assign_add(v, 1.0)
    y = tf.cond(switch(), lambda: tf.constant(0.0), lambda: tf.identity(bump))
    with tf.Session() as session:
        session.run(v.initializer)
        session.run(y)
        assert session.run(v) == 2.0


def test_gathers_keep_the_rows_of_the_branch_taken() -> None:
    v = tf.Variable(np.ones((4, 2), "f"))
    p = switch()
    y = tf.cond(p, lambda: tf.gather(v, [0, 1]), lambda: tf.gather(v, [3]) * 2.0)
    (g,) = tf.gradients(y, v)
    assert isinstance(g, tf.IndexedSlices)
    assert run(g).indices.tolist() == [0, 1]
    assert run(g, {p: False}).indices.tolist() == [3]
    one_sided = tf.cond(p, lambda: tf.gather(v, [2]), lambda: tf.zeros([1, 2]))
    (g,) = tf.gradients(one_sided, v)
    assert run(g).indices.tolist() == [2] and run(g, {p: False}).indices.tolist() == []


def test_a_branch_is_differentiated_with_the_values_it_had() -> None:
    """A random value inside is drawn once for the value and the gradient."""
    x = tf.ones([5])
    y = tf.cond(switch(), lambda: x * tf.random_uniform([5]), lambda: x)
    value, slope = run([y, tf.gradients(y, x)[0]])
    np.testing.assert_array_equal(value, slope)
    assert len(set(value.tolist())) > 1


def test_structures() -> None:
    x = tf.constant(2.0)
    p = switch()
    assert isinstance(tf.cond(p, lambda: [x], lambda: [x * 2.0]), list)
    assert tf.cond(p, lambda: None, lambda: None) is None
    assert tf.cond(p, lambda: (), lambda: ()) == ()
    found = tf.cond(p, lambda: {"a": (x, None)}, lambda: {"a": (x * 3.0, None)})
    assert found["a"][1] is None and run(found["a"][0]) == 2.0
    assert run(tf.cond(p, tf.no_op, tf.no_op))
    partly = tf.cond(p, lambda: tf.ones([2, 3]), lambda: tf.ones([2, 4]))
    assert partly.shape.as_list() == [2, None]


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda x: tf.cond(True, lambda: x, lambda: x), TypeError, "Python bool"),
        (lambda x: tf.cond(switch(), lambda: x), TypeError, "'false_fn' argument"),
        (
            lambda x: tf.cond(switch(), 3, lambda: x),
            TypeError,
            "'true_fn' must be call",
        ),
        (
            lambda x: tf.cond(switch(), lambda: x, lambda: 1),
            TypeError,
            "overall struct",
        ),
        (
            lambda x: tf.cond(switch(), lambda: (x, x), lambda: x),
            TypeError,
            "structure",
        ),
        (lambda x: tf.cond(None, lambda: x, lambda: x), ValueError, "None"),
        (lambda x: tf.case(3), TypeError, "must be a list"),
        (lambda x: tf.case([]), ValueError, "at least one"),
        (lambda x: tf.case([(True, lambda: x)]), TypeError, "pred must be a Tensor"),
        (lambda x: tf.case([(x > 1.0, 3)]), TypeError, "must be callable"),
        (lambda x: tf.switch_case(1, [lambda: x]), TypeError, "must be a Tensor"),
        (lambda x: tf.switch_case(x, [lambda: x]), TypeError, "integer Tensor"),
        (lambda x: tf.switch_case(tf.constant(1), []), ValueError, "at least one item"),
        (
            lambda x: tf.switch_case(tf.constant(1), {0: lambda: x, 5: lambda: x}),
            ValueError,
            "contiguous range",
        ),
    ],
)
def test_misuse(make: Callable[[Any], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make(tf.constant(2.0))


@pytest.mark.parametrize("pred", [2.0, [True, False]])
def test_predicates_are_checked_when_they_are_known(pred: Any) -> None:
    x = tf.constant(1.0)
    with pytest.raises(gg.errors.InvalidArgumentError, match="predicate"):
        run(tf.cond(tf.constant(pred), lambda: x, lambda: x))


@pytest.mark.parametrize(("index", "value"), [(0, 2.0), (1, 4.0), (7, 8.0), (-1, 8.0)])
def test_switch_case(index: int, value: float) -> None:
    x = tf.constant(2.0)
    functions = [lambda: x, lambda: x * x, lambda: x * x * x]
    assert run(tf.switch_case(tf.constant(index), functions)) == value
    rest = functions.pop()
    numbered = dict(enumerate(functions))
    assert run(tf.switch_case(tf.constant(index), numbered, default=rest)) == value


def test_case() -> None:
    x = tf.placeholder(tf.float32, [])
    pairs = [(x > 3.0, lambda: x * 3.0), (x > 2.0, lambda: x * 2.0)]
    y = tf.case(pairs, default=lambda: -x)
    assert y.name == "case/cond/Identity:0"
    (g,) = tf.gradients(y, x)
    for value, slope in ((4.0, 3.0), (2.5, 2.0), (1.0, -1.0)):
        assert run([y, g], {x: value}) == [value * slope, slope]


def test_case_checks_its_predicates() -> None:
    x = tf.constant(2.0)
    none = tf.case([(x > 5.0, lambda: x), (x > 6.0, lambda: x * 2.0)])
    both = tf.case([(x > 0.0, lambda: x), (x > 1.0, lambda: x)], exclusive=True)
    for y, text in ((none, "None of the conditions"), (both, "2 conditions")):
        with pytest.raises(gg.errors.InvalidArgumentError, match=text):
            run(y)
