"""Cross entropies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, errors
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site, broadcast_shape
from gpugrad.kir.scalar import Index, Lit
from gpugrad.kir.space import View
from gpugrad.ops import rules, static
from gpugrad.ops.family import OpFamily
from gpugrad.ops.softmax import shifted_rows, wide_dtype

family = OpFamily()


# --- SoftmaxCrossEntropyWithLogits ----------------------------------------------------


def _infer_dense(op: Any) -> Any:
    features, labels = (t._shape for t in op.inputs)
    rules.require_dtype(op, 0, rules.FLOATS)
    rules.require_rank(features, 2)
    rules.require_rank(labels, 2)
    shape = (None, None)
    for given in (features, labels):
        if given is not None:
            shape = _stretch(shape, given)
    dtype = op.inputs[0].dtype
    return ((dtype, shape[:1]), (dtype, shape))


def _stretch(a: Sequence[int | None], b: Sequence[int | None]) -> Any:
    """Broadcasting of two ranks 2, where an unknown extent says nothing."""
    merged = []
    for m, n in zip(a, b):
        if m is None or m == 1:
            merged.append(n)
        elif n is None or n == 1:
            merged.append(m)
        else:
            merged.append(rules.merge_dimensions(m, n))
    return tuple(merged)


def _sum_rows(b: Builder, term: Any, dtype: Any, first: View, *others: View) -> View:
    """The sum of ``term`` of the views' elements along each row of the first."""
    return b.reduce(
        "sum",
        first,
        (1,),
        before=term,
        after=lambda s: scalar.cast(s, dtype),
        others=others,
    )


def _lower_dense(b: Builder, site: Site) -> Sequence[View]:
    features, labels = site.inputs
    shape = broadcast_shape(features.shape, labels.shape)
    features, labels = features.broadcast(shape), labels.broadcast(shape)
    dtype = site.dtypes[0]
    wide = wide_dtype(dtype)
    shifted, total = shifted_rows(b, features)

    def term(z: Any, s: Any, label: Any) -> Any:
        # A label of 0 adds nothing, even where the logit is -inf.
        label = scalar.cast(label, wide)
        loss = label * (scalar.log(s) - z)
        return scalar.select(scalar.equal(label, 0), Lit(0, wide), loss)

    loss = _sum_rows(b, term, dtype, shifted, total, labels)
    slope = b.map(
        lambda z, s, label: scalar.exp(z) / s - scalar.cast(label, wide),
        shifted,
        total,
        labels,
        dtype=dtype,
    )
    return loss, slope


family.op(
    "SoftmaxCrossEntropyWithLogits",
    "features labels",
    infer=_infer_dense,
    lower=_lower_dense,
)


def _row_times(graph: Any, column: Any, rows: Any) -> Any:
    """Each row times its element of a vector."""
    return graph.apply("ExpandDims", column, -1) * rows


def _through_slope(graph: Any, logits: Any, d_slope: Any) -> Any:
    """What the second output, softmax - labels, passes to the logits."""
    y = graph.apply("Softmax", logits)
    inner = graph.apply("Sum", d_slope * y, -1, keep_dims=True)
    return (d_slope - inner) * y


@family.gradient("SoftmaxCrossEntropyWithLogits")
def _dense_grad(op: Any, dy: Any, d_slope: Any) -> Any:
    graph, logits = op.graph, op.inputs[0]
    d_logits = _row_times(graph, dy, op.outputs[1])
    second = not rules.is_zero(d_slope)
    if second:
        d_logits = d_logits + _through_slope(graph, logits, d_slope)
    d_labels = _row_times(graph, dy, -graph.apply("LogSoftmax", logits))
    if second:
        # TensorFlow leaves this term out, and with it half of the second derivative.
        d_labels = d_labels - d_slope
    return [d_logits, d_labels]


