"""Gradient rows of special.py, bessel.py and integrals.py."""

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case

ANY = ((2, 3), -1.5, 1.5)
POSITIVE = ((2, 3), 0.3, 2)
UNIT = ((2, 3), -0.8, 0.8)
PROBABILITY = ((2, 3), 0.1, 0.9)


def fixed(function, *constants):
    """``function`` of constants and, last, a tensor."""
    return lambda x: function(*[tf.constant(c, x.dtype) for c in constants], x)


SHAPE = (2, 3)
AROUND = {"around 0": (-1.5, 1.5), "far": (9, 12)}
FROM_0 = {"near": (0.3, 1.8), "far": (2.2, 5)}
S = tf.math.special
ON_INTERVALS = [
    ("BesselI0", S.bessel_i0, AROUND),
    ("BesselI1", S.bessel_i1, AROUND),
    ("BesselI0e", S.bessel_i0e, {"left": (-3, -0.2), "far": (9, 12)}),
    ("BesselI1e", S.bessel_i1e, {"left": (-3, -0.2), "far": (9, 12)}),
    ("BesselJ0", S.bessel_j0, AROUND),
    ("BesselJ1", S.bessel_j1, AROUND),
    ("BesselK0", S.bessel_k0, FROM_0),
    ("BesselK1", S.bessel_k1, FROM_0),
    ("BesselK0e", S.bessel_k0e, FROM_0),
    ("BesselK1e", S.bessel_k1e, FROM_0),
    ("BesselY0", S.bessel_y0, {"near": (0.5, 7), "far": (9, 12)}),
    ("BesselY1", S.bessel_y1, {"near": (0.5, 7), "far": (9, 12)}),
    ("Dawsn", S.dawsn, {"near": (-1.5, 1.5), "middle": (2.2, 4.5), "far": (6, 8)}),
    ("Expint", S.expint, {"near": (0.5, 3), "middle": (5, 9), "far": (22, 25)}),
    ("FresnelCos", S.fresnel_cos, {"near": (-1, 1), "far": (1.7, 2.5)}),
    ("FresnelSin", S.fresnel_sin, {"near": (-1, 1), "far": (1.7, 2.5)}),
    ("Spence", S.spence, {"small": (0.1, 0.4), "near": (0.6, 1.9), "far": (2.2, 9)}),
]

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
    *(
        Case(op, function, [(SHAPE, low, high)], label=label)
        for op, function, intervals in ON_INTERVALS
        for label, (low, high) in intervals.items()
    ),
]
