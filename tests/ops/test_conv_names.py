"""Transposed convolutions and gradients by name: each is another's adjoint."""

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from tests.ops.running import value, value_and_gradients

RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 6, 5, 3))
W = RNG.normal(size=(3, 2, 3, 4))
V = RNG.normal(size=(3, 2, 3, 2))
STEP = [1, 2, 1, 1]


def pair(convolution, dy):
    """The gradients of <convolution(x, w), dy>."""
    x, w = convolution.args
    _, slopes = value_and_gradients(
        lambda a, b: convolution.run(a, b) * tf.constant(dy), x, w
    )
    return slopes


class Convolution:
    """A function of an image and a filter, and both of them."""

    def __init__(self, run, *args):
        self.run, self.args = run, args


CONVOLUTIONS = [
    (
        Convolution(lambda x, w: tf.nn.conv2d(x, w, STEP, "SAME"), X, W),
        tf.nn.conv2d_backprop_input,
        tf.nn.conv2d_backprop_filter,
    ),
    (
        Convolution(
            lambda x, w: tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME"), X, V
        ),
        tf.nn.depthwise_conv2d_backprop_input,
        tf.nn.depthwise_conv2d_native_backprop_filter,
    ),
]


@pytest.mark.parametrize(("convolution", "to_input", "to_filter"), CONVOLUTIONS)
def test_gradients_by_name(convolution, to_input, to_filter):
    x, w = convolution.args
    dy = RNG.normal(size=value(convolution.run, x, w).shape)
    step = STEP if w is W else [1, 1, 1, 1]
    dx, dw = pair(convolution, dy)
    found = value(lambda b, g: to_input(x.shape, b, g, step, "SAME"), w, dy)
    np.testing.assert_allclose(found, dx, atol=1e-12)
    found = value(lambda a, g: to_filter(a, w.shape, g, step, "SAME"), x, dy)
    np.testing.assert_allclose(found, dw, atol=1e-12)


@pytest.mark.parametrize("layout", ["NWC", "NCW"])
def test_conv1d_transpose(layout):
    line, kernel = X[:, :, 0], W[:, 0]
    forward = lambda t, w: tf.nn.conv1d(t, w, 2, "SAME")  # noqa: E731
    dy = RNG.normal(size=value(forward, line, kernel).shape)
    _, (slope, _) = value_and_gradients(
        lambda t, w: forward(t, w) * tf.constant(dy), line, kernel
    )
    given, sizes = dy, [2, 6, 3]
    if layout == "NCW":
        given, sizes = dy.transpose(0, 2, 1), [2, 3, 6]
    for function in (tf.nn.conv1d_transpose, tf.nn.conv_transpose):
        found = value(
            lambda g, w, f=function: f(g, w, sizes, 2, "SAME", layout), given, kernel
        )
        if layout == "NCW":
            found = found.transpose(0, 2, 1)
        np.testing.assert_allclose(found, slope, atol=1e-12)


def test_atrous_conv2d_transpose():
    dy = RNG.normal(size=(2, 2, 3, 4))
    _, (slope, _) = value_and_gradients(
        lambda x, w: tf.nn.atrous_conv2d(x, w, 2, "VALID") * tf.constant(dy), X, W
    )
    found = value(
        lambda g, w: tf.nn.atrous_conv2d_transpose(g, w, X.shape, 2, "VALID"), dy, W
    )
    np.testing.assert_allclose(found, slope, atol=1e-12)


def test_batch_norm_with_global_normalization():
    m, v, beta, gamma = RNG.uniform(0.5, 1, (4, 3))
    for scaled in (False, True):
        found = value(
            lambda x, s=scaled: tf.nn.batch_norm_with_global_normalization(
                x, m, v, beta, gamma, 0.1, s
            ),
            X,
        )
        wanted = (X - m) / np.sqrt(v + 0.1) * (gamma if scaled else 1) + beta
        np.testing.assert_allclose(found, wanted)
