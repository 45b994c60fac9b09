"""Gradient rows of elementary.py."""

import gpugrad.compat.v1 as tf
from tests.ops.cases_arithmetic import raw
from tests.ops.harness import Case

ANY = ((2, 3), -1.5, 1.5)
POSITIVE = ((2, 3), 0.3, 2)
UNIT = ((2, 3), -0.8, 0.8)
ABOVE_ONE = ((2, 3), 1.2, 3)

FUNCTIONS = [
    ("Sqrt", tf.sqrt, POSITIVE),
    ("Rsqrt", tf.rsqrt, POSITIVE),
    ("Reciprocal", tf.reciprocal, POSITIVE),
    ("Inv", raw("Inv"), POSITIVE),
    ("Exp", tf.exp, ANY),
    ("Expm1", tf.expm1, ANY),
    ("Log", tf.log, POSITIVE),
    ("Log1p", tf.log1p, UNIT),
    ("Sin", tf.sin, ANY),
    ("Cos", tf.cos, ANY),
    ("Tan", tf.tan, UNIT),
    ("Asin", tf.asin, UNIT),
    ("Acos", tf.acos, UNIT),
    ("Atan", tf.atan, UNIT),
    ("Sinh", tf.sinh, ANY),
    ("Cosh", tf.cosh, ANY),
    ("Tanh", tf.tanh, UNIT),
    ("Asinh", tf.asinh, UNIT),
    ("Acosh", tf.acosh, ABOVE_ONE),
    ("Atanh", tf.atanh, UNIT),
    ("Sigmoid", tf.sigmoid, ANY),
]
SLOPES = ["SqrtGrad", "RsqrtGrad", "ReciprocalGrad", "InvGrad", "TanhGrad"]
SLOPES += ["SigmoidGrad"]

CASES = [
    *[Case(op, f, [inputs]) for op, f, inputs in FUNCTIONS],
    *[
        Case(op, f, [inputs], dtype="complex128", label="complex")
        for op, f, inputs in FUNCTIONS
    ],
    *[Case(op, raw(op), [POSITIVE, ANY]) for op in SLOPES],
    *[
        Case(op, raw(op), [POSITIVE, ANY], dtype="complex128", label="complex")
        for op in SLOPES
    ],
    Case("Atan2", tf.atan2, [ANY, POSITIVE]),
    Case("Atan2", tf.atan2, [((3,), -2, -1), ANY], label="row"),
]
