"""Gradient rows of special.py."""

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case

ANY = ((2, 3), -1.5, 1.5)
POSITIVE = ((2, 3), 0.3, 2)
UNIT = ((2, 3), -0.8, 0.8)
PROBABILITY = ((2, 3), 0.1, 0.9)


def fixed(function, *constants):
    """``function`` of constants and, last, a tensor."""
    return lambda x: function(*[tf.constant(c, x.dtype) for c in constants], x)


CASES = [
    Case("Erf", tf.erf, [ANY]),
    Case("Erfc", tf.erfc, [ANY]),
    Case("Erfinv", tf.math.erfinv, [UNIT]),
    Case("Ndtri", tf.math.ndtri, [PROBABILITY]),
    Case("Ndtri", tf.math.ndtri, [((2, 3), 0.04, 0.07)], order=1, label="tail"),
    Case("Ndtri", tf.math.erfcinv, [PROBABILITY], label="erfcinv"),
    Case("Lgamma", tf.lgamma, [POSITIVE]),
    Case("Lgamma", tf.lgamma, [((2, 3), -0.8, -0.2)], label="negative"),
    Case("Digamma", tf.digamma, [POSITIVE]),
    Case("Polygamma", fixed(tf.polygamma, 2.0), [POSITIVE]),
    Case("Zeta", fixed(tf.zeta, 3.5), [POSITIVE]),
    Case("Igamma", fixed(tf.igamma, 1.7), [POSITIVE]),
    Case("Igammac", fixed(tf.igammac, 1.7), [POSITIVE]),
    Case("Igamma", tf.igamma, [POSITIVE, ((3,), 0.3, 2)], order=1, label="both"),
    Case("Igammac", tf.igammac, [POSITIVE, ((3,), 0.3, 2)], order=1, label="both"),
    Case(
        "Igamma", tf.igamma, [((3,), 90, 99), ((3,), 70, 120)], order=1, label="large"
    ),
    Case("Betainc", fixed(tf.betainc, 1.5, 2.5), [PROBABILITY]),
    Case("Xlogy", tf.math.xlogy, [POSITIVE, ((3,), 0.3, 2)]),
    Case("Xlog1py", tf.math.xlog1py, [POSITIVE, ((3,), -0.5, 2)]),
    Case("Xdivy", tf.math.xdivy, [POSITIVE, ((3,), 0.3, 2)]),
]