def _dense(labels: Any, logits: Any, axis: int, scope: str) -> Any:
    logits = convert_to_tensor(logits, name="logits")
    labels = convert_to_tensor(labels, logits.dtype, name="labels")
    dtype = logits.dtype
    if rules.is_half(dtype):
        logits, labels = (
            apply_op("Cast", t, DstT=dtypes.float32) for t in (logits, labels)
        )
    shape, rank = logits._shape, logits.ndim
    if axis != -1 and (rank is None or axis != rank - 1):
        order = _to_the_end(axis, logits)
        logits, labels = (
            apply_op("Transpose", t, order, name="transpose") for t in (logits, labels)
        )
        shape = logits._shape
    sizes = static.shape_of(logits)
    loss, _ = apply_op(
        "SoftmaxCrossEntropyWithLogits", _rows(logits), _rows(labels), name=scope
    )
    if shape is not None and None not in shape:
        outer: Any = list(shape[:-1])
    else:
        outer = sizes[:-1]
    loss = apply_op("Reshape", loss, outer)
    if shape is not None:
        loss.set_shape(shape[:-1])
    return loss if dtype is loss.dtype else apply_op("Cast", loss, DstT=dtype)


def _to_the_end(axis: int, x: Any) -> Any:
    """The permutation that puts ``axis`` last."""
    rank = x.ndim
    if rank is not None:
        return [i for i in range(rank) if i != axis % rank] + [axis % rank]
    last = static.rank_of(x) - 1
    place = axis if axis >= 0 else last + 1 + axis
    numbers = apply_op("Range", 0, last + 1, 1)
    shifted = apply_op("SelectV2", numbers < last, numbers + 1, place)
    return apply_op("SelectV2", numbers < place, numbers, shifted)


def _rows(x: Any) -> Any:
    """``x`` as a matrix with its last axis as the columns."""
    shape = x._shape
    if shape is not None and None not in shape:
        count = int(np.prod(shape[:-1], dtype=np.int64))
        return apply_op("Reshape", x, [count, shape[-1]])
    if shape is not None and shape[-1]:
        return apply_op("Reshape", x, [-1, shape[-1]])
    last = static.shape_of(x)[-1:]
    return apply_op("Reshape", x, apply_op("ConcatV2", [[-1], last], 0, name="concat"))


def _require_both(labels: Any, logits: Any, function: str) -> None:
    if labels is None or logits is None:
        raise ValueError(
            f"Both `labels` and `logits` must be provided for {function}. Received: "
            f"labels={labels} and logits={logits}"
        )


def softmax_cross_entropy_with_logits_v2(
    labels: Any,
    logits: Any,
    axis: int | None = None,
    name: str | None = None,
    dim: int | None = None,
) -> Any:
    """-sum(labels * log_softmax(logits)) along ``axis``, by default the last.

    ``labels`` are the probabilities of the classes; they get a gradient too.
    Computed in float32 for the half types.
    """
    _require_both(labels, logits, "softmax_cross_entropy_with_logits")
    axis = rules.one_of(axis, dim, "axis", "dim")
    axis = -1 if axis is None else axis
    default = "softmax_cross_entropy_with_logits"
    with name_scope(name, default, [logits, labels]) as scope:
        return _dense(labels, logits, axis, scope)


