"""Special functions of real numbers, on NumPy alone.

All are computed in float64 and returned in the type of the first argument; arguments
broadcast. Where a function is not defined the result is NaN, as in TensorFlow.
The incomplete gamma and beta functions are in gpugrad.kir.incomplete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, wraps
from math import comb, factorial, log, pi, sqrt
from typing import Any, Final

import numpy as np

Doubles = np.ndarray[Any, np.dtype[np.float64]]

_HALF_LOG_TAU: Final = 0.5 * log(2 * pi)


def in_double(function: Callable[..., Doubles]) -> Callable[..., np.ndarray]:
    """Let ``function`` of flat float64 arrays take any shapes and float types."""

    @wraps(function)
    def broadcasting(*args: Any) -> np.ndarray:
        dtype = np.asarray(args[0]).dtype
        arrays = np.broadcast_arrays(*[np.asarray(a).astype(np.float64) for a in args])
        with np.errstate(all="ignore"):
            result = function(*[a.reshape(-1) for a in arrays])
            return result.reshape(arrays[0].shape).astype(dtype)

    return broadcasting


def _horner(coefficients: Sequence[float], x: Doubles) -> Doubles:
    """The polynomial with these coefficients, the highest power first."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += coefficient
    return total


# --- the error function ---------------------------------------------------------------
# Rational approximations: W. J. Cody, Math. Comp. 23 (1969), 631-637.

_ERF_NEAR = 0.46875
_ERF_MIDDLE = 4.0
_ERFC_ZERO = 27.3  # erfc is below the least float64 from here on
_NEAR_OVER: Final = (
    1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
    3.77485237685302021e2, 3.20937758913846947e3,
)  # fmt: skip
_NEAR_UNDER: Final = (
    1.0, 2.36012909523441209e1, 2.44024637934444173e2,
    1.28261652607737228e3, 2.84423683343917062e3,
)  # fmt: skip
_MIDDLE_OVER: Final = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
    6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
    1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
)  # fmt: skip
_MIDDLE_UNDER: Final = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
    1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
    3.43936767414372164e3, 1.23033935480374942e3,
)  # fmt: skip
_FAR_OVER: Final = (
    1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
    1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4,
)  # fmt: skip
_FAR_UNDER: Final = (
    1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1,
    6.05183413124413191e-2, 2.33520497626869185e-3,
)  # fmt: skip


def _erf_near(x: Doubles) -> Doubles:
    square = x * x
    return x * _horner(_NEAR_OVER, square) / _horner(_NEAR_UNDER, square)


def _erfc_beyond(y: Doubles) -> Doubles:
    """erfc(y) for y > _ERF_NEAR."""
    # exp(-y*y) with y*y exact where it is large: y = coarse + the rest.
    coarse = np.floor(y * 16) / 16
    scale = np.exp(-coarse * coarse) * np.exp(-(y - coarse) * (y + coarse))
    result = _horner(_MIDDLE_OVER, y) / _horner(_MIDDLE_UNDER, y)
    far = y > _ERF_MIDDLE
    if far.any():
        z = y[far]
        inverse = 1 / (z * z)
        tail = inverse * _horner(_FAR_OVER, inverse) / _horner(_FAR_UNDER, inverse)
        result[far] = (1 / sqrt(pi) - tail) / z
    return np.where(y > _ERFC_ZERO, 0.0, result * scale)


@in_double
def erf(x: Doubles) -> Doubles:
    """The error function."""
    result = np.empty_like(x)
    near = np.abs(x) <= _ERF_NEAR
    result[near] = _erf_near(x[near])
    rest = x[~near]
    result[~near] = np.copysign(1 - _erfc_beyond(np.abs(rest)), rest)
    return result


@in_double
def erfc(x: Doubles) -> Doubles:
    """1 - erf(x), accurate where that is small."""
    result = np.empty_like(x)
    near = np.abs(x) <= _ERF_NEAR
    result[near] = 1 - _erf_near(x[near])
    rest = x[~near]
    beyond = _erfc_beyond(np.abs(rest))
    result[~near] = np.where(rest < 0, 2 - beyond, beyond)
    return result


