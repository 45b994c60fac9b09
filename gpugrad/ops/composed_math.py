"""Small functions of tf.math that are made of other ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Tensor
from gpugrad.ops import rules
from gpugrad.ops.reduce import reduce_sum


def polyval(coeffs: Sequence[Any], x: Any, name: str | None = None) -> Tensor:
    """The polynomial with these coefficients at ``x``, the highest power first.

    Each coefficient is a number or a tensor that broadcasts to x. No coefficient
    gives zeros.
    """
    if not isinstance(coeffs, list):
        raise ValueError(
            f"Argument coeffs must be list type. Received type {type(coeffs)}."
        )
    with name_scope(name, "polyval", [*coeffs, x]):
        x = convert_to_tensor(x, name="x")
        if not coeffs:
            return rules.zeros_of(x)
        first, *rest = [
            convert_to_tensor(c, name=f"{i}_coeff") for i, c in enumerate(coeffs)
        ]
        total = first
        for coefficient in rest:
            total = coefficient + total * x
        return total


def lbeta(x: Any, name: str | None = None) -> Tensor:
    """log |B(x)| along the last axis: sum(lgamma(x)) - lgamma(sum(x)).

    Of no element -inf.
    """
    with name_scope(name, "lbeta", [x]):
        x = convert_to_tensor(x, name="x")
        above = reduce_sum(apply_op("Lgamma", x), axis=[-1])
        return above - apply_op("Lgamma", reduce_sum(x, axis=[-1]))


def _steps(x: Any) -> Any:
    """The differences of neighbours, all elements in a row."""
    flat = apply_op("Reshape", x, [-1])
    return flat[1:] - flat[:-1]


def is_non_decreasing(x: Any, name: str | None = None) -> Tensor:
    """True if no element, in C order, is below the one before it."""
    with name_scope(name, "is_non_decreasing", [x]):
        steps = _steps(convert_to_tensor(x, name="x"))
        return apply_op("All", apply_op("LessEqual", 0, steps), [0])


def is_strictly_increasing(x: Any, name: str | None = None) -> Tensor:
    """True if every element, in C order, is above the one before it."""
    with name_scope(name, "is_strictly_increasing", [x]):
        steps = _steps(convert_to_tensor(x, name="x"))
        return apply_op("All", apply_op("Less", 0, steps), [0])
