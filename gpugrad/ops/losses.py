"""tf.losses: weighted means of losses, kept in a collection of the graph.

Labels, predictions and weights are computed with in float32, as in TensorFlow; the
weights broadcast against the losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.graph.build import (
    apply_op,
    convert_to_tensor,
    get_default_graph,
    graph_of,
    name_scope,
)
from gpugrad.graph.tensor import Tensor
from gpugrad.ops import rules, static
from gpugrad.ops.nn_loss import (
    sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits,
)
from gpugrad.ops.reduce import reduce_sum

LOSSES = "losses"
REGULARIZATION_LOSSES = "regularization_losses"


class Reduction:
    """How the losses of a batch become one number."""

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_OVER_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_BY_NONZERO_WEIGHTS = SUM_OVER_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """Every way."""
        return (
            cls.NONE,
            cls.SUM,
            cls.MEAN,
            cls.SUM_OVER_BATCH_SIZE,
            cls.SUM_BY_NONZERO_WEIGHTS,
        )

    @classmethod
    def validate(cls, key: str) -> None:
        """ValueError unless ``key`` is one of them."""
        if key not in cls.all():
            raise ValueError(f"Invalid Reduction Key {key}.")


# --- weights --------------------------------------------------------------------------


def _single(x: Any) -> Any:
    x = convert_to_tensor(x)
    if x.dtype is dtypes.float32:
        return x
    return apply_op("Cast", x, DstT=dtypes.float32)


def _check_weights(weights: Any, values: Any) -> None:
    have, want = weights._shape, values._shape
    if have is None or want is None or not have:
        return
    fits = len(have) == len(want) and all(
        m is None or n is None or m in (1, n) for m, n in zip(have, want)
    )
    if not fits:
        raise ValueError(
            "weights can not be broadcast to values. values.rank="
            f"{len(want)}. weights.rank={len(have)}. values.shape={values.shape}. "
            f"weights.shape={weights.shape}."
        )


def _spread(weights: Any, values: Any) -> Any:
    """The weights repeated to the shape of the values."""
    if weights._shape is not None and weights._shape == values._shape:
        return weights
    return weights * apply_op("OnesLike", values, name="ones_like")


def _present(losses: Any, weights: Any, per_batch: bool = False) -> Any:
    """How many losses have a weight that is not 0 (for each row of the batch)."""
    with name_scope(None, "num_present", [losses, weights]):
        given = apply_op("Cast", apply_op("NotEqual", weights, 0), DstT=dtypes.float32)
        axes = list(range(1, losses.ndim)) if per_batch else None
        return reduce_sum(_spread(given, losses), axes, keepdims=per_batch)


def compute_weighted_loss(
    losses: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """The losses times their weights, reduced as Reduction says.

    The default divides their sum by the number of weights that are not 0. The result
    is added to ``loss_collection``, unless that is None.
    """
    Reduction.validate(reduction)
    with name_scope(scope, "weighted_loss", [losses, weights]):
        return _weighted(losses, weights, loss_collection, reduction)


def _weighted(losses: Any, weights: Any, collection: Any, reduction: str) -> Any:
    Reduction.validate(reduction)
    losses = convert_to_tensor(losses)
    dtype = losses.dtype
    losses, weights = _single(losses), _single(weights)
    _check_weights(weights, losses)
    loss = apply_op("Mul", losses, weights)
    if reduction != Reduction.NONE:
        total = reduce_sum(loss)
        count = None
        if reduction == Reduction.MEAN:
            count = reduce_sum(_spread(weights, losses))
        elif reduction == Reduction.SUM_BY_NONZERO_WEIGHTS:
            count = _present(losses, weights)
        elif reduction == Reduction.SUM_OVER_BATCH_SIZE:
            size = apply_op("Size", losses, out_type=dtypes.int32, name="num_elements")
            count = apply_op("Cast", size, DstT=dtypes.float32)
        loss = total
        if count is not None:
            loss = apply_op("DivNoNan", total, count, name="value")
    if loss.dtype is not dtype:
        loss = apply_op("Cast", loss, DstT=dtype)
    return _kept(loss, collection)


def _kept(loss: Any, collection: str | None) -> Any:
    if collection and isinstance(loss, Tensor):
        loss.graph.add_to_collection(collection, loss)
    return loss


def _loss(
    default: str,
    labels: Any,
    predictions: Any,
    weights: Any,
    scope: str | None,
    collection: str | None,
    reduction: str,
    each: Callable[[Any, Any], Any],
    names: tuple[str, str] = ("labels", "predictions"),
) -> Any:
    """A loss of labels and predictions of one shape, element by element."""
    for value, name in zip((labels, predictions), names):
        if value is None:
            raise ValueError(f"Argument `{name}` must not be None.")
    with name_scope(scope, default, [predictions, labels, weights]):
        predictions, labels = _single(predictions), _single(labels)
        _same_shape(labels, predictions)
        return _weighted(each(labels, predictions), weights, collection, reduction)


def _same_shape(labels: Any, predictions: Any) -> None:
    try:
        rules.merge_shapes(labels._shape, predictions._shape)
    except ValueError:
        raise ValueError(
            f"Shapes {predictions.shape} and {labels.shape} are incompatible"
        ) from None


# --- the losses -----------------------------------------------------------------------


def absolute_difference(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """|predictions - labels|."""

    def each(labels: Any, predictions: Any) -> Any:
        return apply_op("Abs", apply_op("Sub", predictions, labels))

    return _loss(
        "absolute_difference", labels, predictions, weights, scope, loss_collection,
        reduction, each,
    )  # fmt: skip


def mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """(predictions - labels)²."""

    def each(labels: Any, predictions: Any) -> Any:
        return apply_op("SquaredDifference", predictions, labels)

    return _loss(
        "mean_squared_error", labels, predictions, weights, scope, loss_collection,
        reduction, each,
    )  # fmt: skip


def huber_loss(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    delta: float = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Half the squared error up to ``delta``, and linear beyond it."""

    def each(labels: Any, predictions: Any) -> Any:
        error = apply_op("Abs", apply_op("Sub", predictions, labels))
        square = apply_op("Minimum", error, delta)
        linear = apply_op("Sub", error, square)
        inner = apply_op("Mul", 0.5, apply_op("Mul", square, square))
        outer = apply_op("Mul", delta, linear)
        return apply_op("AddV2", inner, outer, name="Add")

    return _loss(
        "huber_loss", labels, predictions, weights, scope, loss_collection, reduction,
        each,
    )  # fmt: skip


