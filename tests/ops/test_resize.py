"""Images of other sizes; the values are TensorFlow 2.21's."""

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from tests.ops.running import built, value, value_and_gradients

X = np.array([[0, 8, 4], [16, 40, 2]], np.float32).reshape(1, 2, 3, 1)
CORNERS, HALF = {"align_corners": True}, {"half_pixel_centers": True}
BILINEAR = [
    ([3, 2], {}, [0, 6, 32 / 3, 16, 16, 21]),
    ([3, 2], CORNERS, [0, 4, 8, 3, 16, 2]),
    ([3, 2], HALF, [2, 5, 12, 8.25, 22, 11.5]),
    ([4, 6], {}, [0, 4, 8, 6, 4, 4, 8, 16, 24, 13.5, 3, 3,
                  16, 28, 40, 21, 2, 2, 16, 28, 40, 21, 2, 2]),
    ([4, 6], HALF, [0, 2, 6, 7, 5, 4, 4, 7, 13, 12.875, 6.625, 3.5,
                    12, 17, 27, 24.625, 9.875, 2.5, 16, 22, 34, 30.5, 11.5, 2]),
]  # fmt: skip
NEAREST = [
    ([3, 2], {}, [0, 8, 0, 8, 16, 40]),
    ([3, 2], CORNERS, [0, 4, 16, 2, 16, 2]),
    ([3, 2], HALF, [0, 4, 16, 2, 16, 2]),
]


@pytest.mark.parametrize(("size", "options", "wanted"), BILINEAR)
@pytest.mark.parametrize("shape", [[1, 2, 3, 1], [None] * 4, None])
def test_bilinear(size, options, wanted, shape):
    found = value(
        lambda x: tf.image.resize_bilinear(x, size, **options), X, shapes=[shape]
    )
    assert found.shape == (1, *size, 1) and found.dtype == np.float32
    np.testing.assert_allclose(found.reshape(-1), wanted, rtol=1e-6)


@pytest.mark.parametrize(("size", "options", "wanted"), NEAREST)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_nearest(size, options, wanted, dtype):
    found = value(
        lambda x: tf.image.resize_nearest_neighbor(x, size, **options), X.astype(dtype)
    )
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.reshape(-1), wanted)


def test_gradients_are_the_adjoint():
    """<resized x, g> = <x, gradient of g>, and the second derivative is there."""
    rng = np.random.default_rng(2)
    for function in (tf.image.resize_bilinear, tf.image.resize_nearest_neighbor):
        x, g = rng.normal(size=(2, 5, 4, 3)), rng.normal(size=(2, 3, 7, 3))
        y, (slope,) = value_and_gradients(
            lambda t, f=function, g=g: f(t, [3, 7]) * tf.constant(g), x
        )
        np.testing.assert_allclose(y.sum(), (x * slope).sum(), rtol=1e-6)


def test_resize():
    one = value(lambda x: gg.image.resize(x, [9, 6], preserve_aspect_ratio=True), X[0])
    assert one.shape == (4, 6, 1)
    half = value(lambda x: tf.image.resize_bilinear(x, [4, 6], **HALF), X)
    np.testing.assert_array_equal(one, half[0])
    old = value(lambda x: tf.image.resize_images(x, [3, 2], method=1), X)
    np.testing.assert_array_equal(old.reshape(-1), NEAREST[0][2])
    assert built(lambda x: tf.image.resize(x, [3, 2]), [None, 5, 5, 2]).shape.rank == 4


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: tf.image.resize(x, [3, 2], method=2), "bilinear or nearest"),
        (lambda x: gg.image.resize(x, [3, 2], antialias=True), "antialias"),
        (lambda x: tf.image.resize_bilinear(x, [3, 2], True, None, True), "exclude"),
        (lambda x: tf.image.resize_bilinear(x[0], [3, 2]), "rank 4"),
    ],
)
def test_refused(call, text):
    with pytest.raises(ValueError, match=text):
        built(call, [1, 2, 3, 1])