# In float32, by polynomials that are good for its digits: erf(x) / x - 1 in x**2 for
# x <= 1, log(erfc(x)) for x in 1 .. 4, and (1 + 2 x) exp(x**2) erfc(x) in
# (x - 2) / (x + 2) for x > 1/2, all interpolated at Chebyshev's points.
ERF_LIMIT: Final = 4.0  # erf is 1 from here on
_ERFC_LIMIT: Final = 11.0  # erfc is 0
ERF_RATIO: Final = tuple(map(np.float32, (
    -9.673590811750782e-06, 0.00011268253894199437, -0.0008484396550601893,
    0.005221053412537675, -0.026865438310515116, 0.11283782622062184,
    -0.3761263847599132, 0.1283791670623609,
)))  # fmt: skip
ERFC_LOGARITHM: Final = tuple(map(np.float32, (
    1.6140616099191242e-06, -4.559062258660102e-05, 0.0005927695390646387,
    -0.0047402223476846524, 0.026364717380902507, -0.10997824516070313,
    -0.6319370936311774, -1.1301666755313795, 0.0003032129758544223,
)))  # fmt: skip
_ERFC_SCALED: Final = tuple(map(np.float32, (
    0.00023313776859434, -0.0003212981109376166, -0.0014842022167225947,
    0.001223619832732627, 0.00873157752274848, -0.008026230118218272,
    -0.0542211428769721, 0.16405074951537016, -0.16603034791186255,
    -0.09276381627766266, 1.276978381216762,
)))  # fmt: skip

Singles = np.ndarray[Any, np.dtype[np.float32]]


def in_single(function: Callable[[Singles], Singles]) -> Callable[..., np.ndarray]:
    """Let ``function`` of flat float32 arrays take any shape and the half types."""

    @wraps(function)
    def narrow(x: Any) -> np.ndarray:
        x = np.asarray(x)
        with np.errstate(all="ignore"):
            result = function(x.astype(np.float32, copy=False).reshape(-1))
        return result.reshape(x.shape).astype(x.dtype, copy=False)

    return narrow


def _horner32(coefficients: Sequence[Any], x: Singles) -> Singles:
    total = np.multiply(x, coefficients[0])
    total += coefficients[1]
    for coefficient in coefficients[2:]:
        total *= x
        total += coefficient
    return np.asarray(total)


def _erf32_near(x: Singles, square: Singles) -> Singles:
    value = _horner32(ERF_RATIO, square)
    value *= x
    value += x
    return value


@in_single
def erf32(x: Singles) -> Singles:
    """The error function within 2 units of float32's last place."""
    size = np.minimum(np.abs(x), np.float32(ERF_LIMIT))
    near = np.less_equal(size, 1)
    far = np.asarray(np.exp(_horner32(ERFC_LOGARITHM, size)))
    np.subtract(1, far, out=far)
    np.copysign(far, x, out=far)
    np.multiply(size, size, out=size)
    np.copyto(far, _erf32_near(x, size), where=near)
    return far


@in_single
def erfc32(x: Singles) -> Singles:
    """1 - erf(x) within 6 units of float32's last place, also where it is small."""
    size = np.minimum(np.abs(x), np.float32(_ERFC_LIMIT))
    square = size * size
    near = _erf32_near(x, square)
    np.subtract(1, near, out=near)
    # What rounding took from the square: 12 bits of size have an exact one.
    scaled = size * np.float32(4097)
    coarse = scaled - (scaled - size)
    lost = coarse * coarse - square + (size - coarse) * (size + coarse)
    value = _horner32(_ERFC_SCALED, (size - 2) / (size + 2))
    value /= 1 + size + size
    value *= np.exp(-square)
    value *= 1 - lost
    np.subtract(2, value, out=value, where=np.less(x, 0))
    return np.where(size <= 0.5, near, value)


# The normal quantile function: M. J. Wichura, Algorithm AS 241, Applied Statistics 37
# (1988), 477-484. Its argument p is (x + 1) / 2, its result sqrt(2) erfinv(x).
_QUANTILE_CENTRE: Final = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853,
     45921.953931549871457, 13731.693765509461125, 1971.5909503065514427,
     133.14166789178437745, 3.3871328727963666080),
    (5226.4952788528545610, 28729.085735721942674, 39307.895800092710610,
     21213.794301586595867, 5394.1960214247511077, 687.18700749205790830,
     42.313330701600911252, 1.0),
)  # fmt: skip
_QUANTILE_TAIL: Final = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258, 3.64784832476320460504, 5.76949722146069140550,
     4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940,
     2.05319162663775882187, 1.0),
)  # fmt: skip
_QUANTILE_FAR: Final = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580,
     5.46378491116411436990, 6.65790464350110377720),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
     5.99832206555887937690e-1, 1.0),
)  # fmt: skip


def _ratio(table: tuple[Sequence[float], Sequence[float]], x: Doubles) -> Doubles:
    return _horner(table[0], x) / _horner(table[1], x)


@in_double
def erfinv(x: Doubles) -> Doubles:
    """The inverse of erf: infinite at -1 and 1, NaN beyond."""
    half = 0.5 * x
    result = half * _ratio(_QUANTILE_CENTRE, 0.180625 - half * half)
    outer = np.abs(half) > 0.425
    if outer.any():
        sign = np.sign(x[outer])
        root = np.sqrt(-np.log(0.5 * (1 - np.abs(x[outer]))))
        tail = np.where(
            root <= 5.0,
            _ratio(_QUANTILE_TAIL, root - 1.6),
            _ratio(_QUANTILE_FAR, root - 5.0),
        )
        result[outer] = sign * np.where(np.isinf(root), root, tail)
    return result * sqrt(0.5)


