"""gradients() of random programs against finite differences, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpugrad.compat.v1 as tf

EPS = 1e-5  # truncation about EPS**2, rounding about 1e-16 / EPS; both below RTOL
RTOL = 1e-6

UNARY = [
    tf.tanh,
    tf.sin,
    tf.square,
    lambda t: tf.exp(t * 0.5),
    lambda t: t - tf.reduce_mean(t),
    lambda t: -t,
    lambda t: tf.cast(tf.floor(t * 0.0), tf.float64) + t,
]
BINARY = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (2.0 + tf.square(b)),
]
SHAPES = [(2, 3), (3,), (2, 1), ()]


@st.composite
def programs(draw):
    """Inputs' shapes, then steps: (which function, which earlier values)."""
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    steps = []
    for count in range(len(shapes), len(shapes) + draw(st.integers(1, 12))):
        pick = st.integers(0, count - 1)
        if draw(st.booleans()):
            steps.append((draw(st.integers(0, len(UNARY) - 1)), draw(pick)))
        else:
            steps.append(
                (draw(st.integers(0, len(BINARY) - 1)), draw(pick), draw(pick))
            )
    return shapes, steps, draw(st.booleans()), draw(st.integers(0, 2**31))


def build(shapes, steps, static):
    xs = [tf.placeholder(tf.float64, s if static else None) for s in shapes]
    values = list(xs)
    for number, *operands in steps:
        table = UNARY if len(operands) == 1 else BINARY
        values.append(table[number](*(values[i] for i in operands)))
    return xs, [tf.tanh(values[-1]), values[len(values) // 2] * 0.1]


@settings(max_examples=60, deadline=None)
@given(programs())
@pytest.mark.parametrize("gated", [False, True])
def test_random_programs(gated, program) -> None:
    shapes, steps, static, seed = program
    rng = np.random.default_rng(seed)
    point = [rng.uniform(-1.0, 1.0, s) for s in shapes]
    direction = [rng.standard_normal(s) for s in shapes]
    with tf.Graph().as_default(), tf.Session() as session:
        xs, ys = build(shapes, steps, static)
        total = tf.add_n([tf.reduce_sum(y) for y in ys])
        how = {"gate_gradients": gated, "unconnected_gradients": "zero"}
        gradients = tf.gradients(ys, xs, **how)

        def at(step):
            moved = [p + step * d for p, d in zip(point, direction)]
            return session.run(total, dict(zip(xs, moved)))

        got = session.run(gradients, dict(zip(xs, point)))
        numeric = (at(EPS) - at(-EPS)) / (2 * EPS)
    analytic = sum(np.sum(g * d) for g, d in zip(got, direction))
    assert [g.shape for g in got] == shapes
    assert analytic == pytest.approx(numeric, rel=RTOL, abs=RTOL)
