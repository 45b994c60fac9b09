"""Functions written as polynomials on intervals, as kernels' expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gpugrad import dtypes
from gpugrad.kir import scalar
from gpugrad.kir.scalar import Expr, Lit, cast
from gpugrad.ops import rules

# What of a polynomial is lost in a float32 result.
_COARSE: Final = 2.0**-29


def polynomial(coefficients: Sequence[float], t: Expr) -> Expr:
    """The polynomial with these coefficients, the highest power first.

    ``t`` lies in [-1, 1] where the value counts: leading terms that no float32 result
    shows are left out of float32.
    """
    kept = list(coefficients)
    if t.dtype is not dtypes.float64:
        room = _COARSE * max(map(abs, kept))
        while len(kept) > 1 and abs(kept[0]) < room:
            room -= abs(kept.pop(0))
    total: Expr = Lit(kept[0], t.dtype)
    for coefficient in kept[1:]:
        total = total * t + coefficient
    return total


def below(x: Expr, limit: float, near: Expr, far: Expr) -> Expr:
    """``near`` where x is below the limit, else ``far``."""
    return scalar.select(scalar.less(x, limit), near, far)


def at(x: Expr, point: float, value: float, other: Expr) -> Expr:
    """``value`` where x is the point, else ``other``."""
    return scalar.select(scalar.equal(x, point), Lit(value, x.dtype), other)


def in_float32(function: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
    """``function``, computed in float32 for the half types."""

    def widened(x: Expr) -> Expr:
        if rules.is_half(x.dtype):
            return cast(function(cast(x, dtypes.float32)), x.dtype)
        return function(x)

    return widened


def is_at(x: Any, point: float) -> Any:
    """A tensor that is true where ``x`` is the point."""
    return x.graph.apply("Equal", x, rules.const(x.graph, point, x.dtype))
