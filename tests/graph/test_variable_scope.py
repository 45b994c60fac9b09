"""get_variable, variable_scope, and the initial values they give."""

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


def test_scopes_and_names() -> None:
    with tf.name_scope("ns"), tf.variable_scope("vs") as scope:
        u = tf.get_variable("u", initializer=1.0)
        assert (scope.name, scope.original_name_scope) == ("vs", "ns/vs/")
    assert u.name == "vs/u:0"
    with tf.variable_scope(scope):
        assert tf.constant(1.0).name == "vs/Const:0"
    with tf.variable_scope("vs"):
        assert tf.constant(1.0).name == "vs_1/Const:0"
    with tf.variable_scope("a/b"):
        assert tf.get_variable("v", initializer=1.0).name == "a/b/v:0"
    with tf.variable_scope("vs", auxiliary_name_scope=False):
        assert tf.constant(1.0).name == "Const:0"
    for expected in ("default/v:0", "default_1/v:0"):
        with tf.variable_scope(None, "default"):
            assert tf.get_variable("v", initializer=1.0).name == expected


def test_reuse() -> None:
    with tf.variable_scope("s"):
        v = tf.get_variable("v", [2, 3])
    with tf.variable_scope("s", reuse=True):
        assert tf.get_variable("v", [2, 3]) is v
        with tf.variable_scope("t", reuse=False) as inner:
            assert inner.reuse is True
    with tf.variable_scope("s", reuse=tf.AUTO_REUSE) as scope:
        assert tf.get_variable("v") is v
        assert tf.get_variable("w", [2]).name == "s/w:0"
        scope.reuse_variables()
        assert tf.get_variable_scope().reuse is True
    assert tf.get_variable_scope().reuse is False


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: tf.get_variable("v", initializer=1.0), "Variable v already exists"),
        (lambda: tf.get_variable("z"), "did not get an initializer"),
        (lambda: tf.get_variable("z", [None]), "must be specified"),
        (
            lambda: tf.get_variable("z", [2], initializer=tf.constant([1.0, 2.0])),
            "If initializer is a constant",
        ),
        (lambda: tf.get_variable("z", initializer=tf.zeros_initializer), "not valid"),
        (
            lambda: tf.get_variable("z", initializer=np.ones(2), dtype=tf.float32),
            "explicit dtype",
        ),
        (lambda: _reusing("zz", [2]), "Variable zz does not exist"),
        (lambda: _reusing("v", [2]), "specified shape"),
        (lambda: _reusing("v", dtype=tf.float64), "specified dtype float64"),
        (lambda: tf.variable_scope("q", reuse=3), "reuse parameter"),
    ],
)
def test_errors(make: Callable[[], Any], text: str) -> None:
    tf.get_variable("v", initializer=1.0)
    with pytest.raises(ValueError, match=text):
        make()


def _reusing(*args: Any, **kwargs: Any) -> Any:
    with tf.variable_scope("", reuse=True):
        return tf.get_variable(*args, **kwargs)


@pytest.mark.parametrize("name", [3, None])
def test_a_scope_needs_a_name(name: Any) -> None:
    with pytest.raises(TypeError):
        tf.variable_scope(name)


def test_defaults_of_a_scope() -> None:
    losses = lambda w: 0.5 * tf.reduce_sum(w * w)  # noqa: E731
    three = tf.constant_initializer(3.0)
    with tf.variable_scope(
        "s", initializer=three, dtype=tf.float64, regularizer=losses
    ):
        v = tf.get_variable("v", [2])
    assert v.dtype is tf.float64
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(v), [3, 3])
        kept = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        assert session.run(kept) == [9.0]


def test_custom_getters() -> None:
    def doubled(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        return getter(name + "2", *args, **kwargs)

    with tf.variable_scope("s", custom_getter=doubled):
        assert tf.get_variable("v", [2]).name == "s/v2:0"


def test_collections() -> None:
    tf.get_variable("v", [2])
    tf.get_variable("w", [2], trainable=False)
    tf.get_local_variable("l", [2])
    assert [v.name for v in tf.trainable_variables()] == ["v:0"]
    assert [v.name for v in tf.global_variables()] == ["v:0", "w:0"]
    assert [v.name for v in tf.local_variables()] == ["l:0"]


@pytest.mark.parametrize(
    ("initializer", "check"),
    [
        (tf.zeros_initializer(), lambda v: (v == 0).all()),
        (tf.ones_initializer(), lambda v: (v == 1).all()),
        (tf.initializers.identity(gain=2.0), lambda v: (v == 2 * np.eye(40, 50)).all()),
        (tf.constant_initializer([1.0, 2.0]), lambda v: v.sum() == 2 * 2000 - 1),
        (tf.random_uniform_initializer(-2, 2), lambda v: -2 <= v.min() < v.max() < 2),
        (tf.random_normal_initializer(1.0, 0.1), lambda v: abs(v.mean() - 1) < 0.02),
        (
            tf.truncated_normal_initializer(stddev=0.5),
            lambda v: abs(v).max() <= 1 and 0.3 < v.std() < 0.5,
        ),
        (
            tf.glorot_uniform_initializer(),
            lambda v: abs(v).max() <= (6 / 90) ** 0.5 and v.std() > 0.13,
        ),
        (
            tf.variance_scaling_initializer(2.0, "fan_out"),
            lambda v: abs(v.std() - 0.2) < 0.02,
        ),
        (None, lambda v: 0 < abs(v).max() <= (6 / 90) ** 0.5),
    ],
)
def test_initializers(initializer: Any, check: Callable[[Any], bool]) -> None:
    v = tf.get_variable("v", [40, 50], initializer=initializer)
    with tf.Session() as session:
        session.run(v.initializer)
        value = session.run(v)
    assert value.shape == (40, 50) and value.dtype == np.float32
    assert check(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tf.variance_scaling_initializer(-1.0),
        lambda: tf.variance_scaling_initializer(mode="fan"),
        lambda: tf.variance_scaling_initializer(distribution="flat"),
        lambda: tf.constant_initializer([1.0, 2.0, 3.0])([2]),
        lambda: tf.initializers.identity()([2]),
    ],
)
def test_initializers_refuse(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="."):
        make()
