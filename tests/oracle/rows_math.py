"""Rows of arithmetic, elementwise functions, comparisons and dtypes."""

from __future__ import annotations

import numpy as np

from tests.oracle.draw import COMPLEX, FLOATS, INTEGERS, Drawing, Row, Skip, Value, kind

# Functions of one real tensor; a template where the domain needs help.
REAL = (
    "tf.abs", "tf.negative", "tf.square", "tf.exp", "tf.math.expm1", "tf.sin", "tf.cos",
    "tf.tan", "tf.atan", "tf.sinh", "tf.cosh", "tf.tanh", "tf.asinh", "tf.sigmoid",
    "tf.nn.softplus", "tf.nn.softsign", "tf.erf", "tf.erfc", "tf.lgamma", "tf.digamma",
    "tf.reciprocal", "tf.floor", "tf.math.ceil", "tf.round", "tf.rint", "tf.sign",
    "tf.math.log_sigmoid", "tf.nn.relu", "tf.nn.relu6", "tf.nn.elu", "tf.nn.selu",
    "tf.nn.leaky_relu", "tf.nn.crelu", "tf.nn.gelu", "tf.nn.swish",
    "tf.math.reciprocal_no_nan", "tf.stop_gradient", "tf.identity", "tf.zeros_like",
    "tf.ones_like", "tf.sqrt", "tf.rsqrt", "tf.log", "tf.log1p", "tf.nn.silu",
    "tf.math.l2_normalize", "tf.grad_pass_through(tf.round)",
)  # fmt: skip
TEMPLATES = (
    "tf.sqrt({a} * {a})", "tf.sqrt(1 + tf.square({a}))", "tf.rsqrt(0.5 + tf.abs({a}))",
    "tf.log(tf.abs({a}))", "tf.log(2 + tf.cos({a}))", "tf.log1p(tf.abs({a}))",
    "tf.asin(tf.sin({a}) * 0.9)", "tf.acos(tf.tanh({a}))",
    "tf.acosh(1.5 + tf.abs({a}))", "tf.atanh(tf.sin({a}) * 0.75)",
    "tf.math.erfinv(tf.tanh({a}) * 0.5)", "tf.math.ndtri(tf.sigmoid({a}))",
    "tf.math.erfcinv(1 + 0.5 * tf.tanh({a}))", "tf.nn.leaky_relu({a}, alpha=0.25)",
    "tf.nn.gelu({a}, approximate=True)",
    "tf.polygamma(tf.ones_like({a}), 0.5 + tf.abs({a}))",
    "tf.lgamma(0.25 + tf.abs({a}))", "tf.zeta(1.5 + tf.abs({a}), tf.ones_like({a}))",
    "{a} ** 2", "{a} ** 3", "2 ** {a}", "{a} ** -1", "tf.abs({a}) ** 0.5", "1 / {a}",
    "-{a}", "abs({a})", "{a} - 1.5", "2 * {a}", "{a} / 4", "{a} // 0.75", "{a} % 0.75",
    "1 - {a}", "tf.scalar_mul(0.5, {a})", "tf.check_numerics({a}, 'bad')",
    "tf.grad_pass_through(tf.round)({a})",
    "tf.recompute_grad(lambda t: tf.sin(t) * t)({a})", "tf.nn.l2_loss({a})",
    "tf.saturate_cast({a}, {a}.dtype)", "tf.igamma(0.5 + tf.abs({a}), tf.abs({a}))",
    "tf.igammac(1.5, 0.5 + tf.abs({a}))", "tf.tanh({a}) * {a}", "{a} * {a}",
    "{a} + {a}", "{a} - {a}", "{a} / {a}", "tf.maximum({a}, {a})", "tf.maximum({a}, 0)",
    "tf.minimum({a}, 0)", "tf.math.bessel_i0({a})", "tf.math.bessel_i0e({a})",
    "tf.math.bessel_i1({a})", "tf.math.bessel_i1e({a})", "tf.math.special.dawsn({a})",
    "tf.math.special.bessel_j0({a})", "tf.math.special.bessel_j1({a})",
    "tf.math.special.bessel_k0(0.5 + tf.abs({a}))",
    "tf.math.special.bessel_k1e(0.5 + tf.abs({a}))",
    "tf.math.special.bessel_y0(0.5 + tf.abs({a}))",
    "tf.math.special.expint(0.5 + tf.abs({a}))",
    "tf.math.special.fresnel_cos({a})", "tf.math.special.fresnel_sin({a})",
    "tf.math.special.spence(0.5 + tf.abs({a}))",
)  # fmt: skip
TWO = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / {b}", "tf.maximum({a}, {b})",
    "tf.minimum({a}, {b})", "tf.squared_difference({a}, {b})", "tf.atan2({a}, {b})",
    "{a} // {b}", "{a} % {b}", "tf.truncatediv({a}, {b})", "tf.div_no_nan({a}, {b})",
    "tf.math.multiply_no_nan({a}, {b})", "tf.math.xdivy({a}, {b})",
    "tf.math.xlogy({a}, tf.abs({b}))", "tf.math.xlog1py({a}, tf.abs({b}))",
    "tf.pow({a}, {b})", "tf.pow(tf.abs({a}), {b})", "tf.pow({a}, tf.round({b}))",
    "tf.truncatemod({a}, {b})", "tf.div({a}, {b})", "tf.floordiv({a}, {b})",
    "tf.igamma(tf.abs({a}), tf.abs({b}))", "tf.igammac(0.1 + tf.abs({a}), tf.abs({b}))",
    "tf.zeta(1.1 + tf.abs({a}), 0.1 + tf.abs({b}))", "tf.add({a}, {b})",
    "tf.subtract({a}, {b})", "tf.multiply({a}, {b})", "tf.truediv({a}, {b})",
    "tf.realdiv({a}, {b})", "tf.math.nextafter({a}, {b})", "tf.divide({a}, {b})",
    "tf.betainc(1 + tf.abs({a}), 1 + tf.abs({b}), tf.sigmoid({a}))",
    "tf.where({a} > {b}, {a}, {b})", "tf.mod({a}, {b})", "{a} ** {b}",
)  # fmt: skip
CORE = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / {b}", "tf.maximum({a}, {b})",
)  # fmt: skip
COMPLEX_ONE = (
    "tf.abs", "tf.negative", "tf.square", "tf.exp", "tf.sin", "tf.cos", "tf.tanh",
    "tf.sigmoid", "tf.sinh", "tf.cosh", "tf.conj", "tf.real", "tf.imag", "tf.angle",
    "tf.reciprocal", "tf.identity", "tf.sqrt", "tf.log", "tf.log1p", "tf.rsqrt",
    "tf.tan", "tf.math.expm1", "tf.sign", "tf.asinh", "tf.atan", "tf.zeros_like",
    "tf.ones_like", "tf.reduce_sum", "tf.reduce_mean", "tf.reduce_prod",
    "tf.stop_gradient",
)  # fmt: skip
COMPLEX_TWO = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / {b}", "tf.pow({a}, {b})",
    "tf.div_no_nan({a}, {b})", "tf.squared_difference({a}, {b})", "{a} * tf.conj({b})",
    "tf.math.xlogy({a}, {b})", "tf.math.xdivy({a}, {b})", "{a} ** 2",
    "tf.math.multiply_no_nan({a}, {b})",
)  # fmt: skip
INTEGER_ONE = (
    "tf.abs({a})", "-{a}", "tf.square({a})", "{a} + 2", "{a} * 3", "tf.sign({a})",
    "tf.one_hot({a}, 4)", "tf.one_hot({a}, 3, 2.5, -1.5, axis=0)",
    "tf.one_hot({a}, 3, axis=-1, dtype=tf.float64)", "tf.bitwise.invert({a})",
    "tf.reduce_sum({a})", "tf.reduce_max({a}, 0)", "tf.cumsum({a})", "{a} ** 2",
    "tf.reduce_prod({a}, -1)", "{a} / 2", "tf.sequence_mask({a}, 4)", "{a} // 2",
    "{a} % 3", "tf.zeros_like({a})", "tf.ones_like({a})", "tf.reduce_mean({a})",
)  # fmt: skip
INTEGER_TWO = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} // {b}", "{a} % {b}", "{a} / {b}",
    "tf.maximum({a}, {b})", "tf.truncatediv({a}, {b})", "tf.truncatemod({a}, {b})",
    "tf.bitwise.bitwise_and({a}, {b})", "tf.bitwise.bitwise_xor({a}, {b})",
    "tf.bitwise.bitwise_or({a}, {b})", "tf.bitwise.left_shift({a}, tf.abs({b}))",
    "tf.bitwise.right_shift({a}, tf.abs({b}))", "tf.squared_difference({a}, {b})",
)  # fmt: skip
COMPARE = (
    "{a} < {b}", "{a} <= {b}", "{a} > {b}", "{a} >= {b}", "tf.equal({a}, {b})",
    "tf.not_equal({a}, {b})", "tf.math.approximate_equal({a}, {a}, 0.1)",
    "tf.is_nan({a})", "tf.is_finite({a})", "tf.is_inf({b})", "tf.cast({a}, tf.bool)",
)  # fmt: skip
LOGIC = (
    "tf.logical_and({a}, {b})", "tf.logical_or({a}, {b})", "tf.logical_xor({a}, {b})",
    "tf.logical_not({a})", "{a} & {b}", "{a} | {b}", "~{a}", "{a} ^ {b}",
    "tf.reduce_any({a}, 0)", "tf.reduce_all({a}, -1, keepdims=True)",
    "tf.reduce_any({a})", "tf.equal({a}, {b})",
)  # fmt: skip


