"""Penalties of weights, for the ``regularizer`` arguments."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

from gpugrad.graph.build import (
    apply_op,
    convert_to_tensor,
    get_default_graph,
    name_scope,
)
from gpugrad.graph.variable import GraphKeys
from gpugrad.ops.reduce import reduce_sum
from gpugrad.ops.statistics import l2_loss

Regularizer = Callable[[Any], Any]


def _scale(value: Any, name: str = "scale") -> float:
    if isinstance(value, numbers.Integral) or not isinstance(value, numbers.Real):
        raise ValueError(f"`{name}` must be a float, not {value!r}.")
    if value < 0:
        raise ValueError(f"`{name}` must not be negative: {value}.")
    return float(value)


def l1_regularizer(scale: float, scope: str | None = None) -> Regularizer:
    """A function: ``scale`` times the sum of the absolute weights; None if 0."""
    factor = _scale(scale)

    def l1(weights: Any) -> Any:
        if not factor:
            return None
        with name_scope(scope, "l1_regularizer", [weights]) as opened:
            total = reduce_sum(apply_op("Abs", weights))
            return apply_op("Mul", factor, total, name=opened)

    return l1


def l2_regularizer(scale: float, scope: str | None = None) -> Regularizer:
    """A function: ``scale`` times half the sum of the squared weights; None if 0."""
    factor = _scale(scale)

    def l2(weights: Any) -> Any:
        if not factor:
            return None
        with name_scope(scope, "l2_regularizer", [weights]) as opened:
            return apply_op("Mul", factor, l2_loss(weights), name=opened)

    return l2


def l1_l2_regularizer(
    scale_l1: float = 1.0, scale_l2: float = 1.0, scope: str | None = None
) -> Regularizer:
    """A function: the sum of both."""
    return sum_regularizer(
        [l1_regularizer(scale_l1), l2_regularizer(scale_l2)],
        scope or "l1_l2_regularizer",
    )


def sum_regularizer(
    regularizers: Sequence[Regularizer | None], scope: str | None = None
) -> Regularizer:
    """A function: the sum of what these give."""

    def total(weights: Any) -> Any:
        with name_scope(scope, "sum_regularizer", [weights]) as opened:
            terms = [r(weights) for r in regularizers if r is not None]
            terms = [term for term in terms if term is not None]
            return apply_op("AddN", terms, name=opened) if terms else None

    return total


def apply_regularization(
    regularizer: Regularizer, weights_list: Sequence[Any] | None = None
) -> Any:
    """The sum of the penalties of ``weights_list``, by default of all in the collection
    WEIGHTS, as a loss in the collection REGULARIZATION_LOSSES.
    """
    graph = get_default_graph()
    if weights_list is None:
        weights_list = graph.get_collection(GraphKeys.WEIGHTS)
    if not weights_list:
        raise ValueError("No weights to regularize.")
    with name_scope("get_regularization_penalty", values=weights_list) as scope:
        terms = [regularizer(w) for w in weights_list]
        terms = [t if t is not None else convert_to_tensor(0.0) for t in terms]
        loss = apply_op("AddN", terms, name=scope)
    graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)
    return loss