def softmax_cross_entropy_with_logits(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    dim: int = -1,
    name: str | None = None,
    axis: int | None = None,
) -> Any:
    """softmax_cross_entropy_with_logits_v2 with no gradient to the labels."""
    if _sentinel is not None:
        # TensorFlow 2 takes (labels, logits) by position; so do we.
        logits = labels if logits is None else logits
        labels = _sentinel
    _require_both(labels, logits, "softmax_cross_entropy_with_logits")
    axis = dim if axis is None else axis
    default = "softmax_cross_entropy_with_logits_sg"
    with name_scope(name, default, [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        labels = convert_to_tensor(labels, logits.dtype, name="labels")
        labels = apply_op("StopGradient", labels, name="labels_stop_gradient")
        return _dense(labels, logits, axis, scope)


# --- SparseSoftmaxCrossEntropyWithLogits ----------------------------------------------


def _infer_sparse(op: Any) -> Any:
    features, labels = (t._shape for t in op.inputs)
    rules.require_dtype(op, 0, rules.FLOATS)
    rules.require_dtype(op, 1, (dtypes.int32, dtypes.int64))
    rules.require_rank(features, 2)
    rules.require_rank(labels, 1)
    batch, classes = (None, None) if features is None else features
    if labels is not None:
        batch = rules.merge_dimensions(batch, labels[0])
    dtype = op.inputs[0].dtype
    return ((dtype, (batch,)), (dtype, (batch, classes)))


def _check_labels(xp: Any, outs: Any, labels: Any, classes: int) -> None:
    """Copy the labels; where it costs nothing, refuse those that are no class."""
    if static.on_host(xp):
        wrong = (labels < 0) | (labels >= classes)
        if wrong.any():
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Received a label value of {int(labels[wrong][0])} which is outside "
                f"the valid range of [0, {classes}).  Label values: "
                f"{' '.join(map(str, labels.tolist()[:64]))}",
            )
    outs[0][...] = labels


def _lower_sparse(b: Builder, site: Site) -> Sequence[View]:
    features, labels = site.inputs
    classes = features.shape[1]
    if labels.shape != features.shape[:1]:
        raise ValueError(
            "logits and labels must have the same first dimension, got logits shape "
            f"{list(features.shape)} and labels shape {list(labels.shape)}."
        )
    (labels,) = b.call(
        "check_labels",
        _check_labels,
        (labels,),
        ((labels.dtype, labels.shape),),
        classes=classes,
    )
    dtype = site.dtypes[0]
    shifted, total = shifted_rows(b, features)
    column = labels.insert_axis(1)
    nan = float("nan")

    def loss_term(z: Any, s: Any, label: Any) -> Any:
        here = scalar.equal(scalar.cast(label, dtypes.int64), Index(1))
        return scalar.select(here, scalar.log(s) - z, Lit(0, s.dtype))

    def slope(z: Any, s: Any, label: Any) -> Any:
        # A label that is no class makes its row NaN where nothing refuses it.
        label = scalar.cast(label, dtypes.int64)
        hit = scalar.cast(scalar.equal(label, Index(1)), z.dtype)
        valid = scalar.logical_and(
            scalar.greater_equal(label, 0), scalar.less(label, classes)
        )
        return scalar.select(valid, scalar.exp(z) / s - hit, Lit(nan, z.dtype))

    loss = _sum_rows(b, loss_term, dtype, shifted, total, column)
    return loss, b.map(slope, shifted, total, column, dtype=dtype)


family.op(
    "SparseSoftmaxCrossEntropyWithLogits",
    (Input("features"), Input("labels", attr="Tlabels", default=dtypes.int64)),
    infer=_infer_sparse,
    lower=_lower_sparse,
)


@family.gradient("SparseSoftmaxCrossEntropyWithLogits")
def _sparse_grad(op: Any, dy: Any, d_slope: Any) -> Any:
    d_logits = _row_times(op.graph, dy, op.outputs[1])
    if not rules.is_zero(d_slope):
        d_logits = d_logits + _through_slope(op.graph, op.inputs[0], d_slope)
    return [d_logits, None]


def sparse_softmax_cross_entropy_with_logits(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    name: str | None = None,
) -> Any:
    """-log(softmax(logits)[label]) for each integer label.

    Shapes:  labels [...], logits [..., classes], result [...].
    Raises:  InvalidArgumentError when it runs on the CPU and a label is no class; on
             a GPU that row is NaN.
    """
    if _sentinel is not None:
        logits = labels if logits is None else logits
        labels = _sentinel
    name_ = "sparse_softmax_cross_entropy_with_logits"
    _require_both(labels, logits, name_)
    with name_scope(name, "SparseSoftmaxCrossEntropyWithLogits", [labels, logits]):
        labels = convert_to_tensor(labels)
        logits = convert_to_tensor(logits)
        dtype = logits.dtype
        if rules.is_half(dtype):
            logits = apply_op("Cast", logits, DstT=dtypes.float32)
        _check_ranks(labels._shape, logits._shape, labels, logits)
        flat = labels.ndim != 1 or logits.ndim != 2
        sizes = static.shape_of(labels)
        if flat:
            logits, labels = _rows(logits), apply_op("Reshape", labels, [-1])
        loss, _ = apply_op(
            "SparseSoftmaxCrossEntropyWithLogits", logits, labels, name=name
        )
        if flat:
            loss = apply_op("Reshape", loss, sizes)
        return loss if loss.dtype is dtype else apply_op("Cast", loss, DstT=dtype)


def _check_ranks(labels: Any, logits: Any, given: Any, given_logits: Any) -> None:
    if logits is not None and not logits:
        raise ValueError(f"`logits` cannot be a scalar. Received logits={given_logits}")
    if labels is None or logits is None:
        return
    if len(labels) != len(logits) - 1:
        raise ValueError(
            "`labels.shape.rank` must equal `logits.shape.rank - 1`. Received: "
            f"labels.shape={given.shape} of rank {len(labels)} and "
            f"logits.shape={given_logits.shape} of rank {len(logits)}"
        )
    for m, n in zip(labels, logits):
        if m is not None and n is not None and m != n:
            raise ValueError(
                "`labels.shape` must equal `logits.shape` except for the last "
                f"dimension. Received: labels.shape={given.shape} and "
                f"logits.shape={given_logits.shape}"
            )


# --- cross entropies of independent classes -------------------------------------------


def _logits_and_labels(logits: Any, labels: Any, what: str) -> tuple[Any, Any]:
    logits = convert_to_tensor(logits, name="logits")
    labels = convert_to_tensor(labels, logits.dtype, name=what)
    shapes_ = labels._shape, logits._shape
    try:
        rules.merge_shapes(*shapes_)
    except ValueError:
        raise ValueError(
            f"`logits` and `{what}` must have the same shape, received "
            f"({logits.shape} vs {labels.shape})."
        ) from None
    return logits, labels


def sigmoid_cross_entropy_with_logits(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    name: str | None = None,
) -> Any:
    """-labels * log(sigmoid(x)) - (1 - labels) * log(1 - sigmoid(x)), each by itself.

    Written as max(x, 0) - x * labels + log(1 + exp(-|x|)), which does not overflow.
    """
    if _sentinel is not None:
        logits = labels if logits is None else logits
        labels = _sentinel
    _require_both(labels, logits, "sigmoid_cross_entropy_with_logits")
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        x, labels = _logits_and_labels(logits, labels, "labels")
        zeros = rules.zeros_of(x)
        positive = apply_op("GreaterEqual", x, zeros)
        over = apply_op("Select", positive, x, zeros)
        minus_size = apply_op("Select", positive, apply_op("Neg", x), x)
        linear = over - x * labels
        rest = apply_op("Log1p", apply_op("Exp", minus_size))
        return apply_op("AddV2", linear, rest, name=scope)


def weighted_cross_entropy_with_logits(
    labels: Any = None,
    logits: Any = None,
    pos_weight: Any = None,
    name: str | None = None,
    targets: Any = None,
) -> Any:
    """sigmoid_cross_entropy_with_logits with the positive term times ``pos_weight``."""
    labels = rules.one_of(labels, targets, "labels", "targets")
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        x, labels = _logits_and_labels(logits, labels, "labels")
        weight = 1 + (pos_weight - 1) * labels
        linear = apply_op("Mul", 1 - labels, x, name="mul")
        size = apply_op("Neg", apply_op("Abs", x))
        rest = apply_op("Log1p", apply_op("Exp", size))
        rest = rest + apply_op("Relu", apply_op("Neg", x))
        return apply_op("AddV2", linear, weight * rest, name=scope)


def log_poisson_loss(
    targets: Any,
    log_input: Any,
    compute_full_loss: bool = False,
    name: str | None = None,
) -> Any:
    """exp(c) - z * c, where c predicts the logarithm of the mean of counts z.

    ``compute_full_loss`` adds Stirling's approximation of log(z!), 0 for z <= 1.
    """
    with name_scope(name, "log_poisson_loss", [log_input, targets]):
        c, z = _logits_and_labels(log_input, targets, "targets")
        result = apply_op("Exp", c) - c * z
        if not compute_full_loss:
            return result
        stirling = z * apply_op("Log", z) - z
        stirling = stirling + 0.5 * apply_op("Log", (2 * np.pi) * z)
        zeros = rules.zeros_of(z)
        ones = apply_op("OnesLike", z, name="ones_like")
        small = apply_op(
            "LogicalAnd",
            apply_op("GreaterEqual", z, zeros),
            apply_op("LessEqual", z, ones),
        )
        return result + apply_op("Select", small, zeros, stirling)
