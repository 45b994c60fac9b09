"""Learning rate schedules, the global step, moving averages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda t, s: t.exponential_decay(0.1, s, 10, 0.5), 0.0707107),
        (lambda t, s: t.exponential_decay(0.1, s, 10, 0.5, staircase=True), 0.1),
        (lambda t, s: t.polynomial_decay(0.1, s, 10, 0.01), 0.055),
        (lambda t, s: t.polynomial_decay(0.1, s, 2, 0.01), 0.01),
        (lambda t, s: t.polynomial_decay(0.1, s, 4, 0.0, cycle=True), 0.0375),
        (lambda t, s: t.inverse_time_decay(0.1, s, 10, 0.5), 0.08),
        (lambda t, s: t.natural_exp_decay(0.1, s, 10, 0.5), 0.0778801),
        (lambda t, s: t.cosine_decay(0.1, s, 10), 0.05),
        (lambda t, s: t.piecewise_constant(s, [5, 9], [1.0, 0.5, 0.1]), 1.0),
        (lambda t, s: t.piecewise_constant(s, [4, 9], [1.0, 0.5, 0.1]), 0.5),
        (lambda t, s: t.piecewise_constant(s, [1, 4], [1.0, 0.5, 0.1]), 0.1),
    ],
)
def test_schedules_at_step_five(make: Callable[..., Any], value: float) -> None:
    step = tf.constant(5, tf.int64)
    with tf.Session() as session:
        assert session.run(make(tf.train, step)) == pytest.approx(value, rel=1e-5)


def test_schedules_refuse() -> None:
    with pytest.raises(ValueError, match="global_step is required"):
        tf.train.exponential_decay(0.1, None, 10, 0.5)
    with pytest.raises(ValueError, match="1 less"):
        tf.train.piecewise_constant(tf.constant(1), [1], [1.0])


def test_global_step() -> None:
    assert tf.train.get_global_step() is None
    step = tf.train.get_or_create_global_step()
    assert (step.name, step.dtype) == ("global_step:0", tf.int64)
    assert tf.train.get_or_create_global_step() is step
    assert not step.trainable
    with pytest.raises(ValueError, match="already exists"):
        tf.train.create_global_step()
    with tf.Session() as session:
        session.run(step.initializer)
        assert tf.train.global_step(session, step) == 0
    for wrong in (tf.Variable(1.0), tf.Variable([1, 2])):
        with pytest.raises(TypeError):
            tf.train.assert_global_step(wrong)


def test_moving_averages() -> None:
    v = tf.Variable(np.float64(1.0), name="v")
    average = tf.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([v.assign_add(1.0).op]):
        update = average.apply([v])
    shadow = average.average(v)
    assert shadow.name == "v/ExponentialMovingAverage:0"
    assert average.average_name(v) == "v/ExponentialMovingAverage"
    assert average.variables_to_restore() == {"v/ExponentialMovingAverage": v}
    expected, value = 1.0, 1.0
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(update)
            value += 1.0
            expected = 0.9 * expected + 0.1 * value
            assert session.run(shadow) == pytest.approx(expected, rel=1e-5)


def test_moving_averages_are_quicker_at_first() -> None:
    v = tf.Variable(0.0)
    average = tf.train.ExponentialMovingAverage(0.9, num_updates=0)
    with tf.control_dependencies([v.assign(1.0).op]):
        update = average.apply()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(update)
        assert session.run(average.average(v)) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("kwargs", "wanted"),
    [
        ({}, [[0.1, 0.2], [0.29, 0.38], [0.561, 0.542]]),
        ({"zero_debias": True}, [[1.0, 2.0], [1.526316, 2.0], [2.07011, 2.0]]),
        (
            {"num_updates": 3},
            [[0.692308, 1.384615], [1.597633, 1.810651], [2.568502, 1.941739]],
        ),
    ],
)
def test_moving_averages_of_tensors(kwargs: Any, wanted: Any) -> None:
    """Numbers and names of TensorFlow 2.21."""
    x = tf.placeholder(tf.float32, [2])
    y = tf.multiply(x, 1.0, name="sc/y")
    average = tf.train.ExponentialMovingAverage(0.9, name="E", **kwargs)
    update = average.apply([y])
    shadow = average.average(y)
    assert shadow.name == "sc/y/E:0" and average.average_name(y) == "sc/y/E"
    corrected = (
        ["sc/y/E/biased", "sc/y/E/local_step"] if "zero_debias" in kwargs else []
    )
    assert sorted(average.variables_to_restore()) == ["sc/y/E", *corrected]
    assert tf.moving_average_variables() == []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number, row in enumerate(wanted):
            session.run(update, {x: [number + 1.0, 2.0]})
            np.testing.assert_allclose(session.run(shadow), row, rtol=1e-5)


def test_moving_averages_refuse() -> None:
    average = tf.train.ExponentialMovingAverage(0.9)
    with pytest.raises(TypeError, match="no moving average"):
        average.apply([tf.Variable(1)])


# As TensorFlow 2.21 gives them (float32), at the steps of test_cosines.
RESTARTS = [
    0.5, 0.40725169, 0.06101226, 0.41000000, 0.35727924, 0.05221609, 0.33800003,
    0.33402130, 0.28040001, 0.20928513,
]  # fmt: skip
EVEN_RESTARTS = [
    0.5, 0.39694631, 0.01223585, 0.5, 0.25, 0.01223584, 0.5, 0.39694634, 0.5, 0.5,
]  # fmt: skip
LINEAR_COSINE = [
    0.55050004, 0.44961405, 0.18842059, 0.15049998, 0.02612816, 0.0005, 0.0005,
    0.0005, 0.0005, 0.0005,
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "name", "wanted"),
    [
        (
            lambda s: tf.train.cosine_decay_restarts(0.5, s, 10, 2.0, 0.8, 0.1),
            "SGDRDecay",
            RESTARTS,
        ),
        (
            lambda s: tf.train.cosine_decay_restarts(0.5, s, 10, 1.0),
            "SGDRDecay",
            EVEN_RESTARTS,
        ),
        (
            lambda s: tf.train.linear_cosine_decay(0.5, s, 20, 0.5, 0.1),
            "LinearCosineDecay",
            LINEAR_COSINE,
        ),
        (
            lambda s: tf.train.noisy_linear_cosine_decay(
                0.5, s, 20, 0.0, 0.55, 0.5, 0.1
            ),
            "NoisyLinearCosineDecay",
            LINEAR_COSINE,
        ),
    ],
)
def test_cosines(make: Any, name: str, wanted: list[float]) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, [])
        rate = make(step)
        assert rate.name == f"{name}:0"
        steps = (0, 3, 9, 10, 15, 29, 30, 33, 70, 100)
        found = [session.run(rate, {step: n}) for n in steps]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_noise_falls_with_the_step() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, [])
        rate = tf.train.noisy_linear_cosine_decay(1.0, step, 1e6, 1.0, 1.0)
        spread = [
            np.std([session.run(rate, {step: n}) for _ in range(200)]) for n in (0, 99)
        ]
    assert 0.7 < spread[0] < 1.3 and 0.07 < spread[1] < 0.13


def test_the_last_op_has_the_name_of_the_schedule() -> None:
    """As in TensorFlow, but for cosine_decay and piecewise_constant."""
    with tf.Graph().as_default():
        step = tf.placeholder(tf.int64, [])
        for function, args in (
            (tf.train.exponential_decay, (10, 0.5)),
            (tf.train.natural_exp_decay, (10, 0.5)),
            (tf.train.inverse_time_decay, (10, 0.5)),
            (tf.train.polynomial_decay, (10,)),
        ):
            name = function.__name__
            assert function(0.1, step, *args, name=name).name == f"{name}:0"
