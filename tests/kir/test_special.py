"""Special functions: known constants, exact sums, and SciPy where there is one."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from math import asin, comb, exp, log, pi, sqrt
from typing import Any

import numpy as np
import pytest
from scipy import special

from gpugrad.kir.incomplete import betainc, igamma, igammac
from gpugrad.kir.special import (
    digamma,
    erf,
    erf32,
    erfc,
    erfc32,
    erfinv,
    lgamma,
    polygamma,
    zeta,
)

INF, NAN = np.inf, np.nan
APERY = 1.2020569031595942854
EULER = 0.57721566490153286061

KNOWN: list[tuple[Callable[..., Any], tuple[float, ...], float]] = [
    (erf, (1.0,), 0.84270079294971486934),
    (erf, (0.25,), 0.27632639016823693828),
    (erf, (-3.0,), -0.99997790950300141456),
    (erfc, (0.25,), 0.72367360983176306172),
    (erfc, (5.0,), 1.5374597944280348502e-12),
    (erfc, (10.0,), 2.0884875837625447570e-45),
    (erfc, (-1.0,), 1.84270079294971486934),
    (erfinv, (0.5,), 0.47693627620446987338),
    (erfinv, (-0.5,), -0.47693627620446987338),
    (erfinv, (1e-30,), 1e-30 * sqrt(pi) / 2),
    (lgamma, (0.5,), log(pi) / 2),
    (lgamma, (-0.5,), 1.2655121234846454965),
    (lgamma, (100.0,), 359.13420536957539878),
    (lgamma, (1e-20,), 46.051701859880913680),
    # Next to the zeros the value is the distance times the slope.
    (lgamma, (1 + 2**-40,), -EULER * 2**-40 + pi**2 / 12 * 2**-80),
    (lgamma, (2 + 2**-40,), (1 - EULER) * 2**-40 + (pi**2 / 12 - 0.5) * 2**-80),
    (digamma, (1.0,), -EULER),
    (digamma, (0.5,), -EULER - 2 * log(2)),
    (digamma, (-1.5,), 0.70315664064524318723),
    (digamma, (10.0,), 2.2517525890667211077),
    (zeta, (2.0, 1.0), pi**2 / 6),
    (zeta, (3.0, 1.0), APERY),
    (zeta, (4.0, 0.5), pi**4 / 6),
    (zeta, (2.0, -0.5), pi**2 / 2 + 4),
    (zeta, (3.0, -1.5), 7 * APERY - 8 - 8 / 27),
    (polygamma, (0.0, 1.0), -EULER),
    (polygamma, (1.0, 1.0), pi**2 / 6),
    (polygamma, (2.0, 1.0), -2 * APERY),
    (polygamma, (3.0, 0.5), pi**4),
    (igamma, (1.0, 2.0), 1 - exp(-2)),
    (igamma, (0.5, 1.0), 0.84270079294971486934),
    (igammac, (3.0, 2.0), 5 * exp(-2)),
    (igammac, (0.5, 25.0), 1.5374597944280348502e-12),
    (betainc, (2.0, 3.0, 0.5), 11 / 16),
    (betainc, (0.5, 0.5, 0.25), 2 / pi * asin(0.5)),
    (betainc, (3.5, 1.0, 0.25), 0.25**3.5),
]


@pytest.mark.parametrize(
    ("function", "args", "value"), KNOWN, ids=lambda v: getattr(v, "__name__", str(v))
)
def test_known_values(
    function: Callable[..., Any], args: tuple[float, ...], value: float
) -> None:
    assert function(*args) == pytest.approx(value, rel=4e-15, abs=0)


def test_the_check_can_fail() -> None:
    assert erf(1.0) != pytest.approx(
        0.84270079294971486934 * (1 + 1e-14), rel=4e-15, abs=0
    )


EDGES: list[tuple[Callable[..., Any], tuple[float, ...], float]] = [
    (erf, (INF,), 1.0),
    (erf, (-INF,), -1.0),
    (erf, (NAN,), NAN),
    (erfc, (INF,), 0.0),
    (erfc, (-INF,), 2.0),
    (erfc, (30.0,), 0.0),
    (erfinv, (1.0,), INF),
    (erfinv, (-1.0,), -INF),
    (erfinv, (1.5,), NAN),
    (erfinv, (NAN,), NAN),
    (lgamma, (0.0,), INF),
    (lgamma, (-1.0,), INF),
    (lgamma, (-7.0,), INF),
    (lgamma, (INF,), INF),
    (lgamma, (-INF,), INF),
    (lgamma, (1.0,), 0.0),
    (lgamma, (2.0,), 0.0),
    (lgamma, (NAN,), NAN),
    (digamma, (0.0,), NAN),
    (digamma, (-3.0,), NAN),
    (digamma, (-INF,), NAN),
    (digamma, (INF,), INF),
    (zeta, (1.0, 2.0), INF),
    (zeta, (0.5, 2.0), NAN),
    (zeta, (2.0, 0.0), INF),
    (zeta, (2.0, -3.0), INF),
    (zeta, (3.0, -3.0), NAN),
    (zeta, (2.5, -0.5), NAN),
    (zeta, (NAN, 1.0), NAN),
    (zeta, (2.5, INF), 0.0),
    (zeta, (2.0, -INF), INF),
    (zeta, (3.0, -INF), NAN),
    (zeta, (0.5, INF), NAN),
    (zeta, (1.0, INF), INF),
    (zeta, (INF, 2.0), 0.0),
    (zeta, (INF, 1.0), 1.0),
    (zeta, (INF, 0.5), INF),
    (zeta, (INF, -2.5), INF),
    (zeta, (INF, INF), 0.0),
    (polygamma, (1.0, INF), 0.0),
    (polygamma, (2.0, INF), 0.0),
    (polygamma, (2.0, -INF), NAN),
    (polygamma, (3.0, -INF), INF),
    (polygamma, (INF, 2.0), NAN),
    (polygamma, (INF, -INF), NAN),
    (polygamma, (-1.0, 2.0), NAN),
    (polygamma, (0.5, 2.0), NAN),
    (polygamma, (1.0, 0.0), INF),
    (igamma, (1.0, 0.0), 0.0),
    (igamma, (1.0, INF), 1.0),
    (igamma, (1.0, -1.0), NAN),
    (igamma, (0.0, 1.0), NAN),
    (igamma, (-1.0, 1.0), NAN),
    (igamma, (NAN, 1.0), NAN),
    (igamma, (1.0, NAN), NAN),
    (igammac, (1.0, 0.0), 1.0),
    (igammac, (1.0, INF), 0.0),
    (igammac, (0.0, 1.0), NAN),
    (betainc, (1.0, 1.0, 0.0), 0.0),
    (betainc, (1.0, 1.0, 1.0), 1.0),
    (betainc, (1.0, 1.0, 1.5), NAN),
    (betainc, (1.0, 1.0, -0.5), NAN),
    (betainc, (0.0, 1.0, 0.5), NAN),
    (betainc, (1.0, -1.0, 0.5), NAN),
    (betainc, (1.0, 1.0, NAN), NAN),
]


@pytest.mark.parametrize(
    ("function", "args", "value"), EDGES, ids=lambda v: getattr(v, "__name__", str(v))
)
def test_edges(
    function: Callable[..., Any], args: tuple[float, ...], value: float
) -> None:
    assert function(*args) == pytest.approx(value, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("a", "x"), [(40, 55.5), (150, 149.0), (500, 520.0), (900, 700)]
)
def test_incomplete_gamma_of_whole_numbers(a: int, x: float) -> None:
    """Q(n, x) is exp(-x) times the first n terms of exp's series."""
    with localcontext() as context:
        context.prec = 60
        term = total = Decimal(1)
        for k in range(1, a):
            term *= Decimal(x) / k
            total += term
        upper = total * (-Decimal(x)).exp()
        lower = 1 - upper
    assert igammac(float(a), x) == pytest.approx(float(upper), rel=1e-12)
    assert igamma(float(a), x) == pytest.approx(float(lower), rel=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "x"), [(3, 8, 0.125), (60, 40, 0.75), (400, 700, 0.375)]
)
def test_incomplete_beta_of_whole_numbers(a: int, b: int, x: float) -> None:
    """I_x(a, b) is the chance of at least a successes in a + b - 1 trials."""
    p, n = Fraction(x), a + b - 1
    exact = sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(a, n + 1))
    assert betainc(float(a), float(b), x) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_types_and_shapes(dtype: Any) -> None:
    x = np.array([[0.5], [1.5]], dtype)
    assert erf(x).dtype == dtype
    assert igamma(x, np.array([1.0, 2.0, 3.0], dtype)).shape == (2, 3)
    assert lgamma(np.empty((0, 2), dtype)).shape == (0, 2)
    assert digamma(np.array(1.0, dtype)).shape == ()