def log_loss(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    epsilon: float = 1e-7,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """-labels * log(p + epsilon) - (1 - labels) * log(1 - p + epsilon)."""

    def each(labels: Any, p: Any) -> Any:
        hit = apply_op("Neg", apply_op("Mul", labels, apply_op("Log", p + epsilon)))
        other = apply_op("Log", 1 - p + epsilon)
        return hit - apply_op("Mul", 1 - labels, other)

    return _loss(
        "log_loss",
        labels,
        predictions,
        weights,
        scope,
        loss_collection,
        reduction,
        each,
    )


def hinge_loss(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """max(0, 1 - (2 * labels - 1) * logits) for labels 0 and 1."""

    def each(labels: Any, logits: Any) -> Any:
        ones = apply_op("OnesLike", labels, name="ones_like")
        sign = apply_op("Sub", 2 * labels, ones)
        return apply_op("Relu", apply_op("Sub", ones, apply_op("Mul", sign, logits)))

    return _loss(
        "hinge_loss", labels, logits, weights, scope, loss_collection, reduction, each,
        ("labels", "logits"),
    )  # fmt: skip


def cosine_distance(
    labels: Any,
    predictions: Any,
    axis: int | None = None,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
    dim: int | None = None,
) -> Any:
    """1 - sum(labels * predictions) along ``axis``, of vectors of length 1."""
    axis = rules.one_of(axis, dim, "axis", "dim")
    if axis is None:
        raise ValueError("You must specify argument `axis`.")

    def each(labels: Any, predictions: Any) -> Any:
        product = apply_op("Mul", predictions, labels)
        return 1 - reduce_sum(product, [axis], keepdims=True)

    return _loss(
        "cosine_distance_loss", labels, predictions, weights, scope, loss_collection,
        reduction, each,
    )  # fmt: skip


def mean_pairwise_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
) -> Any:
    """The mean over pairs in each row of the squared difference of their errors."""
    with name_scope(
        scope, "mean_pairwise_squared_error", [predictions, labels, weights]
    ):
        predictions, labels = _single(predictions), _single(labels)
        weights = _single(weights)
        _same_shape(labels, predictions)
        _check_weights(weights, labels)
        if labels.ndim is None:
            raise ValueError("mean_pairwise_squared_error needs labels of known rank.")
        error = apply_op("Sub", predictions, labels)
        axes = list(range(1, labels.ndim))
        count = _present(error, weights, per_batch=True)
        squares = reduce_sum(apply_op("Square", error), axes, keepdims=True)
        first = 2 * apply_op("DivNoNan", squares, apply_op("Maximum", count - 1, 0))
        square = apply_op("Square", reduce_sum(error, axes, keepdims=True))
        pairs = apply_op("Maximum", count * (count - 1), 0)
        second = 2 * apply_op("DivNoNan", square, pairs)
        weighted = reduce_sum(apply_op("Mul", first - second, weights))
        any_present = apply_op("Greater", reduce_sum(count), 0)
        loss = apply_op("SelectV2", any_present, weighted, 0)
        return _kept(loss, loss_collection)


def sigmoid_cross_entropy(
    multi_class_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """sigmoid_cross_entropy_with_logits, with labels moved towards 1/2."""
    with name_scope(
        scope, "sigmoid_cross_entropy_loss", [logits, multi_class_labels, weights]
    ):
        logits = convert_to_tensor(logits)
        labels = _as(multi_class_labels, logits.dtype)
        _same_shape(labels, logits)
        if label_smoothing:
            labels = labels * (1 - label_smoothing) + 0.5 * label_smoothing
        losses = sigmoid_cross_entropy_with_logits(
            labels=labels, logits=logits, name="xentropy"
        )
        return _weighted(losses, weights, loss_collection, reduction)


def _as(x: Any, dtype: dtypes.DType) -> Any:
    x = convert_to_tensor(x, dtype_hint=dtype)
    return x if x.dtype is dtype else apply_op("Cast", x, DstT=dtype)


def softmax_cross_entropy(
    onehot_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """softmax_cross_entropy_with_logits, with labels moved towards 1/classes.

    No gradient goes to the labels.
    """
    with name_scope(
        scope, "softmax_cross_entropy_loss", [logits, onehot_labels, weights]
    ):
        logits = convert_to_tensor(logits)
        labels = _as(onehot_labels, logits.dtype)
        _same_shape(labels, logits)
        if label_smoothing:
            labels = labels * (1 - label_smoothing) + _share(
                labels, label_smoothing, logits.dtype
            )
        labels = apply_op("StopGradient", labels, name="labels_stop_gradient")
        losses = softmax_cross_entropy_with_logits_v2(labels, logits, name="xentropy")
        return _weighted(losses, weights, loss_collection, reduction)


def _share(labels: Any, smoothing: float, dtype: dtypes.DType) -> Any:
    """The part of the smoothing that each class gets."""
    classes = labels.shape[-1] if labels.ndim else None
    if classes is not None:
        return smoothing / classes
    count = apply_op("Cast", static.shape_of(labels)[-1], DstT=dtype)
    return smoothing / count


def sparse_softmax_cross_entropy(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """sparse_softmax_cross_entropy_with_logits; labels may have a last axis of 1."""
    with name_scope(
        scope, "sparse_softmax_cross_entropy_loss", [logits, labels, weights]
    ):
        labels, logits = convert_to_tensor(labels), convert_to_tensor(logits)
        if labels.ndim is not None and labels.ndim == logits.ndim:
            labels = apply_op("Squeeze", labels, squeeze_dims=[-1])
        losses = sparse_softmax_cross_entropy_with_logits(
            labels=labels, logits=logits, name="xentropy"
        )
        weights = convert_to_tensor(weights)
        if weights.ndim is not None and weights.ndim == losses.ndim + 1:
            weights = apply_op("Squeeze", weights, squeeze_dims=[-1])
        return _weighted(losses, weights, loss_collection, reduction)


# --- the collection -------------------------------------------------------------------


def add_loss(loss: Any, loss_collection: str | None = LOSSES) -> None:
    """Add a loss of your own to the collection."""
    if loss_collection:
        graph_of(loss).add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: str = LOSSES) -> list[Any]:
    """The losses made so far, those under the name ``scope`` if it is given."""
    return get_default_graph().get_collection(loss_collection, scope)


def get_regularization_losses(scope: str | None = None) -> list[Any]:
    """The losses of the regularizers of variables."""
    return get_default_graph().get_collection(REGULARIZATION_LOSSES, scope)


def get_regularization_loss(
    scope: str | None = None, name: str = "total_regularization_loss"
) -> Any:
    """Their sum; 0 if there is none."""
    losses = get_regularization_losses(scope)
    return apply_op("AddN", losses, name=name) if losses else convert_to_tensor(0.0)


def get_total_loss(
    add_regularization_losses: bool = True,
    name: str = "total_loss",
    scope: str | None = None,
) -> Any:
    """The sum of all losses; ValueError if there is none."""
    losses: Sequence[Any] = get_losses(scope)
    if add_regularization_losses:
        losses = [*losses, *get_regularization_losses(scope)]
    if not losses:
        raise ValueError("There is no loss in the collection: make one with tf.losses.")
    return apply_op("AddN", list(losses), name=name)
