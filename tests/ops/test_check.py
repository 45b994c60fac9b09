"""Assertions: they fail a run, or the building if the values are known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gpugrad as tf
import gpugrad.compat.v1 as v1


@pytest.fixture(autouse=True)
def graph() -> Iterator[v1.Graph]:
    with v1.Graph().as_default() as graph:
        yield graph


CHECKS = {
    "equal": (lambda x: v1.assert_equal(x, [1.0, 2.0]), [1.0, 2.0], [1.0, 3.0]),
    "none_equal": (lambda x: v1.assert_none_equal(x, 1.0), [2.0, 3.0], [2.0, 1.0]),
    "less": (lambda x: v1.assert_less(x, 2.0), [0.0, 1.0], [1.0, 2.0]),
    "less_equal": (lambda x: v1.assert_less_equal(x, 2.0), [1.0, 2.0], [1.0, 3.0]),
    "greater": (lambda x: v1.assert_greater(x, 1.0), [2.0, 3.0], [2.0, 1.0]),
    "greater_equal": (
        lambda x: v1.assert_greater_equal(x, 1.0),
        [1.0, 2.0],
        [0.0, 9.0],
    ),
    "positive": (v1.assert_positive, [1.0, 2.0], [1.0, 0.0]),
    "negative": (v1.assert_negative, [-1.0, -2.0], [-1.0, 0.0]),
    "non_negative": (v1.assert_non_negative, [0.0, 2.0], [0.0, -1.0]),
    "non_positive": (v1.assert_non_positive, [0.0, -2.0], [0.0, 1.0]),
    "in general": (lambda x: v1.Assert(x[0] < 1.0, [x]), [0.0, 9.0], [1.0, 9.0]),
}


@pytest.mark.parametrize("shape", [[2], [None], None])
@pytest.mark.parametrize(("check", "good", "bad"), CHECKS.values(), ids=CHECKS)
def test_in_a_run(check, good: list[float], bad: list[float], shape) -> None:
    x = v1.placeholder(tf.float32, shape, name="x")
    with tf.control_dependencies([check(x)]):
        y = tf.identity(x)
    with v1.Session() as session:
        assert session.run(y, {x: good}).tolist() == good
        with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed"):
            session.run(y, {x: bad})


@pytest.mark.parametrize(("check", "good", "bad"), CHECKS.values(), ids=CHECKS)
def test_of_what_is_known(check, good: list[float], bad: list[float]) -> None:
    check(tf.constant(good))
    if check is not CHECKS["in general"][0]:  # what is compared there is not folded
        with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed"):
            with v1.Session() as session:
                session.run(check(tf.constant(bad)))


def test_the_message() -> None:
    x = v1.placeholder(tf.float32, [None], name="x")
    checked = tf.debugging.assert_positive(x, message="rates:", summarize=2)
    with v1.Session() as session:
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            session.run(checked, {x: [1.0, -2.0, 3.0]})
    text = str(caught.value)
    assert "rates: Condition x > y did not hold element-wise: x (x:0) = " in text
    assert "[1.0 -2.0...]" in text and "test_check.py" in text


def test_a_failing_check_leaves_variables_alone() -> None:
    x = v1.placeholder(tf.float32, [])
    v = v1.get_variable("v", initializer=1.0)
    step = tf.group(v1.assign_add(v, 1.0), v1.assert_positive(x))
    with v1.Session() as session:
        session.run(v.initializer)
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(step, {x: -1.0})
        assert session.run(v) == 1.0
