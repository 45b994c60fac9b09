"""Functions on values, outside of any graph."""

from __future__ import annotations

import numpy as np

import gpugrad as tf
from tests.contract.support import refused


def test_python_values_that_are_equal_share_a_trace() -> None:
    traced = []

    @tf.function
    def f(x):
        traced.append(x)
        return tf.convert_to_tensor(x)

    one = "tf.Tensor(1, shape=(), dtype=int32)"
    assert [str(f(value)) for value in (1, 1.0, True)] == [one] * 3
    assert len(traced) == 1
    assert str(f(np.float32(2.0))) == "tf.Tensor(2.0, shape=(), dtype=float32)"
    assert str(f(np.float32(3.0))) == "tf.Tensor(3.0, shape=(), dtype=float32)"
    assert len(traced) == 2


def test_a_gradient_of_values_needs_a_function() -> None:
    @tf.function
    def slope(x):
        return tf.gradients(x * x, x)[0]

    value = slope(np.float32(3.0))
    assert value.numpy() == 6.0
    assert slope(value).numpy() == 12.0
    refused(
        lambda: tf.gradients(value * value, value),
        RuntimeError,
        "tf.gradients is not supported when eager execution is enabled",
    )
