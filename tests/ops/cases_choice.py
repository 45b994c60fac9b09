"""Gradient rows of cast.py, clip.py, complex.py and select.py."""

import numpy as np

import gpugrad.compat.v1 as tf
from tests.ops.cases_arithmetic import raw
from tests.ops.harness import Case

A = ((2, 3), -2, 2)
B = ((3,), -2, 2)
MASK = np.array([[True, False, True], [False, False, True]])


def pair(x, y):
    """A complex tensor that both have a hand in."""
    return tf.complex(x, y) * tf.complex(x, 2.0 * y)


CASES = [
    Case("Complex", lambda x, y: tf.complex(x, y) * tf.complex(y, x), [A, A]),
    Case("Complex", tf.complex, [A, B], label="row"),
    Case("ComplexAbs", lambda x, y: tf.abs(tf.complex(x, y)), [A, ((2, 3), 1, 2)]),
    Case("Real", lambda x, y: tf.real(pair(x, y)), [A, A]),
    Case("Imag", lambda x, y: tf.imag(pair(x, y)), [A, A]),
    Case("Conj", lambda x, y: tf.conj(pair(x, y)) * tf.complex(x, y), [A, A]),
    Case("Angle", lambda x, y: tf.angle(tf.complex(x, y)), [((2, 3), 1, 2), A]),
    Case("DivNoNan", tf.sign, [A], dtype="complex128", label="sign"),
    Case("NextAfter", lambda x: x * tf.math.nextafter(x, tf.ones_like(x)), [A]),
    Case(
        "Cast",
        lambda x: tf.cast(x, tf.complex128) * (1 + 2j) * tf.to_complex128(x),
        [A],
    ),
    Case(
        "Cast",
        lambda x: tf.cast(x * x, tf.float64),
        [A],
        dtype="complex128",
        label="real",
    ),
    Case("Select", lambda x, y: tf.where(MASK, x * y, y * y), [A, A]),
    Case(
        "Select",
        lambda x, y: tf.where([True, False], x * y, y * y),
        [A, A],
        label="rows",
    ),
    Case("Select", lambda x, y: tf.where(True, x * y, y * y), [A, A], label="scalar"),
    Case("SelectV2", lambda x, y: tf.where_v2(MASK, x * x, y * y), [A, B]),
    Case(
        "SelectV2",
        lambda x, y: tf.where_v2(MASK[0], x * x, y * y),
        [((2, 1), -2, 2), B],
        label="all",
    ),
    Case("ClipByValue", raw("ClipByValue"), [A, ((3,), -0.6, -0.4), ((3,), 0.4, 0.6)]),
    Case(
        "Maximum",
        lambda x, y: tf.clip_by_value(x * x, 0.1, y),
        [((2, 3), 0.5, 2), ((3,), 2, 2.2)],
        label="clip",
    ),
    Case("Maximum", lambda x: tf.clip_by_norm(x, 1.5), [((2, 3), 1, 2)], label="norm"),
    Case(
        "Maximum",
        lambda x: tf.clip_by_norm(x, 9.5, axes=[1]),
        [((2, 3), 1, 2)],
        label="norm-in",
    ),
    Case(
        "Minimum",
        lambda x: tf.clip_by_average_norm(x, 0.1),
        [((2, 3), 1, 2)],
        label="average",
    ),
    Case(
        "Minimum",
        lambda x, y: tf.clip_by_global_norm([x, None, y], 1.5)[0][::2],
        [((2, 3), 1, 2), B],
        label="global",
    ),
    Case(
        "Sqrt", lambda x, y: tf.global_norm([x, None, y]), [A, B], label="global-norm"
    ),
]
