"""What loops keep for their gradients: no more than these need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf


def kept(y: tf.Tensor) -> list[str]:
    """The names of the tensors that the loop behind ``y`` keeps an iteration."""
    (loop,) = [op for op in y.graph.get_operations() if op.type == "StatelessWhile"][:1]
    return [t.op.name for saved in loop.attrs["_saved"] for t in saved]


def loop(body: Callable[[Any, Any], Any], start: Any) -> tf.Tensor:
    return tf.while_loop(
        lambda i, y: i < 3, lambda i, y: (i + 1, body(i, y)), [0, start]
    )[1]


X = np.array([[0.3, -0.4], [0.5, 0.6]])


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (lambda i, y, w: y + w, 0),
        (lambda i, y, w: y * 2.0 - 1.5, 0),
        (lambda i, y, w: y * w, 1),
        (lambda i, y, w: y * (tf.sin(w) + 1.0), 1),
        (lambda i, y, w: tf.matmul(y, tf.matmul(w, w)), 1),
        (lambda i, y, w: tf.tanh(y), 1),
        (lambda i, y, w: tf.tanh(tf.matmul(y, w) + 0.1), 2),
        (lambda i, y, w: tf.reduce_mean(y, 0, keepdims=True) + w, 0),
        (lambda i, y, w: tf.transpose(y) / tf.constant([2.0, 3.0]), 0),
        (lambda i, y, w: y + tf.random_uniform([2, 2], seed=1) * w, 1),
    ],
)
def test_only_what_changes_and_is_needed_is_kept(
    body: Callable[..., Any], count: int
) -> None:
    with tf.Graph().as_default():
        x, w = (tf.placeholder(tf.float32, [2, 2]) for _ in range(2))
        y = loop(lambda i, y: body(i, y, w), x)
        found = tf.gradients(y, [x, w])
        assert len(kept(y)) == count, kept(y)
        if any("random" in name for name in kept(y)):
            return  # unrolled, it draws other numbers
        outside = x
        for i in range(3):
            outside = body(i, outside, w)
        expected = tf.gradients(outside, [x, w])
        assert [a is None for a in found] == [b is None for b in expected]
        pairs = [(a, b) for a, b in zip(found, expected) if b is not None]
        with tf.Session() as session:
            for a, b in session.run(pairs, {x: X, w: X.T}):
                np.testing.assert_allclose(a, b, rtol=1e-5)


def test_of_rows_only_the_number_and_the_row_are_kept() -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float64, [3, 2])
        y = tf.map_fn(lambda row: tf.sin(row) * 2.0, x)
        assert tf.gradients(y, x) != [None]
        number, row = kept(y)
        assert row.endswith("TensorListGetItem") and "Tensor" not in number