# --- the gamma function ---------------------------------------------------------------
# Stirling's series for large arguments, recurrence towards it, Taylor's series around
# 2 and reflection: M. Abramowitz, I. Stegun, Handbook of Mathematical Functions,
# sections 6.1 and 6.3; NIST Digital Library of Mathematical Functions, chapter 5.

_LARGE: Final = 13.0
# The zero of digamma, as the sum of two float64 numbers.
_DIGAMMA_ROOT: Final = (1.4616321449683622, 9.549995429965697e-17)


@cache
def _bernoulli(count: int) -> tuple[float, ...]:
    """B2, B4, ...: ``count`` Bernoulli numbers of even index."""
    from fractions import Fraction  # which imports half of the numeric library

    numbers = [Fraction(1)]
    for n in range(1, 2 * count + 1):
        total = sum((comb(n + 1, k) * numbers[k] for k in range(n)), Fraction(0))
        numbers.append(-total / (n + 1))
    return tuple(float(numbers[2 * k]) for k in range(1, count + 1))


@cache
def _stirling_coefficients() -> tuple[float, ...]:
    numbers = _bernoulli(10)
    terms = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(numbers, 1)]
    return tuple(reversed(terms))


@cache
def _lgamma_coefficients() -> tuple[float, ...]:
    """Taylor's series of lgamma(2 + z) / z, the highest power first."""
    orders = np.arange(2.0, 30.0)
    tail = _hurwitz(orders, np.full_like(orders, 2.0)) / orders * (-1) ** orders
    return (*tail[::-1].tolist(), 1 - np.euler_gamma)


def stirling_rest(x: Doubles) -> Doubles:
    """What lgamma(x) is above (x - 1/2) log x - x + log(2 pi) / 2, for x > 0."""
    large = np.maximum(x, _LARGE)
    result = _horner(_stirling_coefficients(), 1 / (large * large)) / large
    small = x < _LARGE
    if small.any():
        z = x[small]
        main = (z - 0.5) * np.log(z) - z + _HALF_LOG_TAU
        result[small] = _lgamma_positive(z) - main
    return result


def _lgamma_positive(x: Doubles) -> Doubles:
    """lgamma(x) for x > 0."""
    result = (x - 0.5) * (np.log(x) - 1) - 0.5 + _HALF_LOG_TAU
    large = x >= _LARGE
    result[large] += stirling_rest(x[large])
    small = x < _LARGE
    if small.any():
        z = x[small]
        product = np.ones_like(z)
        # Down to 1.5 .. 2.5 by lgamma(z) = log(z - 1) + lgamma(z - 1), all exact.
        while (step := z > 2.5).any():
            z = np.where(step, z - 1, z)
            product *= np.where(step, z, 1.0)
        below = z < 0.5  # and up by lgamma(z) = lgamma(z + 1) - log(z), once or twice
        under_two = z < 1.5
        offset = np.where(below, z, np.where(under_two, z - 1, z - 2))
        value = offset * _horner(_lgamma_coefficients(), offset)
        value -= np.where(under_two, np.log1p(offset), 0.0)
        value += np.log(product) - np.where(below, np.log(z), 0.0)
        result[small] = value
    return result


@in_double
def lgamma(x: Doubles) -> Doubles:
    """log |gamma(x)|: infinite at 0 and the negative integers, and at -inf."""
    result = np.full_like(x, np.inf)
    positive = x > 0
    result[positive] = _lgamma_positive(x[positive])
    negative = x < 0
    if negative.any():
        z = x[negative]
        sine = np.abs(np.sin(pi * (z - np.rint(z))))
        reflected = log(pi) - np.log(sine) - np.log(-z) - _lgamma_positive(-z)
        result[negative] = np.where(sine == 0, np.inf, reflected)
    result[np.isneginf(x)] = np.inf
    result[np.isnan(x)] = np.nan
    return result


@cache
def _digamma_coefficients() -> tuple[float, ...]:
    """Taylor's series of digamma around its zero, over the distance to it."""
    orders = np.arange(2.0, 27.0)
    series = _hurwitz(orders, np.full_like(orders, _DIGAMMA_ROOT[0])) * (-1) ** orders
    return tuple(series[::-1].tolist())