def _one(d: Drawing) -> str:
    a = d.tensor()
    if d.chance(0.5):
        return f"{d.choose(REAL)}({a})"
    return d.choose(TEMPLATES).format(a=a)


def _two(d: Drawing) -> str:
    a = d.tensor()
    b = d.along(a)
    a, b = (a, b) if d.chance(0.6) else (b, a)
    return d.choose(CORE if d.chance(0.4) else TWO).format(a=a, b=b)


def _complex(d: Drawing) -> str:
    if kind(d.dtype) != "c" and d.chance(0.9):
        raise Skip
    a = d.tensor("c")
    if d.chance(0.5):
        return f"{d.choose(COMPLEX_ONE)}({a})"
    return d.choose(COMPLEX_TWO).format(a=a, b=d.along(a))


def _make_complex(d: Drawing) -> str:
    if d.style == "wild":
        raise Skip
    a = d.tensor(suits=lambda v: v.dtype in ("float32", "float64"))
    return f"tf.complex({a}, {d.like(a)})"


def _integer(d: Drawing) -> str:
    a = d.tensor("i")
    if d.chance(0.5):
        return d.choose(INTEGER_ONE).format(a=a)
    return d.choose(INTEGER_TWO).format(a=a, b=d.along(a))


def _compare(d: Drawing) -> str:
    a = d.tensor(d.choose(["f", "f", "i"]))
    return d.choose(COMPARE).format(a=a, b=d.along(a))


