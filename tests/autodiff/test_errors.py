"""What gradients() refuses, and what it says."""

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


ROWS = {
    "unconnected": (
        lambda x: tf.gradients(x, x, unconnected_gradients="foo"),
        ValueError,
        "Unknown value for unconnected_gradients: 'foo'",
    ),
    "unconnected, upper case": (
        lambda x: tf.gradients(x, x, unconnected_gradients="ZERO"),
        ValueError,
        "Unknown value for unconnected_gradients: 'ZERO'",
    ),
    "unconnected, None": (
        lambda x: tf.gradients(x, x, unconnected_gradients=None),
        ValueError,
        "Unknown value for unconnected_gradients",
    ),
    "aggregation method": (
        lambda x: tf.gradients(x * x, x, aggregation_method=7),
        ValueError,
        r"Invalid `aggregation_method` specified 7. Accepted values are \[0, 1, 2\].",
    ),
    "grad_ys, too many": (
        lambda x: tf.gradients(x, x, grad_ys=[1.0, 5.0]),
        ValueError,
        "Length mismatch. Passed 2 grad_ys for 1 ys",
    ),
    "grad_ys, wrong shape": (
        lambda x: tf.gradients(x * 2.0, x, grad_ys=[3.0]),
        ValueError,
        "Incompatible shapes between op input and calculated input gradient. Forward "
        r"operation: mul. Input index: 0. Original input shape: \(2,\). Calculated "
        r"input gradient shape: \(\)",
    ),
    "grad_ys, wrong dtype": (
        lambda x: tf.gradients(x * 2.0, x, grad_ys=tf.ones([2], tf.float64)),
        TypeError,
        "has type float32 that does not match type float64 of argument",
    ),
    "grad_ys, complex for real": (
        lambda x: tf.gradients(x, x, grad_ys=[np.ones(2, np.complex64)]),
        TypeError,
        "Gradient type complex64 generated for real or integer-valued tensor .*x:0.* "
        "must be real or integer",
    ),
    "grad_ys, bool for real": (
        lambda x: tf.gradients(x, x, grad_ys=[[True, False]]),
        TypeError,
        "Gradient type bool generated for real or integer-valued tensor",
    ),
    "grad_ys for bool": (
        lambda x: tf.gradients(x > 1.0, x, grad_ys=[[1.0, 1.0]]),
        TypeError,
        "with type bool must be numeric to obtain a default gradient",
    ),
    "complex y": (
        lambda x: tf.gradients(tf.complex(x, x), x),
        TypeError,
        r"Gradients of complex tensors \(.*\) must set grad_ys \(y.dtype = complex64\)",
    ),
    "complex y, real grad_ys": (
        lambda x: tf.gradients(tf.complex(x, x), x, grad_ys=[[1.0, 1.0]]),
        TypeError,
        "Gradient type float32 generated for complex-valued tensor",
    ),
    "string y": (
        lambda x: tf.gradients(tf.constant("a"), x),
        TypeError,
        "Expected string, but got 1 of type 'int'",
    ),
    "None in ys": (lambda x: tf.gradients([x, None], x), TypeError, "None .* ys"),
    "None in xs": (lambda x: tf.gradients(x, [None]), TypeError, "None .* xs"),
    "None in stop_gradients": (
        lambda x: tf.gradients(x, x, stop_gradients=[None]),
        TypeError,
        "stop_gradients must be tensors, not NoneType",
    ),
    "number in stop_gradients": (
        lambda x: tf.gradients(x, x, stop_gradients=2.0),
        TypeError,
        "stop_gradients must be tensors, not float",
    ),
    "nested xs": (lambda x: tf.gradients(x, [[x, x]]), TypeError, "list of tensors"),
    "dict of xs": (
        lambda x: tf.gradients(x, {"x": x}),
        TypeError,
        "dict",
    ),
    "slices as x": (
        lambda x: tf.gradients(x, tf.IndexedSlices(x, tf.constant([0, 1]))),
        ValueError,
        "Type IndexedSlices is not supported as a gradient source or gradient target",
    ),
    "slices as y": (
        lambda x: tf.gradients(tf.IndexedSlices(x, tf.constant([0, 1])), x),
        ValueError,
        "Type IndexedSlices is not supported as a gradient source or gradient target",
    ),
    "PreventGradient": (
        lambda x: tf.gradients(
            gg.raw_ops.PreventGradient(input=x, message="because"), x
        ),
        LookupError,
        "Gradient explicitly disabled. Reason: b'because'",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), ROWS.values(), ids=ROWS)
def test_refused(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call(real())


def test_nothing_is_left_open(graph) -> None:
    """After an error scope, device and colocation are what they were before."""
    x = real()
    with tf.name_scope("outer"), tf.device("/cpu:0"):
        with pytest.raises(LookupError):
            tf.gradients(tf.is_nan(x), x, colocate_gradients_with_ops=True)
        after = tf.identity(x, name="after")
    assert after.name == "outer/after:0"
    assert after.device == "/device:CPU:0"
    assert after.op.colocation_groups() == [b"loc:@outer/after"]


def test_an_unknown_method_does_not_matter_without_a_path() -> None:
    x = real()
    assert tf.gradients(tf.constant(1.0), x, aggregation_method=7) == [None]


def test_two_graphs() -> None:
    x = real()
    with tf.Graph().as_default():
        y = tf.constant(1.0, name="y")
    with pytest.raises(ValueError, match="must be from the same graph as"):
        tf.gradients([x, y], x)
    with pytest.raises(ValueError, match="must be from the same graph as"):
        tf.gradients(x, y)
    with pytest.raises(ValueError, match="must be from the same graph as"):
        tf.gradients(x, x, stop_gradients=[y])
    with pytest.raises(ValueError, match="must be from the same graph as"):
        tf.gradients(x, x, grad_ys=[y])


def test_finalized_graph(graph) -> None:
    x = real()
    graph.finalize()
    with pytest.raises(RuntimeError, match="finalized"):
        tf.gradients(x, x)


def test_no_rule_names_node_line_and_remedy() -> None:
    x = real()
    y = tf.is_nan(x)
    with pytest.raises(gg.errors.GradientLookupError) as caught:
        tf.gradients(y, x)
    text = str(caught.value)
    assert "No gradient defined for operation'IsNan' (op type: IsNan)" in text
    assert y.op.created_at() in text
    assert "RegisterGradient('IsNan')" in text and "stop_gradient()" in text