# Every 997th float32 from 1e-10 to 13, of both signs.
_SINGLES = np.arange(0x2EDB_0000, 0x4150_0000, 997, np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("single", "double", "units"), [(erf32, erf, 2.0), (erfc32, erfc, 6.0)]
)
def test_singles(single: Any, double: Any, units: float) -> None:
    """The errors that the docstrings claim, in units of the last place."""
    x = np.concatenate([_SINGLES, -_SINGLES])
    wanted = double(x.astype(np.float64))
    unit = np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)
    error = np.abs(single(x) - wanted) / unit
    assert error.max() < units
    assert error.mean() < 0.5


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_edges_of_singles(dtype: Any) -> None:
    x = np.array([NAN, INF, -INF, 0.0, -0.0, 60000], dtype)
    np.testing.assert_array_equal(erf32(x), [NAN, 1, -1, 0, 0, 1])
    np.testing.assert_array_equal(np.signbit(erf32(x)[3:5]), [False, True])
    np.testing.assert_array_equal(erfc32(x), [NAN, 0, 2, 1, 1, 0])
    assert erf32(x).dtype == erfc32(x).dtype == dtype
    assert erf32(x[0]).shape == () and erf32(x[:0]).shape == (0,)


def test_inverse() -> None:
    x = np.linspace(-4, 4, 101)
    np.testing.assert_allclose(erfinv(erf(x)), x, rtol=1e-8, atol=1e-15)


