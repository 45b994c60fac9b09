"""Patches, dilation and pooling with places; the values are TensorFlow 2.21's."""

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from tests.ops.running import built, value, value_and_gradients

X = (np.arange(24) * 7 % 11).reshape(1, 4, 3, 2).astype(np.float32)
W = (np.arange(8) * 5 % 4).reshape(2, 2, 2).astype(np.float32)


def same(found, wanted):
    np.testing.assert_array_equal(found.reshape(-1), wanted)


def test_dilation():
    y, (dx, dw) = value_and_gradients(
        lambda x, w: tf.nn.dilation2d(x, w, [1, 2, 1, 1], [1, 1, 1, 1], "SAME"), X, W
    )
    assert y.shape == (1, 2, 3, 2)
    same(y, [9, 13, 8, 11, 6, 3, 12, 9, 10, 12, 2, 10])
    same(dx, [0, 0, 0, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 1, 2, 0, 0, 0, 0, 0, 0])
    same(dw, [3, 3, 2, 3, 1, 0, 0, 0])


def test_erosion():
    wanted = [-2, -1, 2, -1, 0, -2]
    same(value(lambda x, w: tf.nn.erosion2d(
        x, w, [1, 1, 1, 1], [1, 1, 2, 1], "VALID"), X, W), wanted)  # fmt: skip
    same(value(lambda x, w: gg.nn.erosion2d(
        x, w, [1, 1, 1, 1], "VALID", "NHWC", [1, 1, 2, 1]), X, W), wanted)  # fmt: skip


def test_dilation_has_no_second_derivative():
    with tf.Graph().as_default():
        x = tf.constant(X)
        y = gg.nn.dilation2d(x, W, [1, 1, 1, 1], "SAME", "NHWC", [1, 1, 1, 1])
        (slope,) = tf.gradients(y * y, x)
        with pytest.raises(LookupError, match="Dilation2DBackpropInput"):
            tf.gradients(slope, x)


def test_patches():
    y = value(lambda x: tf.extract_image_patches(
        x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID"), X)  # fmt: skip
    assert y.shape == (1, 2, 1, 8)
    same(y, [0, 7, 3, 10, 9, 5, 1, 8, 7, 3, 10, 6, 5, 1, 8, 4])
    other = value(lambda x: gg.image.extract_patches(
        x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID"), X)  # fmt: skip
    same(other, y.reshape(-1))


def test_places_of_maxima():
    best, place = (
        value(lambda x, k=k: tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")[k], X)
        for k in (0, 1)
    )
    assert place.dtype == np.int64
    same(best, [9, 10, 6, 2, 10, 6, 2, 9])
    same(place, [6, 3, 4, 5, 14, 15, 16, 17])
    two = np.concatenate([X, -X])
    found = value(
        lambda x: gg.nn.max_pool_with_argmax(
            x, 2, 2, "SAME", output_dtype=tf.int32, include_batch_in_index=True
        )[1],
        two,
    )
    assert found.dtype == np.int32
    best = value(lambda x: tf.nn.max_pool(x, 2, 2, "SAME"), two)
    same(two.reshape(-1)[found.reshape(-1)], best.reshape(-1))


def test_maxima_of_minus_infinity_and_nan():
    x = np.full([1, 2, 2, 1], -np.inf)
    assert value(lambda x: tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")[1], x) == 0


REFUSED = [
    (lambda x: tf.nn.dilation2d(x, np.ones([2, 2, 3], "f"), [1] * 4, [1] * 4, "SAME"),
     "Dimensions must be equal, but are 2 and 3"),
    (lambda x: tf.nn.dilation2d(x, W, [2, 1, 1, 1], [1] * 4, "SAME"),
     "1 over batch and channels"),
    (lambda x: gg.nn.dilation2d(x, W, [1] * 4, "SAME", "NCHW", [1] * 4), "NCHW"),
    (lambda x: tf.extract_image_patches(x, [2, 2, 2, 1], [1] * 4, [1] * 4, "SAME"),
     "ksizes must be"),
    (lambda x: tf.nn.max_pool_with_argmax(x, 2, 2, "SAME", "NCHW"), "NCHW"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_refused(call, text):
    with pytest.raises(ValueError, match=text):
        built(call, [1, 4, 3, 2])
