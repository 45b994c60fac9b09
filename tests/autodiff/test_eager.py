"""gradients() of values that are there already: refused, but not inside a function."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf

TEXT = "tf.gradients is not supported when eager execution is enabled"


def test_values() -> None:
    @gg.function
    def square(x):
        return x * x

    value = square(np.float32(3.0))
    with pytest.raises(RuntimeError, match=TEXT):
        gg.gradients(value, value)
    with pytest.raises(RuntimeError, match=TEXT):
        tf.gradients(tf.Graph, [value])


def test_eager_mode() -> None:
    gg.enable_eager_execution()
    try:
        with pytest.raises(RuntimeError, match=TEXT):
            gg.gradients(tf.constant(1.0), None)

        @gg.function
        def slope(x):
            return gg.gradients(x * x, x)[0]

        assert float(slope(np.float32(3.0))) == 6.0
    finally:
        gg.disable_eager_execution()
