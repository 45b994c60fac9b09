"""The regularised incomplete gamma and beta functions, on NumPy alone.

Factors such as x**a exp(-x) / gamma(a + 1) are computed as C. Loader does for the
binomial distribution ("Fast and accurate computation of binomial probabilities",
2000): no difference of large logarithms. Where a function is not defined, NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import pi
from typing import Final

import numpy as np

from gpugrad.kir.special import Doubles, erfc, in_double, stirling_rest

_EPS: Final = 2.0**-53
_TINY: Final = 1e-300
# A factor this near 1 ends a continued fraction; c and d each carry a few roundings.
_SETTLED: Final = 16 * _EPS
# From this a on, and with x within half of a, the uniform expansion is exact enough.
_UNIFORM_FROM: Final = 200.0
_UNIFORM_ORDERS, _UNIFORM_TERMS = 8, 24


def _deviance(a: Doubles, x: Doubles) -> Doubles:
    """a log(a / x) + x - a, without cancellation where a is near x."""
    direct = a * np.log(a / x) + (x - a)
    ratio = (x - a) / (x + a)
    near = np.abs(ratio) < 0.1
    if near.any():
        v = ratio[near]
        square = v * v
        # log((1 - v) / (1 + v)) as a series in v; v * v < 0.01.
        total, power = np.zeros_like(v), v.copy()
        for k in range(1, 10):
            power = power * square
            total += power / (2 * k + 1)
        direct[near] = (x[near] - a[near]) * v - 2 * a[near] * total
    return direct


def _poisson(a: Doubles, x: Doubles) -> Doubles:
    """x**a exp(-x) / gamma(a + 1)."""
    return np.exp(-stirling_rest(a) - _deviance(a, x)) / np.sqrt(2 * pi * a)


def _iterate(
    step: Callable[[int, list[Doubles]], np.ndarray], state: list[Doubles]
) -> Doubles:
    """Apply ``step`` to each element until it says that the element is done.

    ``step(n, state)`` updates the arrays of ``state`` in place and returns which
    elements are done. The result is ``state[0]``.
    """
    result = state[0].copy()
    left = np.arange(result.size)
    n = 0
    while left.size:
        n += 1
        done = step(n, state)
        if done.any():
            result[left[done]] = state[0][done]
            keep = ~done
            left = left[keep]
            state = [s[keep] for s in state]
    return result


def _gamma_series(a: Doubles, x: Doubles) -> Doubles:
    """P(a, x) by its power series, DLMF 8.7.1: good for x < a + 1."""

    def step(n: int, state: list[Doubles]) -> np.ndarray:
        total, term, a, x = state
        term *= x / (a + n)
        total += term
        return ~(term > total * _EPS)

    total = _iterate(step, [np.ones_like(a), np.ones_like(a), a, x])
    return total * _poisson(a, x)


def _gamma_fraction(a: Doubles, x: Doubles) -> Doubles:
    """Q(a, x) by its continued fraction, DLMF 8.9.2: good for x > a + 1.

    Evaluated forwards by Lentz's method (modified by Thompson and Barnett).
    """

    def step(n: int, state: list[Doubles]) -> np.ndarray:
        value, b, c, d, a = state
        numerator = n * (a - n)
        b += 2
        d[...] = 1 / _not_zero(numerator * d + b)
        c[...] = _not_zero(b + numerator / c)
        factor = c * d
        value *= factor
        return ~(np.abs(factor - 1) > _SETTLED)

    b = x + 1 - a
    d = 1 / _not_zero(b)
    value = _iterate(step, [d.copy(), b, np.full_like(x, 1 / _TINY), d, a])
    return value * a * _poisson(a, x)


def _not_zero(x: Doubles) -> Doubles:
    return np.where(np.abs(x) < _TINY, _TINY, x)


@cache
def _uniform_coefficients() -> tuple[tuple[float, ...], ...]:
    """The coefficients of eta**n in c_k(eta) of DLMF 8.12.10, by exact recurrence.

    mu(eta) with eta**2 / 2 = mu - log(1 + mu) satisfies eta (1 + mu) = mu mu';
    c_0 = 1 / mu - 1 / eta, and c_k follows from c_(k-1) with the pole at 0 removed.
    """
    from fractions import Fraction  # which imports half of the numeric library

    count = _UNIFORM_TERMS + 2 * _UNIFORM_ORDERS
    mu = [Fraction(0), Fraction(1)]
    for m in range(2, count + 3):
        crossed = sum((m + 1 - i) * mu[i] * mu[m + 1 - i] for i in range(2, m))
        mu.append((mu[m - 1] - crossed) / (m + 1))
    inverse = [Fraction(1)]  # eta / mu
    for n in range(1, count + 2):
        crossed = sum(mu[k + 1] * inverse[n - k] for k in range(1, n + 1))
        inverse.append(Fraction(-crossed))
    first = inverse[1:]
    rows = [first]
    for _ in range(1, _UNIFORM_ORDERS):
        last = rows[-1]
        rows.append(
            [(n + 2) * last[n + 2] - last[1] * first[n] for n in range(len(last) - 2)]
        )
    return tuple(tuple(float(v) for v in row[:_UNIFORM_TERMS]) for row in rows)


def _gamma_uniform(a: Doubles, x: Doubles, upper: bool) -> Doubles:
    """P or Q for large a and x near a: N. M. Temme's expansion, DLMF 8.12.3-4."""
    deviance = np.maximum(_deviance(a, x), 0)
    sign = np.where(x < a, -1.0, 1.0)
    eta = sign * np.sqrt(2 * deviance / a)
    total = np.zeros_like(a)
    for row in reversed(_uniform_coefficients()):
        order = np.zeros_like(a)
        for coefficient in reversed(row):
            order = order * eta + coefficient
        total = total / a + order
    rest = np.exp(-deviance) / np.sqrt(2 * pi * a) * total
    if upper:
        return 0.5 * erfc(sign * np.sqrt(deviance)) + rest
    return 0.5 * erfc(-sign * np.sqrt(deviance)) - rest


