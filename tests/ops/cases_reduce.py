"""Gradient rows of reduce.py, arg.py, scan.py and statistics.py."""

import numpy as np

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case

X = ((2, 3, 2), -2, 2)
MATRIX = ((3, 4), -2, 2)


def raw(op_type, axis, **attrs):
    """A function of tensors that adds one op of this type over ``axis``."""
    return lambda *xs: xs[0].graph.apply(op_type, *xs, axis, **attrs)


def unknown(function, shape):
    """``function`` of a tensor whose rank is not known while building.

    The result is given its shape back, which the checks need.
    """

    def build(x):
        vague = tf.placeholder_with_default(x, None)
        assert vague.shape.rank is None
        y = function(vague)
        y.set_shape(shape)
        return y

    return build


def moments(x):
    mean, variance = tf.nn.moments(x, [0, 2])
    return mean * variance


CASES = [
    Case("Sum", lambda x: tf.reduce_sum(x * x), [X]),
    Case("Sum", lambda x: tf.reduce_sum(x * x, 1), [X], label="axis"),
    Case("Sum", lambda x: tf.reduce_sum(x * x, [0, -1], True), [X], label="kept"),
    Case("Sum", lambda x: tf.reduce_sum(x * x, []), [X], label="no axis"),
    Case(
        "Sum",
        unknown(lambda x: tf.reduce_sum(x * x, 1), (2, 2)),
        [X],
        label="unknown rank",
    ),
    Case("Sum", lambda x: tf.reduce_sum(x * x, 1), [X], dtype="complex128", label="c"),
    Case("Mean", lambda x: tf.reduce_mean(x * x), [X]),
    Case("Mean", lambda x: tf.reduce_mean(x * x, [0, 2]), [X], label="axes"),
    Case(
        "Mean",
        unknown(lambda x: tf.reduce_mean(x * x, [2, 0]), (3,)),
        [X],
        label="unknown rank",
    ),
    Case("Max", lambda x: tf.reduce_max(x * x, 1), [X]),
    Case("Max", lambda x: tf.reduce_max(x * x, [0, 2], True), [X], label="kept"),
    Case(
        "Max",
        unknown(lambda x: tf.reduce_max(x, 1), (2, 2)),
        [X],
        label="unknown rank",
    ),
    Case("Min", lambda x: tf.reduce_min(x * x), [X]),
    Case("Prod", lambda x: tf.reduce_prod(x, [0, 2]), [X]),
    Case("Prod", tf.reduce_prod, [X], label="all"),
    Case("Prod", lambda x: tf.reduce_prod(x, 1, True), [X], label="kept"),
    Case("Prod", lambda x: tf.reduce_prod(x, 1), [X], dtype="complex128", label="c"),
    Case(
        "Prod",
        unknown(lambda x: tf.reduce_prod(x, [-1, 0]), (3,)),
        [X],
        label="unknown rank",
    ),
    Case("EuclideanNorm", lambda x: tf.math.reduce_euclidean_norm(x, [0, 2]), [X]),
    Case("EuclideanNorm", tf.math.reduce_euclidean_norm, [X], label="all"),
    Case("L2Loss", tf.nn.l2_loss, [X]),
    Case("ArgMax", lambda x: x * tf.cast(tf.argmax(x, 0), x.dtype), [MATRIX], order=1),
    Case("ArgMin", lambda x: x * tf.cast(tf.argmin(x, 0), x.dtype), [MATRIX], order=1),
    Case("Cumsum", lambda x: tf.cumsum(x * x, 1), [X]),
    Case(
        "Cumsum",
        lambda x: tf.cumsum(x * x, -1, exclusive=True, reverse=True),
        [X],
        label="exclusive reverse",
    ),
    *(
        Case(
            "Cumprod",
            lambda x, e=e, r=r: tf.cumprod(x, 1, exclusive=e, reverse=r),
            [X],
            label=f"exclusive={e} reverse={r}",
        )
        for e in (False, True)
        for r in (False, True)
    ),
    Case("Cumprod", tf.cumprod, [X], dtype="complex128", label="complex"),
    Case("LinearRecurrence", raw("LinearRecurrence", 1), [X, X]),
    Case(
        "LinearRecurrence",
        raw("LinearRecurrence", 0, reverse=True),
        [MATRIX, MATRIX],
        dtype="complex128",
        label="complex",
    ),
    Case("CumulativeLogsumexp", lambda x: tf.math.cumulative_logsumexp(x, 1), [X]),
    Case(
        "CumulativeLogsumexp",
        lambda x: tf.math.cumulative_logsumexp(x, 0, reverse=True),
        [MATRIX],
        label="reverse",
    ),
    Case("Max", lambda x: tf.reduce_logsumexp(x, 1), [X], label="logsumexp"),
    Case("Mean", lambda x: tf.math.reduce_variance(x, [0, 2]), [X], label="variance"),
    Case("Mean", lambda x: tf.math.reduce_std(x, 1), [X], label="std"),
    # The variance stops the gradient of its mean: no true second derivative.
    Case("Mean", moments, [X], label="moments", order=1),
    Case(
        "Mean",
        lambda x: tf.math.reduce_variance(x, 1),
        [X],
        dtype="complex128",
        label="complex variance",
    ),
    Case("Sum", tf.norm, [X], label="norm"),
    Case("Sum", lambda x: tf.norm(x, 1, axis=1), [X], label="norm 1"),
    Case("Sum", lambda x: tf.norm(x, 3, axis=1), [X], label="norm 3", order=1),
    Case("Max", lambda x: tf.norm(x, np.inf, axis=1), [X], label="norm inf"),
    Case("Max", lambda x: tf.norm(x, 1, axis=[0, 1]), [MATRIX], label="matrix norm"),
    Case("Sum", lambda x: tf.nn.l2_normalize(x, 1), [X], label="l2_normalize"),
    Case(
        "Sum",
        lambda x, w: tf.nn.weighted_moments(x, [0, 2], w)[1],
        [X, ((2, 3, 1), 0.5, 2)],
        label="weighted moments",
    ),
]
