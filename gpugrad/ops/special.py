"""Special functions: error functions, gamma functions, and products that forgive 0."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.scalar import Expr, Lit, cast
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily

family = OpFamily()

_WIDE = (dtypes.float32, dtypes.float64)


# --- Erf, Erfc ------------------------------------------------------------------------

family.elementwise("Erf", "x", scalar.erf, types=rules.FLOATS)
family.elementwise("Erfc", "x", scalar.erfc, types=rules.FLOATS)


def _bell(op: Any, dy: Tensor, factor: float) -> Tensor:
    """``dy * factor * exp(-x * x)``."""
    apply = op.graph.apply
    scaled = dy * rules.const(op.graph, factor, dy.dtype)
    with op.graph.control_dependencies([dy]):
        return scaled * apply("Exp", -apply("Square", op.inputs[0]))


@family.gradient("Erf")
def _erf_grad(op: Any, dy: Tensor) -> Any:
    return _bell(op, dy, 2 / sqrt(pi))


@family.gradient("Erfc")
def _erfc_grad(op: Any, dy: Tensor) -> Any:
    return _bell(op, dy, -2 / sqrt(pi))


def erf(x: Any, name: str | None = None) -> Tensor:
    """The error function."""
    return apply_op("Erf", x, name=name)


def erfc(x: Any, name: str | None = None) -> Tensor:
    """``1 - erf(x)``, accurate for large x."""
    return apply_op("Erfc", x, name=name)


# --- Erfinv ---------------------------------------------------------------------------

family.elementwise("Erfinv", "x", scalar.erfinv, types=rules.FLOATS)


@family.gradient("Erfinv")
def _erfinv_grad(op: Any, dy: Tensor) -> Any:
    apply = op.graph.apply
    scaled = dy * rules.const(op.graph, sqrt(pi) / 2, dy.dtype)
    with op.graph.control_dependencies([dy]):
        return scaled * apply("Exp", apply("Square", op.outputs[0]))


def erfinv(x: Any, name: str | None = None) -> Tensor:
    """The inverse of erf: infinite at -1 and 1, NaN beyond."""
    with name_scope(name, "erfinv", [x]):
        return apply_op("Erfinv", x)


# --- Ndtri ----------------------------------------------------------------------------
# The normal quantile function: M. J. Wichura, Algorithm AS 241, Applied Statistics 37
# (1988), 477-484. Not erfinv(2p - 1), which is 0 digits right for small p. Highest
# powers first, numerator and denominator.

_Ratio = tuple[Sequence[float], Sequence[float]]

_CENTRE: _Ratio = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853,
     45921.953931549871457, 13731.693765509461125, 1971.5909503065514427,
     133.14166789178437745, 3.3871328727963666080),
    (5226.4952788528545610, 28729.085735721942674, 39307.895800092710610,
     21213.794301586595867, 5394.1960214247511077, 687.18700749205790830,
     42.313330701600911252, 1.0),
)  # fmt: skip
_TAIL: _Ratio = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258, 3.64784832476320460504, 5.76949722146069140550,
     4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940,
     2.05319162663775882187, 1.0),
)  # fmt: skip
_FAR: _Ratio = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580,
     5.46378491116411436990, 6.65790464350110377720),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
     5.99832206555887937690e-1, 1.0),
)  # fmt: skip


def _ratio(table: _Ratio, x: Expr) -> Expr:
    def polynomial(coefficients: Sequence[float]) -> Expr:
        total: Expr = Lit(coefficients[0], x.dtype)
        for coefficient in coefficients[1:]:
            total = total * x + coefficient
        return total

    return polynomial(table[0]) / polynomial(table[1])


def _ndtri(p: Expr) -> Expr:
    """The x for which the standard normal distribution function is p."""
    if rules.is_half(p.dtype):
        return cast(_ndtri(cast(p, dtypes.float32)), p.dtype)
    q = p - 0.5
    centre = q * _ratio(_CENTRE, 0.180625 - q * q)
    nearer = scalar.minimum(p, 1 - p)
    root = scalar.sqrt(-scalar.log(nearer))
    near, far = _ratio(_TAIL, root - 1.6), _ratio(_FAR, root - 5.0)
    tail = scalar.select(scalar.less_equal(root, 5.0), near, far)
    # At 0 and 1 the ratios are infinity over infinity.
    tail = scalar.select(scalar.isinf(root), root, tail)
    outer = scalar.select(scalar.less(q, 0.0), -tail, tail)
    return scalar.select(scalar.less_equal(scalar.abs_(q), 0.425), centre, outer)


family.elementwise("Ndtri", "x", _ndtri, types=rules.FLOATS)


@family.gradient("Ndtri")
def _ndtri_grad(op: Any, dy: Tensor) -> Any:
    apply = op.graph.apply
    scaled = dy * rules.const(op.graph, sqrt(2 * pi), dy.dtype)
    with op.graph.control_dependencies([dy]):
        return scaled * apply("Exp", apply("Square", op.outputs[0]) / 2.0)


def ndtri(x: Any, name: str | None = None) -> Tensor:
    """The quantile function of the normal distribution: infinite at 0 and 1."""
    with name_scope(name, "ndtri", [x]):
        return apply_op("Ndtri", x)


def erfcinv(x: Any, name: str | None = None) -> Tensor:
    """The inverse of erfc: infinite at 0 and 2."""
    with name_scope(name, "erfcinv", [x]):
        return -ndtri(0.5 * convert_to_tensor(x)) * sqrt(0.5)


# --- Lgamma, Digamma, Polygamma, Zeta -------------------------------------------------

family.elementwise("Lgamma", "x", scalar.lgamma, types=rules.FLOATS)


@family.gradient("Lgamma", after=True)
def _lgamma_grad(op: Any, dy: Tensor) -> Any:
    return dy * op.graph.apply("Digamma", op.inputs[0])


def lgamma(x: Any, name: str | None = None) -> Tensor:
    """``log(abs(gamma(x)))``; infinite at 0 and the negative integers."""
    return apply_op("Lgamma", x, name=name)


family.elementwise("Digamma", "x", scalar.digamma, types=rules.FLOATS)


@family.gradient("Digamma", after=True)
def _digamma_grad(op: Any, dy: Tensor) -> Any:
    x = op.inputs[0]
    one = rules.const(op.graph, 1, x.dtype)
    return dy * op.graph.apply("Polygamma", one, x)


def digamma(x: Any, name: str | None = None) -> Tensor:
    """The derivative of lgamma; NaN at 0 and the negative integers."""
    return apply_op("Digamma", x, name=name)


# Digamma's gradient needs the half types too, which TensorFlow leaves out here.
family.elementwise("Polygamma", "a x", scalar.polygamma, types=rules.FLOATS)


@family.gradient("Polygamma", after=True)
def _polygamma_grad(op: Any, dy: Tensor) -> Any:
    a, x = op.inputs
    return None, op.graph.apply("Polygamma", a + 1.0, x) * dy


def polygamma(a: Any, x: Any, name: str | None = None) -> Tensor:
    """Derivative number ``a`` of digamma at x; NaN unless a is 0, 1, 2, ..."""
    return apply_op("Polygamma", a, x, name=name)


family.elementwise("Zeta", "x q", scalar.zeta, types=_WIDE)


@family.gradient("Zeta", after=True)
def _zeta_grad(op: Any, dy: Tensor) -> Any:
    x, q = op.inputs
    return None, -x * op.graph.apply("Zeta", x + 1.0, q) * dy


def zeta(x: Any, q: Any, name: str | None = None) -> Tensor:
    """Hurwitz's zeta function: the sum of ``(q + k) ** -x`` over k = 0, 1, 2, ...

    Infinite at x = 1, NaN below. No gradient for x.
    """
    return apply_op("Zeta", x, q, name=name)


# --- Igamma, Igammac, IgammaGradA -----------------------------------------------------

family.elementwise("Igamma", "a x", scalar.igamma, types=rules.FLOATS)
family.elementwise("Igammac", "a x", scalar.igammac, types=rules.FLOATS)

# Weights of f(a + k h) - f(a - k h) for the slope of f at a, exact to the order h**6.
_SLOPE_WEIGHTS = (45 / 60, -9 / 60, 1 / 60)


def _igamma_slope(a: Expr, x: Expr) -> Expr:
    """The derivative of P(a, x) for a, by central differences in float64.

    P and Q are right to the last digits, also where they are tiny, so that about 11
    digits of the smaller one's slope are left. h is small beside the scale on which
    they change: a near 0, sqrt(a) for large a.
    """
    dtype = a.dtype
    a, x = cast(a, dtypes.float64), cast(x, dtypes.float64)
    h = 0.01 * scalar.minimum(a, 1 + scalar.sqrt(a))

    def slope(function: scalar.ScalarOp) -> Expr:
        total: Expr = Lit(0, dtypes.float64)
        for k, weight in enumerate(_SLOPE_WEIGHTS, 1):
            difference = function(a + k * h, x) - function(a - k * h, x)
            total = total + weight * difference
        return total / h

    lower, upper = slope(scalar.igamma), slope(scalar.igammac)
    return cast(scalar.select(scalar.greater(x, a), -upper, lower), dtype)


family.elementwise("IgammaGradA", "a x", _igamma_slope, types=rules.FLOATS)


def _igamma_slopes(op: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
    a, x = op.inputs
    apply = op.graph.apply
    da = apply("IgammaGradA", a, x)
    log_slope = -x + (a - 1) * apply("Log", x) - apply("Lgamma", a)
    dx = apply("Exp", log_slope)
    return da * dy, dx * dy


@family.gradient("Igamma", after=True)
def _igamma_grad(op: Any, dy: Tensor) -> Any:
    return _igamma_slopes(op, dy)


@family.gradient("Igammac", after=True)
def _igammac_grad(op: Any, dy: Tensor) -> Any:
    da, dx = _igamma_slopes(op, dy)
    return -da, -dx


def igamma(a: Any, x: Any, name: str | None = None) -> Tensor:
    """The lower regularised incomplete gamma function P(a, x); a > 0, x >= 0."""
    return apply_op("Igamma", a, x, name=name)


def igammac(a: Any, x: Any, name: str | None = None) -> Tensor:
    """The upper regularised incomplete gamma function Q(a, x) = 1 - P(a, x)."""
    return apply_op("Igammac", a, x, name=name)


# --- Betainc --------------------------------------------------------------------------

family.elementwise("Betainc", "a b x", scalar.betainc, types=_WIDE)


@family.gradient("Betainc")
def _betainc_grad(op: Any, dy: Tensor) -> Any:
    a, b, x = op.inputs
    apply = op.graph.apply
    log_beta = apply("Lgamma", a) + apply("Lgamma", b) - apply("Lgamma", a + b)
    log_slope = apply("Xlog1py", b - 1, -x) + apply("Xlogy", a - 1, x)
    return None, None, apply("Exp", log_slope - log_beta) * dy


def betainc(a: Any, b: Any, x: Any, name: str | None = None) -> Tensor:
    """The regularised incomplete beta function I_x(a, b); a, b > 0, 0 <= x <= 1.

    No gradient for a and b.
    """
    return apply_op("Betainc", a, b, x, name=name)


# --- Xlogy, Xlog1py, Xdivy ------------------------------------------------------------


def _zero_at_zero(x: Expr, value: Expr) -> Expr:
    return scalar.select(scalar.equal(x, 0), Lit(0, x.dtype), value)


def _is_not_zero(op: Any, x: Tensor) -> Tensor:
    """1 where x is not 0, else 0, in x's dtype."""
    apply = op.graph.apply
    return apply("Cast", apply("NotEqual", x, 0), DstT=x.dtype)


