"""Gradient checks driven by rows: float64, random directions, first and second order.

The tolerance follows from the step: central differences of step EPS err by about
EPS**2 in truncation and 1e-16 / EPS in rounding, both relative to the size of what is
differenced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpugrad.compat.v1 as tf

EPS = 1e-5
RTOL = 1e-6

Range = tuple[tuple[int, ...], float, float]


@dataclass(frozen=True)
class Case:
    """A function of differentiable inputs whose graph contains an op of type ``op``.

    ``inputs``: (shape, low, high) for each; ranges stay off kinks and poles.
    ``order``:  2 checks the derivative of the first derivative as well.
    ``dtype``:  float64, or complex128 (real and imaginary parts drawn alike).
    """

    op: str
    build: Callable[..., Any]
    inputs: Sequence[Range]
    order: int = 2
    dtype: str = "float64"
    label: str = ""

    @property
    def name(self) -> str:
        """The id of the row."""
        return f"{self.op}-{self.label}" if self.label else self.op


def draw(case: Case, seed: int) -> list[np.ndarray]:
    """The point at which the derivatives are taken."""
    rng = np.random.default_rng(seed)
    values = []
    for shape, low, high in case.inputs:
        value = rng.uniform(low, high, shape)
        if case.dtype == "complex128":
            value = value + 1j * rng.uniform(low, high, shape)
        values.append(np.asarray(value, case.dtype))
    return values


def directions(values: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """A random direction, one array an input."""
    rng = np.random.default_rng(seed)
    out = []
    for value in values:
        step = rng.standard_normal(value.shape)
        if value.dtype.kind == "c":
            step = step + 1j * rng.standard_normal(value.shape)
        out.append(step)
    return out


def _weighted(ys: list[Any], seed: int) -> Any:
    """A real scalar of everything in ``ys``: sum of weight * y, real part."""
    total = None
    rng = np.random.default_rng(seed)
    for y in ys:
        shape = y.shape.as_list()
        weight = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
        if y.dtype.is_complex:
            weight = weight + 1j * rng.uniform(-1.0, 1.0, shape)
            term = tf.reduce_sum(tf.real(tf.constant(weight) * y))
        else:
            term = tf.reduce_sum(tf.constant(weight, y.dtype) * y)
        total = term if total is None else total + term
    return total


def slopes(case: Case, seed: int = 7, order: int = 1) -> tuple[float, float, float]:
    """(analytic, numeric, scale): the slope along one random direction."""
    values = draw(case, seed)
    direction = directions(values, seed + 1)
    graph = tf.Graph()
    with graph.as_default():
        xs = [tf.placeholder(v.dtype, v.shape) for v in values]
        y = case.build(*xs)
        ys = list(y) if isinstance(y, (list, tuple)) else [y]
        ys = [t for t in ys if t.dtype.is_floating or t.dtype.is_complex]
        scalar = _weighted(ys, seed + 2)
        if order == 2:
            first = tf.gradients(scalar, xs)
            scalar = _weighted(
                [tf.convert_to_tensor(g) for g in first if g is not None], seed + 3
            )
        grads = [
            None if g is None else tf.convert_to_tensor(g)
            for g in tf.gradients(scalar, xs)
        ]
    with tf.Session(graph=graph) as session:
        known = [g for g in grads if g is not None]
        got = iter(session.run(known, dict(zip(xs, values))))
        analytic = 0.0
        for grad, step in zip(grads, direction):
            if grad is not None:
                analytic += float(np.real(np.sum(np.conj(next(got)) * step)))

        def at(t: float) -> float:
            moved = [v + t * d for v, d in zip(values, direction)]
            return float(session.run(scalar, dict(zip(xs, moved))))

        numeric = (at(EPS) - at(-EPS)) / (2 * EPS)
        scale = max(abs(analytic), abs(numeric), 1e-3 * abs(at(0.0)), 1e-3)
    return analytic, numeric, scale


def agree(case: Case, order: int, seed: int = 7) -> bool:
    """True when analytic and numeric slopes agree to RTOL."""
    analytic, numeric, scale = slopes(case, seed, order)
    return abs(analytic - numeric) <= RTOL * scale