def _incomplete_gamma(a: Doubles, x: Doubles, upper: bool) -> Doubles:
    result = np.full_like(a, np.nan)
    finite = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    uniform = finite & (a > _UNIFORM_FROM) & (np.abs(x - a) < 0.5 * a)
    fraction = finite & ~uniform & (x > a) & (x > 1)
    series = finite & ~uniform & ~fraction
    result[uniform] = _gamma_uniform(a[uniform], x[uniform], upper)
    value = _gamma_fraction(a[fraction], x[fraction])
    result[fraction] = value if upper else 1 - value
    value = _gamma_series(a[series], x[series])
    result[series] = 1 - value if upper else value
    result[(a > 0) & np.isposinf(x) & ~np.isposinf(a)] = 0.0 if upper else 1.0
    result[(a > 0) & ((x == 0) | (np.isposinf(a) & np.isfinite(x) & (x > 0)))] = (
        1.0 if upper else 0.0
    )
    return result


@in_double
def igamma(a: Doubles, x: Doubles) -> Doubles:
    """P(a, x), the regularised lower incomplete gamma function, for a > 0, x >= 0."""
    return _incomplete_gamma(a, x, upper=False)


@in_double
def igammac(a: Doubles, x: Doubles) -> Doubles:
    """Q(a, x) = 1 - P(a, x), accurate where that is small, for a > 0, x >= 0."""
    return _incomplete_gamma(a, x, upper=True)


# --- beta -----------------------------------------------------------------------------


def _beta_factor(a: Doubles, b: Doubles, x: Doubles, y: Doubles) -> Doubles:
    """x**a y**b / B(a, b), where y = 1 - x."""
    both = a + b
    rest = stirling_rest(both) - stirling_rest(a) - stirling_rest(b)
    deviance = _deviance(a, both * x) + _deviance(b, both * y)
    return np.exp(rest - deviance) * np.sqrt(a / both * b / (2 * pi))


def _beta_fraction(a: Doubles, b: Doubles, x: Doubles, y: Doubles) -> Doubles:
    """I_x(a, b) by the continued fraction of DLMF 8.17.22, for x < (a+1)/(a+b+2)."""

    def step(n: int, state: list[Doubles]) -> np.ndarray:
        value, c, d, a, b, x = state
        even = n * (b - n) * x / ((a + 2 * n - 1) * (a + 2 * n))
        odd = -(a + n) * (a + b + n) * x / ((a + 2 * n) * (a + 2 * n + 1))
        for numerator in (even, odd):
            d[...] = 1 / _not_zero(1 + numerator * d)
            c[...] = _not_zero(1 + numerator / c)
            factor = c * d
            value *= factor
        return ~(np.abs(factor - 1) > _SETTLED)

    d = 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = _iterate(step, [d.copy(), np.ones_like(a), d, a, b, x])
    return value * _beta_factor(a, b, x, y) / a


@in_double
def betainc(a: Doubles, b: Doubles, x: Doubles) -> Doubles:
    """I_x(a, b), the regularised incomplete beta function: a, b > 0, 0 <= x <= 1."""
    result = np.full_like(a, np.nan)
    valid = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
    inside = valid & (x > 0) & (x < 1)
    lower = inside & (x * (a + b + 2) < a + 1)
    upper = inside & ~lower
    result[lower] = _beta_fraction(a[lower], b[lower], x[lower], 1 - x[lower])
    result[upper] = 1 - _beta_fraction(b[upper], a[upper], 1 - x[upper], x[upper])
    result[valid & (x == 0)] = 0.0
    result[valid & (x == 1)] = 1.0
    return result