def _logic(d: Drawing) -> str:
    a = d.tensor("b")
    return d.choose(LOGIC).format(a=a, b=d.along(a))


def _cast(d: Drawing) -> str:
    a = d.tensor(d.choose(["f", "f", "i", "b", "c"]))
    targets = [d.some_dtype("f")] * 3 + [*INTEGERS, "bool"]
    if d.chance(0.3):
        targets += FLOATS if d.style == "wild" else [*FLOATS, *COMPLEX]
    target = d.choose(targets)
    if kind(target) == "i" and not _fits(a, target):
        raise Skip
    how = "saturate_cast" if kind(a.dtype) in "fi" and d.chance(0.15) else "cast"
    return f"tf.{how}({a}, tf.{target})"


def _fits(a: Value, dtype: str) -> bool:
    """False where a cast to integers has no defined result."""
    if kind(a.dtype) not in "fc":
        return True
    limits, real = np.iinfo(dtype), np.real(a.array).astype(float)
    return bool(np.all((real > limits.min - 1.0) & (real < limits.max + 1.0)))


def _through_integers(d: Drawing) -> str:
    a = d.tensor(suits=lambda v: _fits(v, "int32"))
    return f"tf.cast(tf.cast({a}, tf.{d.choose(INTEGERS[:2])}), {a}.dtype) * {a}"


def _select(d: Drawing) -> str:
    a = d.tensor()
    b = d.like(a)
    if d.chance(0.4):
        return f"tf.where({a} {d.choose(['<', '>=', '>'])} {b}, {a}, {b})"
    if d.chance(0.5):
        c = d.along(a)
        return f"tf.where_v2({a} > {c}, {a}, {d.along(a)})"
    shape = a.shape if d.chance(0.6) or not a.rank else a.shape[:1]
    c = d.like(d.tensor("b"), shape)
    return f"tf.where({c}, {a}, {b})"


def _clip(d: Drawing) -> str:
    a = d.tensor()
    b = d.like(a) if d.chance(0.5) else d.along(a)
    return d.choose(
        (
            "tf.clip_by_value({a}, -1.0, 1.0)",
            "tf.clip_by_value({a}, {b}, {b} + 1)",
            "tf.clip_by_value({a}, -1.0, tf.abs({b}))",
            "tf.clip_by_norm({a}, 1.5)",
            "tf.clip_by_norm({a}, 0.75, axes=[-1])",
            "tf.clip_by_average_norm({a}, 0.5)",
            "tf.clip_by_global_norm([{a}, {b}], 1.25)[0][1]",
            "tf.global_norm([{a}, {b}])",
        )
    ).format(a=a, b=b)


def _sum_up(d: Drawing) -> str:
    a = d.tensor("fc")
    names = ", ".join(str(d.like(a)) for _ in range(d.below(4, 1)))
    how = d.choose(["add_n", "add_n", "accumulate_n"])
    return f"tf.{how}([{names}, {a}])"


def _cross(d: Drawing) -> str:
    a = d.tensor(least=1, suits=lambda v: v.shape[-1] == 3)
    return f"tf.cross({a}, {d.like(a)})"


ROWS: list[tuple[float, Row]] = [
    (12, _one), (14, _two), (2, _make_complex), (3, _integer), (2, _compare),
    (1.5, _logic), (3, _cast), (1, _through_integers), (4, _select), (3, _clip),
    (2, _sum_up), (0.7, _cross), (16, _complex),
]  # fmt: skip
