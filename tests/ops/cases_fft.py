"""Gradient rows of fft.py."""

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case


def size(*shape):
    return (shape, -2, 2)


def absolute(function, *args):
    """Real numbers of a spectrum, that differ from row to row of it."""

    def build(x):
        y = function(x, *args)
        return tf.square(tf.abs(y)) + tf.real(y) + tf.imag(y)

    return build


def unknown(function, *args):
    """``function`` of a tensor whose sizes are not known while building."""

    def build(x):
        hidden = tf.placeholder_with_default(x, [None] * len(x.shape))
        y = function(hidden, *args)
        y.set_shape(function(tf.zeros(x.shape, x.dtype), *args).shape)
        return y

    return build


SHAPES = {"": (2, 5), "2D": (3, 4), "3D": (2, 3, 2, 3)}

COMPLEX = [
    Case(op + suffix, getattr(tf.signal, op.lower() + suffix.lower()), [size(*shape)],
         dtype="complex128")
    for suffix, shape in SHAPES.items()
    for op in ("FFT", "IFFT")
]  # fmt: skip

REAL = [
    Case("RFFT", absolute(tf.signal.rfft), [size(2, 6)], label="even"),
    Case("RFFT", absolute(tf.signal.rfft), [size(2, 5)], label="odd"),
    Case("RFFT", absolute(tf.signal.rfft, [8]), [size(2, 5)], label="longer"),
    Case("RFFT", absolute(tf.signal.rfft, [4]), [size(2, 7)], label="shorter"),
    Case("RFFT", absolute(unknown(tf.signal.rfft)), [size(2, 5)], label="unknown"),
    Case("RFFT", absolute(unknown(tf.signal.rfft, [7])), [size(2, 5)], label="grown"),
    Case("RFFT2D", absolute(tf.signal.rfft2d), [size(2, 3, 4)]),
    Case("RFFT2D", absolute(tf.signal.rfft2d, [2, 5]), [size(3, 4)], label="lengths"),
    Case("RFFT3D", absolute(tf.signal.rfft3d), [size(2, 3, 4)]),
]

INVERSE = [
    Case("IRFFT", tf.signal.irfft, [size(2, 4)], dtype="complex128", label="even"),
    Case("IRFFT", lambda x: tf.signal.irfft(x, [7]), [size(2, 4)],
         dtype="complex128", label="odd"),
    Case("IRFFT", lambda x: tf.signal.irfft(x, [9]), [size(2, 4)],
         dtype="complex128", label="longer"),
    Case("IRFFT", lambda x: tf.signal.irfft(x, [4]), [size(2, 5)],
         dtype="complex128", label="shorter"),
    Case("IRFFT", unknown(tf.signal.irfft), [size(2, 5)],
         dtype="complex128", label="unknown"),
    Case("IRFFT2D", tf.signal.irfft2d, [size(2, 3, 4)], dtype="complex128"),
    Case("IRFFT3D", tf.signal.irfft3d, [size(2, 3, 4)], dtype="complex128"),
]  # fmt: skip

CASES = [*COMPLEX, *REAL, *INVERSE]
