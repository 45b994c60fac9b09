"""tf.metrics: measures over many batches, kept in local variables.

Each function gives (value, update_op): running the second adds a batch and gives the
measure so far; the first gives the measure of the batches before. Sums are float32. The
variables stand in the collections LOCAL_VARIABLES and METRIC_VARIABLES;
local_variables_initializer() sets them to zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import (
    apply_op,
    convert_to_tensor,
    get_default_graph,
    name_scope,
)
from gpugrad.graph.variable import GraphKeys, Variable
from gpugrad.ops.cast import cast
from gpugrad.ops.check import assert_greater_equal, assert_less_equal
from gpugrad.ops.fill import zeros
from gpugrad.ops.reduce import reduce_sum

_LOCAL = (GraphKeys.LOCAL_VARIABLES, GraphKeys.METRIC_VARIABLES)


def _metric(
    amounts: dict[str, Any],
    result: Callable[..., Any],
    metrics_collections: Any,
    updates_collections: Any,
) -> tuple[Any, Any]:
    """(value, update_op) of a ``result`` of sums, which grow by ``amounts``.

    ``result`` gets the sums in order, and the name for its op.
    """
    sums = [
        Variable(
            lambda amount=amount: zeros(amount.shape, amount.dtype),
            trainable=False,
            collections=list(_LOCAL),
            name=name,
        )
        for name, amount in amounts.items()
    ]
    value = result(*[s.value() for s in sums], "value")
    added = [s.assign_add(a).value() for s, a in zip(sums, amounts.values())]
    update = result(*added, "update_op")
    graph = get_default_graph()
    for collections, tensor in (
        (metrics_collections, value),
        (updates_collections, update),
    ):
        graph.add_to_collections(collections or (), tensor)
    return value, update


def _aligned(labels: Any, predictions: Any, weights: Any) -> tuple[Any, Any, Any]:
    """Tensors of one rank: a last axis of 1 goes away, weights get one."""
    labels, predictions = convert_to_tensor(labels), convert_to_tensor(predictions)
    if None not in (labels.ndim, predictions.ndim):
        if labels.ndim == predictions.ndim + 1:
            labels = apply_op("Squeeze", labels, squeeze_dims=[-1])
        elif predictions.ndim == labels.ndim + 1:
            predictions = apply_op("Squeeze", predictions, squeeze_dims=[-1])
    predictions.shape.assert_is_compatible_with(labels.shape)
    return labels, predictions, _fitted(weights, predictions)


def _fitted(weights: Any, values: Any) -> Any:
    """Weights as float32, of the rank of the values or a scalar; None stays."""
    if weights is None:
        return None
    weights = cast(convert_to_tensor(weights), dtypes.float32)
    if weights.ndim and values.ndim is not None:
        if weights.ndim == values.ndim + 1:
            weights = apply_op("Squeeze", weights, squeeze_dims=[-1])
        elif weights.ndim == values.ndim - 1:
            weights = apply_op("ExpandDims", weights, -1)
    return weights


def _weighted(values: Any, weights: Any) -> Any:
    values = cast(values, dtypes.float32)
    return values if weights is None else apply_op("Mul", values, weights)


def _over(numerator: Any, denominator: Any, name: str) -> Any:
    return apply_op("DivNoNan", numerator, denominator, name=name)


# --- means ----------------------------------------------------------------------------


def _mean(
    values: Any, weights: Any, metrics: Any, updates: Any, result: Any = _over
) -> tuple[Any, Any]:
    weights = _fitted(weights, values)
    ones = apply_op("OnesLike", cast(values, dtypes.float32))
    amounts = {
        "total": reduce_sum(_weighted(values, weights)),
        "count": reduce_sum(_weighted(ones, weights)),
    }
    return _metric(amounts, result, metrics, updates)


def mean(
    values: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> tuple[Any, Any]:
    """The weighted mean of all elements of ``values``; 0 before the first."""
    with name_scope(name, "mean", [values, weights]):
        values = convert_to_tensor(values)
        return _mean(values, weights, metrics_collections, updates_collections)


def accuracy(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> tuple[Any, Any]:
    """The share of predictions that equal their label."""
    with name_scope(name, "accuracy", [predictions, labels, weights]):
        labels, predictions, weights = _aligned(labels, predictions, weights)
        if labels.dtype is not predictions.dtype:
            predictions = cast(predictions, labels.dtype)
        right = apply_op("Equal", predictions, labels)
        return _mean(right, weights, metrics_collections, updates_collections)


def _error(
    default: str, of: Callable[[Any], Any], result: Callable[..., Any] = _over
) -> Callable[..., tuple[Any, Any]]:
    """A metric: the mean of a function of predictions - labels."""

    def metric(
        labels: Any,
        predictions: Any,
        weights: Any = None,
        metrics_collections: Any = None,
        updates_collections: Any = None,
        name: str | None = None,
    ) -> tuple[Any, Any]:
        with name_scope(name, default, [predictions, labels, weights]):
            labels, predictions, weights = _aligned(labels, predictions, weights)
            labels = cast(labels, dtypes.float32)
            predictions = cast(predictions, dtypes.float32)
            errors = of(apply_op("Sub", predictions, labels))
            return _mean(
                errors, weights, metrics_collections, updates_collections, result
            )

    metric.__name__ = metric.__qualname__ = default
    metric.__doc__ = f"The {default.replace('_', ' ')} of predictions of labels."
    return metric


def _root(total: Any, count: Any, name: str) -> Any:
    return apply_op("Sqrt", apply_op("DivNoNan", total, count), name=name)


mean_absolute_error = _error("mean_absolute_error", lambda e: apply_op("Abs", e))
mean_squared_error = _error("mean_squared_error", lambda e: apply_op("Square", e))
root_mean_squared_error = _error(
    "root_mean_squared_error", lambda e: apply_op("Square", e), _root
)


# --- right and wrong, positive and negative -------------------------------------------

_CASES = {
    "true_positives": (True, True),
    "false_negatives": (True, False),
    "true_negatives": (False, False),
    "false_positives": (False, True),
}


def _cases(
    labels: Any, positive: Any, weights: Any, wanted: Sequence[str], axis: Any = None
) -> list[Any]:
    """For each case wanted, the weight of its elements."""

    def where(condition: Any, holds: bool) -> Any:
        return condition if holds else apply_op("LogicalNot", condition)

    found = []
    for name in wanted:
        label, prediction = _CASES[name]
        here = apply_op("LogicalAnd", where(labels, label), where(positive, prediction))
        found.append(reduce_sum(_weighted(here, weights), axis))
    return found


def _count(default: str) -> Callable[..., tuple[Any, Any]]:
    """A metric: the weight of the elements of one case."""

    def metric(
        labels: Any,
        predictions: Any,
        weights: Any = None,
        metrics_collections: Any = None,
        updates_collections: Any = None,
        name: str | None = None,
    ) -> tuple[Any, Any]:
        with name_scope(name, default, [predictions, labels, weights]):
            labels, positive, weights = _booleans(labels, predictions, weights)
            (amount,) = _cases(labels, positive, weights, [default])
            return _metric(
                {"count": amount},
                lambda count, name: apply_op("Identity", count, name=name),
                metrics_collections,
                updates_collections,
            )

    metric.__name__ = metric.__qualname__ = default
    metric.__doc__ = f"The weight of the {default.replace('_', ' ')}."
    return metric


def _booleans(labels: Any, predictions: Any, weights: Any) -> tuple[Any, Any, Any]:
    labels, predictions, weights = _aligned(labels, predictions, weights)
    return cast(labels, dtypes.bool_), cast(predictions, dtypes.bool_), weights


true_positives = _count("true_positives")
false_negatives = _count("false_negatives")
true_negatives = _count("true_negatives")
false_positives = _count("false_positives")


def _share(default: str, other: str) -> Callable[..., tuple[Any, Any]]:
    """A metric: true positives among themselves and another case."""

    def metric(
        labels: Any,
        predictions: Any,
        weights: Any = None,
        metrics_collections: Any = None,
        updates_collections: Any = None,
        name: str | None = None,
    ) -> tuple[Any, Any]:
        with name_scope(name, default, [predictions, labels, weights]):
            labels, positive, weights = _booleans(labels, predictions, weights)
            wanted = ("true_positives", other)
            amounts = _cases(labels, positive, weights, wanted)
            return _metric(
                {f"{case}/count": a for case, a in zip(wanted, amounts)},
                lambda right, rest, name: _over(right, right + rest, name),
                metrics_collections,
                updates_collections,
            )

    metric.__name__ = metric.__qualname__ = default
    metric.__doc__ = (
        f"True positives, divided by them and the {other.replace('_', ' ')}."
    )
    return metric


precision = _share("precision", "false_positives")
recall = _share("recall", "false_negatives")


# --- area under a curve ---------------------------------------------------------------

# Keeps 0 below the first and 1 above the last threshold.
_BEYOND = 1e-7
# Keeps rates of nothing from being divisions by zero.
_TINY = 1e-6


def auc(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    num_thresholds: int = 200,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    curve: str = "ROC",
    name: str | None = None,
    summation_method: str = "trapezoidal",
    thresholds: Sequence[float] | None = None,
) -> tuple[Any, Any]:
    """The area under the receiver operating characteristic ("ROC"), or under precision
    over recall ("PR").

    ``predictions`` are in [0, 1], else InvalidArgumentError. The curve goes through
    ``num_thresholds`` points, or those of ``thresholds`` and one at either end.
    ``summation_method``: "trapezoidal", "minoring" (the lesser of two neighbours) or
    "majoring" (the greater).
    """
    if curve not in ("ROC", "PR"):
        raise ValueError(f'`curve` must be "ROC" or "PR", not {curve!r}.')
    heights = {
        "trapezoidal": lambda a, b: (a + b) / 2.0,
        "minoring": lambda a, b: apply_op("Minimum", a, b),
        "majoring": lambda a, b: apply_op("Maximum", a, b),
    }
    if summation_method not in heights:
        raise ValueError(
            f"`summation_method` must be one of {sorted(heights)}, not "
            f"{summation_method!r}."
        )
    inner = sorted(thresholds) if thresholds is not None else [
        (i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)
    ]  # fmt: skip
    points = np.array([-_BEYOND, *inner, 1 + _BEYOND], np.float32)

    def area(tp: Any, fn: Any, tn: Any, fp: Any, name: str) -> Any:
        recalls = (tp + _TINY) / (tp + fn + _TINY)
        if curve == "ROC":
            x, y = fp / (fp + tn + _TINY), recalls
        else:
            x, y = recalls, (tp + _TINY) / (tp + fp + _TINY)
        height = heights[summation_method](y[:-1], y[1:])
        return reduce_sum((x[:-1] - x[1:]) * height, name=name)

    with name_scope(name, "auc", [labels, predictions, weights]):
        labels, predictions, weights = _aligned(labels, predictions, weights)
        message = "predictions must be in [0, 1]"
        checks = [
            assert_greater_equal(predictions, 0.0, message=message),
            assert_less_equal(predictions, 1.0, message=message),
        ]
        with get_default_graph().control_dependencies(checks):
            predictions = cast(apply_op("Identity", predictions), dtypes.float32)
        labels = apply_op("Reshape", cast(labels, dtypes.bool_), [1, -1])
        if weights is not None:
            ones = apply_op("OnesLike", predictions)
            weights = apply_op("Reshape", apply_op("Mul", weights, ones), [1, -1])
        flat = apply_op("Reshape", predictions, [1, -1])
        positive = apply_op("Greater", flat, points[:, None])
        amounts = _cases(labels, positive, weights, tuple(_CASES), 1)
        return _metric(
            dict(zip(_CASES, amounts)), area, metrics_collections, updates_collections
        )