def _digamma_positive(x: Doubles) -> Doubles:
    result = np.zeros_like(x)
    z = x.copy()
    while (step := z < _LARGE).any():
        result -= np.where(step, 1 / z, 0.0)
        z = np.where(step, z + 1, z)
    inverse = 1 / (z * z)
    terms = [b / (2 * k) for k, b in enumerate(_bernoulli(10), 1)]
    series = inverse * _horner(terms[::-1], inverse)
    result += np.log(z) - 0.5 / z - series
    near = np.abs(x - _DIGAMMA_ROOT[0]) < 0.3
    if near.any():
        distance = (x[near] - _DIGAMMA_ROOT[0]) - _DIGAMMA_ROOT[1]
        result[near] = distance * _horner(_digamma_coefficients(), distance)
    return result


def _digamma(x: Doubles) -> Doubles:
    result = np.full_like(x, np.nan)
    positive = x > 0
    result[positive] = _digamma_positive(x[positive])
    negative = (x < 0) & (x != np.floor(x))
    if negative.any():
        z = x[negative]
        cotangent = pi / np.tan(pi * (z - np.rint(z)))
        result[negative] = _digamma_positive(-z) - 1 / z - cotangent
    return result


@in_double
def digamma(x: Doubles) -> Doubles:
    """The derivative of lgamma: NaN at 0 and at the negative integers."""
    return _digamma(x)


# --- zeta and polygamma ---------------------------------------------------------------


@cache
def _tail_coefficients() -> tuple[float, ...]:
    """B2k / (2k)!, for Euler and Maclaurin's sum."""
    numbers = _bernoulli(14)
    return tuple(b / factorial(2 * k) for k, b in enumerate(numbers, 1))


def _hurwitz(x: Doubles, q: Doubles) -> Doubles:
    """The sum of (q + k) ** -x over k >= 0 for q > 0, x > 1: DLMF 25.11.5.

    Ten terms one by one, then Euler and Maclaurin's formula for the rest.
    """
    total = np.zeros_like(x)
    for k in range(10):
        total += (q + k) ** -x
    end = q + 10
    power = end**-x
    total += power * (end / (x - 1) + 0.5)
    term = power * x / end
    for k, coefficient in enumerate(_tail_coefficients()):
        total += coefficient * term
        # The product of powers may underflow or overflow where the sum is settled.
        term *= ((x + 2 * k + 1) / end) * ((x + 2 * k + 2) / end)
    return total


def _zeta(x: Doubles, q: Doubles) -> Doubles:
    result = np.full_like(x, np.nan)
    regular = (x > 1) & (q > 0) & np.isfinite(x) & np.isfinite(q)
    result[regular] = _hurwitz(x[regular], q[regular])
    result[(x > 1) & (q == np.inf)] = 0
    # Of the powers -inf of q, q + 1, ... the one of a number below 1 is infinite.
    endless = np.isposinf(x) & np.isfinite(q)
    result[endless] = np.select([q[endless] > 1, q[endless] == 1], [0.0, 1.0], np.inf)
    whole = (x > 1) & (x == np.floor(x))
    result[whole & (x % 2 == 0) & (q <= 0) & (q == np.floor(q))] = np.inf
    left = whole & np.isfinite(x) & (q < 0) & (q != np.floor(q))
    if left.any():
        s, distance = x[left], -np.floor(q[left])
        start = q[left] + distance  # in (0, 1)
        # (q + k) ** -s summed over all whole k is a sum from each side of 0; what
        # lies before q is taken off.
        mirrored = _hurwitz(s, 1 - start) - _hurwitz(s, 1 - start + distance)
        sign = np.where(s % 2 == 0, 1.0, -1.0)
        result[left] = _hurwitz(s, start) + sign * mirrored
    result[x == 1] = np.inf
    result[np.isnan(x) | np.isnan(q)] = np.nan
    return result


@in_double
def zeta(x: Doubles, q: Doubles) -> Doubles:
    """Hurwitz's zeta function, the sum of (q + k) ** -x over k >= 0.

    Infinite at x = 1 and, for even x, at the poles q = 0, -1, ... and at -inf; NaN for
    x < 1, at the poles of odd x, and where q is negative and x is not whole. 0 where q
    is infinite, and where x is and q > 1.
    """
    return _zeta(x, q)


@in_double
def polygamma(n: Doubles, x: Doubles) -> Doubles:
    """Derivative number n of digamma: NaN unless n is a whole number from 0."""
    result = np.full_like(x, np.nan)
    zeroth = n == 0
    result[zeroth] = _digamma(x[zeroth])
    higher = (n > 0) & (n == np.floor(n)) & np.isfinite(n)
    order, at = n[higher], x[higher]
    factor = np.exp(_lgamma_positive(order + 1))
    small = order <= 20
    factor[small] = [float(factorial(int(k))) for k in order[small]]
    sign = np.where(order % 2 == 0, -1.0, 1.0)
    result[higher] = sign * factor * _zeta(order + 1, at)
    return result
