"""Rows of control flow and of functions with gradients of their own."""

from __future__ import annotations

from tests.oracle.draw import Drawing, Row, Skip

BRANCH = (
    "{a} * {b}", "{a} + {b}", "tf.sin({a})", "tf.maximum({a}, {b})", "{b} * 2",
)  # fmt: skip
BODY = (
    "t * {b}", "t + {b}", "tf.tanh(t + {b})", "tf.sin(t) * {b}", "t - 0.5 * {b}",
)  # fmt: skip
EACH = (
    "t * 2", "tf.sin(t)", "t * t", "tf.reduce_sum(t)", "t * {s}",
)  # fmt: skip
FOLD = (
    "s + t", "s * t", "tf.sin(s) + t", "s * 0.5 + t * t",
)  # fmt: skip


def _branch(d: Drawing) -> str:
    a = d.tensor(d.choose(["f", "f", "fc"]))
    b = d.like(a)
    test = f"tf.reduce_sum(tf.abs({a})) > {d.choose([0, 1, 4])}"
    if d.chance(0.2):
        test = str(d.tensor("b", most=0))
    one, other = d.choose(BRANCH[:3]), d.choose(BRANCH)
    if "maximum" in other and a.dtype.startswith("complex"):
        raise Skip
    one, other = one.format(a=a, b=b), other.format(a=a, b=b)
    if d.chance(0.2):
        number = f"tf.constant({d.below(3)})"
        return (
            f"tf.switch_case({number}, [lambda: {one}, lambda: {other}, lambda: {a}])"
        )
    if d.chance(0.2):
        return f"tf.case([({test}, lambda: {one})], default=lambda: {other})"
    return f"tf.cond({test}, lambda: {one}, lambda: {other})"


def _loop(d: Drawing) -> tuple[str, int] | str:
    a = d.tensor(d.choose(["f", "f", "fc"]))
    b = d.like(a)
    step = d.choose(BODY).format(b=b)
    if d.chance(0.3):
        return (
            f"tf.while_loop(lambda i, t, u: i < {d.below(4)}, "
            f"lambda i, t, u: (i + 1, {step}, u + t), [0, {a}, {b}])[1:]"
        ), 2
    if d.chance(0.2):
        return (
            f"tf.while_loop(lambda t: tf.reduce_sum(tf.abs(t)) < 20, "
            f"lambda t: 2 * t + 1, [{a}], maximum_iterations=6)"
        )
    return (
        f"tf.while_loop(lambda i, t: i < {d.below(4)}, "
        f"lambda i, t: (i + 1, {step}), [0, {a}])[1]"
    )


def _over_rows(d: Drawing) -> str:
    a = d.tensor(least=1, most=3)
    if not a.shape[0]:
        raise Skip
    s = d.tensor(most=0, suits=lambda v: v.dtype == a.dtype)
    how = d.below(4)
    if how == 0:
        return f"tf.map_fn(lambda t: {d.choose(EACH).format(s=s)}, {a})"
    start = d.like(a, a.shape[1:])
    more = f", initializer={start}" if d.chance(0.6) else ""
    name = ("", "scan", "foldl", "foldr")[how]
    if how == 1 and d.chance(0.3):
        more += ", reverse=True"
    return f"tf.{name}(lambda s, t: {d.choose(FOLD)}, {a}{more})"


def _custom(d: Drawing) -> tuple[str, int] | str:
    a = d.tensor()
    how = d.below(3)
    if how == 0:
        return f"tf.custom_gradient(lambda t: (t * t, lambda g: 3 * g * t))({a})"
    if how == 1:
        b = d.like(a)
        return (
            "tf.custom_gradient(lambda s, t: ([s * t, s - t], "
            f"lambda g, h: (g * t + h, g * s)))({a}, {b})"
        ), 2
    return f"tf.identity_n([{a}, {d.tensor('fib')}])", 2


ROWS: list[tuple[float, Row]] = [
    (2.5, _branch), (2.5, _loop), (1.5, _over_rows), (1.5, _custom),
]  # fmt: skip
