"""Functions made of several ops do for an unknown rank what they do for a known one."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad.compat.v1 as tf

TWO, THREE = (3, 4), (2, 3, 4)

FUNCTIONS = [
    (lambda x: tf.sort(x), THREE),
    (lambda x: tf.sort(x, axis=0, direction="DESCENDING"), THREE),
    (lambda x: tf.sort(x, axis=-2), THREE),
    (lambda x: tf.sort(x, axis=0), (4,)),
    (lambda x: tf.argsort(x, axis=1), THREE),
    (lambda x: tf.tensordot(x, tf.constant(np.ones((4, 5))), 1), THREE),
    (lambda x: tf.tensordot(x, x, 2), (3, 3)),
    (lambda x: tf.tensordot(x, x, [[0, -1], [0, 2]]), THREE),
    (lambda x: tf.tensordot(tf.constant(np.ones((2, 3))), x, [[1], [0]]), TWO),
    (lambda x: tf.tensordot(x, x, 0), TWO),
    (lambda x: tf.repeat(x, 2, axis=0), TWO),
    (lambda x: tf.repeat(x, [0, 2, 1, 1], axis=-1), TWO),
    (lambda x: tf.linspace(x, 2 * x, 3), TWO),
    (lambda x: tf.nn.softmax_cross_entropy_with_logits_v2(x, x, axis=0), THREE),
    (lambda x: tf.nn.softmax_cross_entropy_with_logits_v2(x, 2 * x, -2), THREE),
    (lambda x: tf.linspace(x, 2 * x, 1, axis=-1), TWO),
]  # fmt: skip


@pytest.mark.parametrize(("function", "shape"), FUNCTIONS)
def test_same_as_with_known_rank(function, shape):
    value = np.random.default_rng(3).standard_normal(shape)
    found = []
    for static in (shape, None):
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float64, static)
            y = function(x)
            dx = tf.gradients(y, x)[0]
            wanted = [y] if dx is None else [y, dx]
            found.append(session.run(wanted, {x: value}))
    known, unknown = found
    assert len(known) == len(unknown)
    for one, other in zip(known, unknown):
        np.testing.assert_array_equal(one, other)


def test_shapes_known_through_another_operand():
    """What one operand, an attribute or a constant says of a shape is taken over."""
    x, y = tf.placeholder(tf.float32), tf.placeholder(tf.float32, [None, None, 2])
    image = tf.nn.fused_batch_norm(x, tf.ones([2]), tf.ones([2]))[0]
    slid = tf.nn.conv2d(x, tf.ones([2, 2, 1, 1]), [1, 1, 1, 1], "SAME")
    slid.set_shape([5, None, None, 1])
    pooled = tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
    for tensor, shape in [
        (tf.linalg.solve(tf.eye(3), x), [3, None]),
        (tf.linalg.solve(x, tf.ones([4, 3, 1])), [4, 3, 1]),
        (image, [None, None, None, 2]),
        (tf.gradients(pooled, x)[0], [None] * 4),
        (tf.gradients(slid, x)[0], [5, None, None, None]),
        (tf.linalg.set_diag(x, tf.ones([2, 4])), [2, None, None]),
        (tf.reverse_sequence(y, [1, 2, 0], seq_axis=1), [3, None, 2]),
        (tf.repeat(tf.ones([2, 3]), [0, 2, 1], axis=1), [2, 3]),
        (tf.repeat(y, [0, 2, 1], axis=1), [None, 3, 2]),
    ]:
        assert tensor.shape.as_list() == shape, tensor


def test_the_gradient_of_repeat_is_dense():
    """A gather of whole rows makes it; slices are not what users of repeat expect."""
    x = tf.placeholder(tf.float64, [2, 2])
    dx = tf.gradients(tf.repeat(x, [1, 2], axis=0), x)[0]
    assert isinstance(dx, tf.Tensor)
    with tf.Session() as session:
        np.testing.assert_array_equal(
            session.run(dx, {x: np.ones((2, 2))}), [[1, 1], [2, 2]]
        )


def test_max_norm_with_ids_of_unknown_rank():
    table = tf.constant([[3.0, 4.0], [0.3, 0.4]])
    ids = tf.placeholder(tf.int32)
    rows = tf.nn.embedding_lookup(table, ids, max_norm=1.0)
    with tf.Session() as session:
        got = session.run(rows, {ids: [[0], [1]]})
    np.testing.assert_allclose(got, [[[0.6, 0.8]], [[0.3, 0.4]]], rtol=1e-6)
