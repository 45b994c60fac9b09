"""Gradient rows of arithmetic.py and division.py."""

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case

A = ((2, 3), -2, 2)
B = ((3,), -2, 2)
POSITIVE = ((2, 3), 0.3, 2)
ROW = ((3,), 0.3, 2)
# Between the steps of floor, ceil, round and the quotients below.
BETWEEN = ((2, 3), 2.1, 2.4)
QUOTIENT = ((3,), 0.95, 1)


def raw(op_type, **attrs):
    """A function of tensors that adds one op of this type."""
    return lambda *xs: xs[0].graph.apply(op_type, *xs, **attrs)


def listed(op_type, **attrs):
    """The same for an op that takes its tensors as a list."""
    return lambda *xs: xs[0].graph.apply(op_type, list(xs), **attrs)


CASES = [
    Case("AddV2", tf.add, [A, B]),
    Case("AddV2", lambda x, y: x + y * x, [A, ((2, 1), -2, 2)], label="column"),
    Case("Add", raw("Add"), [A, B]),
    Case("Sub", lambda x, y: (x - y) * x, [A, B]),
    Case("Mul", tf.multiply, [A, B]),
    Case("Mul", tf.multiply, [A, B], dtype="complex128", label="complex"),
    Case("Neg", lambda x: tf.negative(x) * x, [A]),
    Case("AddN", lambda x, y: tf.add_n([x * y, x, y, x]), [A, A]),
    Case("AccumulateNV2", listed("AccumulateNV2", shape=(2, 3)), [A, A]),
    Case("Square", tf.square, [A]),
    Case("Square", tf.square, [A], dtype="complex128", label="complex"),
    Case("SquaredDifference", tf.squared_difference, [A, B]),
    Case("Pow", tf.pow, [POSITIVE, B]),
    Case("Pow", lambda x: x**3.0, [A], label="cube"),
    Case("Pow", lambda x: 2.0**x, [A], label="exponent"),
    Case("Pow", tf.pow, [POSITIVE, A], dtype="complex128", label="complex"),
    Case("Mul", lambda x: x * tf.sign(x), [((2, 3), 0.3, 2)], label="sign"),
    Case("Abs", lambda x: x * tf.abs(x), [((2, 3), -2, -0.3)]),
    Case("Maximum", lambda x, y: x * tf.maximum(x, y), [A, ((3,), 3, 4)]),
    Case("Maximum", lambda x, y: x * tf.maximum(x, y), [A, ((3,), -4, -3)], label="x"),
    Case("Minimum", lambda x, y: x * tf.minimum(x, y), [A, ((3,), 3, 4)]),
    Case("Mul", lambda x: x * x * tf.floor(x), [BETWEEN], label="floor"),
    Case("Mul", lambda x: x * x * tf.ceil(x), [BETWEEN], label="ceil"),
    Case("Mul", lambda x: x * x * tf.round(x), [BETWEEN], label="round"),
    Case("Mul", lambda x: x * x * tf.rint(x), [BETWEEN], label="rint"),
    Case("RealDiv", lambda x, y: x / y, [A, ROW]),
    Case("RealDiv", lambda x, y: x / y, [A, ROW], dtype="complex128", label="complex"),
    Case("Div", raw("Div"), [A, ROW]),
    Case("Mul", lambda x, y: x * y * (x // y), [BETWEEN, QUOTIENT], label="floordiv"),
    Case(
        "Mul",
        lambda x, y: x * y * tf.truncatediv(x, y),
        [BETWEEN, QUOTIENT],
        label="truncatediv",
    ),
    Case("FloorMod", lambda x, y: x * (x % y), [BETWEEN, QUOTIENT]),
    Case("DivNoNan", tf.div_no_nan, [A, ROW]),
    Case("DivNoNan", tf.div_no_nan, [A, ROW], dtype="complex128", label="complex"),
    Case("DivNoNan", tf.math.reciprocal_no_nan, [ROW], label="reciprocal"),
    Case("MulNoNan", tf.math.multiply_no_nan, [A, ROW]),
    Case("Mul", lambda x: tf.scalar_mul(3.0, x) * x, [A], label="scalar"),
]