# --- against SciPy ----------------------------------------------------------------

_RANDOM = np.random.default_rng(0)
_LINE = np.concatenate([np.linspace(-25, 25, 4001), 10.0 ** np.arange(-300, 1, 10)])
_POSITIVE = np.concatenate(
    [np.linspace(1e-3, 50, 4001), 10.0 ** np.arange(-300, 300, 7)]
)
_SHAPE = 10.0 ** _RANDOM.uniform(-2, 3.5, 4000)
_NEAR = np.abs(_SHAPE + 3 * np.sqrt(_SHAPE) * _RANDOM.normal(size=4000))
_A, _B = 10.0 ** _RANDOM.uniform(-2, 3, (2, 4000))
_ORDER, _AT = (g.reshape(-1) for g in np.meshgrid(np.arange(25.0), np.r_[0.05:50:200j]))
_S, _Q = (g.reshape(-1) for g in np.meshgrid(np.r_[1.01:40:80j], np.r_[0.01:60:120j]))
_WHOLE, _LEFT = (
    g.reshape(-1) for g in np.meshgrid(np.arange(2.0, 12), np.r_[-19.93:-0.05:100j])
)

GRIDS: list[tuple[Callable[..., Any], str, tuple[Any, ...], float]] = [
    (erf, "erf", (_LINE,), 2e-15),
    (erfc, "erfc", (_LINE,), 1e-13),
    (erfinv, "erfinv", (np.r_[-0.9999:0.9999:4001j],), 4e-15),
    # SciPy keeps fewer digits next to the zeros at 1 and 2.
    (lgamma, "gammaln", (_POSITIVE,), 5e-12),
    (digamma, "digamma", (_POSITIVE,), 2e-14),
    (zeta, "zeta", (_S, _Q), 1e-14),
    (zeta, "zeta", (_WHOLE, _LEFT), 1e-12),
    (polygamma, "polygamma", (_ORDER, _AT), 1e-13),
    (igamma, "gammainc", (_SHAPE, _NEAR), 1e-11),
    (igammac, "gammaincc", (_SHAPE, _NEAR), 1e-11),
    (betainc, "betainc", (_A, _B, _RANDOM.beta(_A, _B)), 1e-11),
]


@pytest.mark.parametrize(
    ("function", "name", "args", "tolerance"), GRIDS, ids=[g[1] for g in GRIDS]
)
def test_equals_scipy(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], tolerance: float
) -> None:
    if name == "polygamma":
        args = (args[0].astype(int), args[1])
    wanted = getattr(special, name)(*args)
    found = function(*[np.asarray(a, float) for a in args])
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=1e-300)


@pytest.mark.parametrize(
    ("function", "name"), [(lgamma, "gammaln"), (digamma, "digamma")]
)
def test_negative_arguments_equal_scipy(
    function: Callable[..., Any], name: str
) -> None:
    """Absolutely: around the zeros between the poles no formula keeps all digits."""
    x = np.linspace(-20, -0.003, 4001)
    x = x[x != np.floor(x)]
    wanted = getattr(special, name)(x)
    np.testing.assert_allclose(function(x), wanted, rtol=1e-12, atol=1e-13)
