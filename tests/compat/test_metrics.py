"""tf.metrics over three batches, with and without weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf


def batches() -> list[dict[str, np.ndarray]]:
    rng = np.random.RandomState(0)
    found = []
    for size in (7, 8, 9):
        labels = rng.randint(0, 2, size)
        scores, weights = rng.rand(size).astype("f"), rng.rand(size)
        found.append({"labels": labels, "scores": scores, "weights": weights})
    return found


def _mean(values: Any, w: Any) -> Any:
    return (values * w).sum() / w.sum()


def _counts(labels: Any, positive: Any, w: Any) -> tuple[float, float, float, float]:
    cases = (labels & positive, labels & ~positive, ~labels & ~positive)
    return (*((case * w).sum() for case in cases), (~labels & positive).dot(w))


def _precision(labels: Any, scores: Any, w: Any) -> Any:
    tp, _, _, fp = _counts(labels == 1, scores > 0.5, w)
    return tp / (tp + fp)


def _recall(labels: Any, scores: Any, w: Any) -> Any:
    tp, fn, _, _ = _counts(labels == 1, scores > 0.5, w)
    return tp / (tp + fn)


def _count(index: int) -> Callable[..., Any]:
    return lambda y, s, w: _counts(y == 1, s > 0.5, w)[index]


# name -> (whether it takes decisions rather than scores, the formula)
FORMULAS: dict[str, tuple[bool, Callable[..., Any]]] = {
    "accuracy": (True, lambda y, s, w: _mean((s > 0.5) == y, w)),
    "mean_squared_error": (False, lambda y, s, w: _mean((s - y) ** 2, w)),
    "root_mean_squared_error": (
        False,
        lambda y, s, w: np.sqrt(_mean((s - y) ** 2, w)),
    ),
    "mean_absolute_error": (False, lambda y, s, w: _mean(abs(s - y), w)),
    "precision": (True, _precision),
    "recall": (True, _recall),
    "true_positives": (True, _count(0)),
    "false_negatives": (True, _count(1)),
    "true_negatives": (True, _count(2)),
    "false_positives": (True, _count(3)),
}


def run(build: Callable[..., Any]) -> list[float]:
    """The value before any batch, after each, and at the end without an update."""
    with tf.Graph().as_default():
        labels = tf.placeholder(tf.int64, [None])
        scores = tf.placeholder(tf.float32, [None])
        weights = tf.placeholder(tf.float32, [None])
        value, update = build(labels, scores, weights)
        with tf.Session() as session:
            session.run(tf.local_variables_initializer())
            found = [session.run(value)]
            for batch in batches():
                feed = {
                    labels: batch["labels"],
                    scores: batch["scores"],
                    weights: batch["weights"],
                }
                found.append(session.run(update, feed))
            return [*found, session.run(value)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FORMULAS)
def test_metric(name: str, weighted: bool) -> None:
    decides, formula = FORMULAS[name]

    def build(labels: Any, scores: Any, weights: Any) -> Any:
        given = tf.cast(scores > 0.5, tf.int32) if decides else scores
        return getattr(tf.metrics, name)(labels, given, weights if weighted else None)

    expected = [0.0]
    for count in (1, 2, 3, 3):
        seen = batches()[:count]
        labels, scores, weights = (
            np.concatenate([batch[key] for batch in seen])
            for key in ("labels", "scores", "weights")
        )
        weights = weights if weighted else np.ones_like(weights)
        expected.append(formula(labels, scores, weights))
    assert run(build) == pytest.approx(expected, rel=1e-5)


# TensorFlow 2.21's numbers for these batches.
AREAS = {
    "ROC": ({}, [0.3000, 0.5556, 0.6143]),
    "PR": ({"curve": "PR", "num_thresholds": 20}, [0.5881, 0.6129, 0.6395]),
    "minoring": (
        {"summation_method": "minoring", "thresholds": [0.3, 0.2]},
        [0.3000, 0.2778, 0.3286],
    ),
    "majoring": (
        {"summation_method": "majoring", "curve": "PR"},
        [0.6595, 0.6669, 0.6905],
    ),
}


@pytest.mark.parametrize("case", AREAS)
def test_auc(case: str) -> None:
    kwargs, expected = AREAS[case]
    found = run(lambda labels, scores, _: tf.metrics.auc(labels, scores, **kwargs))
    assert found[1:4] == pytest.approx(expected, abs=6e-5)


def test_auc_of_a_perfect_order_is_one() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        _, update = tf.metrics.auc([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
        session.run(tf.local_variables_initializer())
        assert session.run(update) == pytest.approx(1.0, abs=1e-5)


def test_where_the_variables_and_results_stand() -> None:
    with tf.Graph().as_default():
        value, update = tf.metrics.mean(
            tf.ones([3]),
            metrics_collections=["m"],
            updates_collections=["u"],
            name="average",
        )
        tf.metrics.recall([1], [1])
        names = [v.name for v in tf.local_variables()]
        assert names == [
            "average/total:0",
            "average/count:0",
            "recall/true_positives/count:0",
            "recall/false_negatives/count:0",
        ]
        assert tf.get_collection(tf.GraphKeys.METRIC_VARIABLES) == tf.local_variables()
        assert tf.global_variables() == tf.trainable_variables() == []
        assert tf.get_collection("m") == [value] and tf.get_collection("u") == [update]
        assert (value.name, update.name) == ("average/value:0", "average/update_op:0")


def test_ranks_that_differ_by_one() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        ones, numbers = tf.ones([2, 3, 1]), tf.constant([[1, 2, 3], [1, 1, 1]])
        _, update = tf.metrics.accuracy(ones, numbers, weights=[[1], [0.0]])
        _, mean = tf.metrics.mean(tf.constant([[1.0, 3.0], [5.0, 7.0]]), [1.0, 0.0])
        session.run(tf.local_variables_initializer())
        assert session.run(update) == pytest.approx(1 / 3)
        assert session.run(mean) == pytest.approx(2.0)


def test_errors() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        with pytest.raises(ValueError, match="not compatible|incompatible"):
            tf.metrics.accuracy([1, 2], [1, 2, 3])
        with pytest.raises(ValueError, match='"ROC" or "PR"'):
            tf.metrics.auc([1], [1.0], curve="roc")
        with pytest.raises(ValueError, match="summation_method"):
            tf.metrics.auc([1], [1.0], summation_method="careful_interpolation")
        _, update = tf.metrics.auc([1], [1.5])
        session.run(tf.local_variables_initializer())
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"in \[0, 1\]"):
            session.run(update)
