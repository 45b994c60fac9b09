"""why_none: the reason for a None, with the node and the line that it was made at."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def real():
    return tf.constant([1.0, 2.0], name="x")


def beside(x):
    return tf.constant(3.0, name="z") * 2.0


def controlled(x):
    with tf.control_dependencies([x]):
        return tf.constant(3.0, name="z") * 2.0


ROWS = {
    "disconnected": (beside, "No path leads from 'x:0' to 'mul:0'"),
    "control edges only": (controlled, "Control dependencies carry no gradient."),
    "stopped": (
        lambda x: tf.stop_gradient(x) * 2.0,
        "StopGradient node 'StopGradient' (created at",
    ),
    "not differentiable": (
        lambda x: tf.cast(tf.equal(x, 1.0), tf.float32),
        "Equal node 'Equal' (created at",
    ),
    "integer on the way": (
        lambda x: tf.cast(tf.cast(x, tf.int32, name="whole"), tf.float32),
        "Cast node 'whole' (created at",
    ),
    "a rule that gives None": (
        lambda x: tf.floor(x) * 2.0,
        "Floor node 'Floor' (created at",
    ),
    "no rule": (
        tf.is_nan,
        "No gradient defined for operation'IsNan'",
    ),
}


@pytest.mark.parametrize(("build", "text"), ROWS.values(), ids=ROWS)
def test_reasons(build, text) -> None:
    x = real()
    y = build(x)
    got = gg.why_none(y, x)
    assert text in got
    if "created at" in text:
        assert __file__ in got


def test_every_end_is_named() -> None:
    x = real()
    text = gg.why_none(tf.floor(x) + tf.stop_gradient(x), x)
    assert "'Floor'" in text and "'StopGradient'" in text
    many = [tf.floor(x) for _ in range(9)]
    assert "There are 4 more such nodes." in gg.why_none(many, x)


def test_ends_beside_x_are_not_named() -> None:
    x, z = real(), tf.constant(1.0)
    assert "Floor" not in gg.why_none(tf.stop_gradient(x) + tf.floor(z), x)


def test_stop_gradients_argument() -> None:
    x = real()
    y = tf.exp(x, name="middle")
    text = gg.why_none(y * 2.0, x, stop_gradients=[y])
    assert "'middle'" in text and "is named by stop_gradients" in text


def test_integer_x_and_wrong_way_round() -> None:
    i = tf.constant([1, 2])
    assert "is of dtype int32" in gg.why_none(i * 3, i)
    x = real()
    assert "It is the other way round" in gg.why_none(x, tf.exp(x))


def test_a_read_of_a_variable_is_not_the_variable() -> None:
    v = tf.get_variable("v", initializer=2.0, use_resource=True)
    read = v.read_value()
    text = gg.why_none(v * v, read)
    assert "take the gradient with respect to the variable itself" in text
    assert "is not None" in gg.why_none(v * v, v)


def test_a_gradient_that_is_there() -> None:
    x = real()
    assert "is not None" in gg.why_none(x * x, x)
    assert "is not None" in gg.why_none(x, x)
    z = tf.complex(x, x)
    assert "is not None" in gg.why_none(z * z, x)


def test_the_graph_stays_as_it_is(graph) -> None:
    x = real()
    y = tf.floor(x) * tf.reduce_sum(x, 0)
    before = graph.version, [len(op.outputs[0].consumers()) for op in (x.op, y.op)]
    gg.why_none(y, x)
    assert before == (
        graph.version,
        [len(o.outputs[0].consumers()) for o in (x.op, y.op)],
    )


def test_arguments() -> None:
    x = real()
    with pytest.raises(TypeError, match="takes one x"):
        gg.why_none(x, [x, x])
    with pytest.raises(TypeError, match="takes one x"):
        gg.why_none(x, np.ones(2))