family.elementwise(
    "Xlogy",
    "x y",
    lambda x, y: _zero_at_zero(x, x * scalar.log(y)),
    types=rules.INEXACT,
)


@family.gradient("Xlogy", after=True)
def _xlogy_grad(op: Any, dy: Tensor) -> Any:
    x, y = op.inputs
    apply = op.graph.apply
    dx = apply("Xlogy", _is_not_zero(op, x), y)
    return dx * dy, apply("Xdivy", x, y) * dy


def xlogy(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x * log(y)`` with broadcasting, and 0 where x is 0."""
    return apply_op("Xlogy", x, y, name=name)


family.elementwise(
    "Xlog1py",
    "x y",
    lambda x, y: _zero_at_zero(x, x * scalar.log1p(y)),
    types=rules.INEXACT,
)


@family.gradient("Xlog1py", after=True)
def _xlog1py_grad(op: Any, dy: Tensor) -> Any:
    x, y = op.inputs
    apply = op.graph.apply
    dx = apply("Xlog1py", _is_not_zero(op, x), y)
    return dx * dy, apply("Xdivy", x, y + 1.0) * dy


def xlog1py(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x * log1p(y)`` with broadcasting, and 0 where x is 0."""
    with name_scope(name, "xlog1py", [x, y]):
        return apply_op("Xlog1py", x, y)


family.elementwise(
    "Xdivy", "x y", lambda x, y: _zero_at_zero(x, x / y), types=rules.INEXACT
)


@family.gradient("Xdivy", after=True)
def _xdivy_grad(op: Any, dy: Tensor) -> Any:
    x, y = op.inputs
    apply = op.graph.apply
    dx = apply("Xdivy", _is_not_zero(op, x), y)
    return dx * dy, apply("Xdivy", -x, y**2.0) * dy


def xdivy(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x / y`` with broadcasting, and 0 where x is 0."""
    with name_scope(name, "xdivy", [x, y]):
        return apply_op("Xdivy", x, y)
