"""Losses that are trained on classes drawn as negative examples."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Tensor
from gpugrad.ops.candidates import (
    LEAST,
    log_uniform_candidate_sampler,
)
from gpugrad.ops.layers import embedding_lookup
from gpugrad.ops.matmul import matmul
from gpugrad.ops.nn_loss import (
    sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2,
)
from gpugrad.ops.reduce import reduce_sum


def _rows(table: Any, ids: Any, count: Any, strategy: str) -> tuple[Any, Any]:
    """What a table has for the first ``count`` of ``ids``, and for the others."""
    found = embedding_lookup(table, ids, strategy)
    more = found.ndim - 1
    begin = apply_op("ConcatV2", [count, [0] * more], 0) if more else count
    size = apply_op("ConcatV2", [count, [-1] * more], 0) if more else count
    first = apply_op("Slice", found, [0] * found.ndim, size)
    return first, apply_op("Slice", found, begin, [-1] * found.ndim)


def _sampled_logits(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int,
    sampled_values: Any,
    remove_accidental_hits: bool,
    partition_strategy: str,
    seed: int | None,
) -> tuple[Any, Any]:
    """(logits, labels) [batch, num_true + num_sampled]: the true classes come first."""
    inputs = convert_to_tensor(inputs, name="inputs")
    labels = convert_to_tensor(labels, name="labels")
    if labels.dtype is not dtypes.int64:
        labels = apply_op("Cast", labels, DstT=dtypes.int64)
    flat = apply_op("Reshape", labels, [-1])
    true = apply_op("Reshape", labels, [-1, num_true])
    if sampled_values is None:
        sampled_values = log_uniform_candidate_sampler(
            true, num_true, num_sampled, True, num_classes, seed
        )
    sampled, true_count, sampled_count = [
        apply_op("StopGradient", convert_to_tensor(t)) for t in sampled_values
    ]
    if sampled.dtype is not dtypes.int64:
        sampled = apply_op("Cast", sampled, DstT=dtypes.int64)
    ids = apply_op("ConcatV2", [flat, sampled], 0, name="concat")
    count = apply_op("Shape", flat)
    true_w, sampled_w = _rows(weights, ids, count, partition_strategy)
    true_b, sampled_b = _rows(biases, ids, count, partition_strategy)
    sampled_logits = matmul(inputs, sampled_w, transpose_b=True) + sampled_b
    width = apply_op("Shape", true_w)[1]
    shape = apply_op("Pack", [-1, num_true, width], axis=0)
    by_row = apply_op("ExpandDims", inputs, 1) * apply_op("Reshape", true_w, shape)
    true_logits = reduce_sum(by_row, 2) + apply_op("Reshape", true_b, [-1, num_true])
    if remove_accidental_hits:
        same = apply_op("Equal", apply_op("ExpandDims", true, 2), sampled)
        hit = apply_op("Any", same, [1])
        least = apply_op("Cast", hit, DstT=sampled_logits.dtype) * LEAST
        sampled_logits = sampled_logits + least

    def log_of(expected: Any) -> Any:
        logs = apply_op("Log", expected)
        if logs.dtype is inputs.dtype:
            return logs
        return apply_op("Cast", logs, DstT=inputs.dtype)

    true_logits = true_logits - log_of(true_count)
    sampled_logits = sampled_logits - log_of(sampled_count)
    out_logits = apply_op("ConcatV2", [true_logits, sampled_logits], 1, name="concat")
    ones = apply_op("OnesLike", true_logits) / num_true
    zeros = apply_op("ZerosLike", sampled_logits)
    return out_logits, apply_op("ConcatV2", [ones, zeros], 1, name="concat")


def nce_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    partition_strategy: str = "mod",
    name: str | None = "nce_loss",
) -> Tensor:
    """Noise-contrastive estimation: true classes told from drawn ones, a loss a row.

    Shapes:  weights [num_classes, dim] (or a list of tables that share the rows, see
             embedding_lookup), biases [num_classes], labels [batch, num_true], inputs
             [batch, dim]; the result is [batch].
    ``sampled_values``: what a candidate sampler gave; by default
             log_uniform_candidate_sampler, unique, which wants classes sorted by
             falling frequency.
    The gradients of weights and biases are IndexedSlices: of the rows used alone.
    Source:  M. Gutmann, A. Hyvarinen, AISTATS 2010.
    """
    tables = weights if isinstance(weights, (list, tuple)) else [weights]
    with name_scope(name, "nce_loss", [*tables, biases, labels, inputs]):
        logits, targets = _sampled_logits(
            weights,
            biases,
            labels,
            inputs,
            num_sampled,
            num_classes,
            num_true,
            sampled_values,
            remove_accidental_hits,
            partition_strategy,
            None,
        )
        losses = sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
        return reduce_sum(losses, 1)


def sampled_softmax_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    partition_strategy: str = "mod",
    name: str | None = "sampled_softmax_loss",
    seed: int | None = None,
) -> Tensor:
    """Softmax cross entropy over the true and some drawn classes, a loss a row.

    Shapes and arguments are those of nce_loss. ``seed`` is the sampler's.
    Source:  S. Jean et al., ACL 2015, arXiv:1412.2007.
    """
    tables = weights if isinstance(weights, (list, tuple)) else [weights]
    with name_scope(name, "sampled_softmax_loss", [*tables, biases, labels, inputs]):
        logits, targets = _sampled_logits(
            weights,
            biases,
            labels,
            inputs,
            num_sampled,
            num_classes,
            num_true,
            sampled_values,
            remove_accidental_hits,
            partition_strategy,
            seed,
        )
        targets = apply_op("StopGradient", targets)
        return softmax_cross_entropy_with_logits_v2(labels=targets, logits=logits)


def nce_loss_v2(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    name: str | None = "nce_loss",
) -> Tensor:
    """nce_loss with the arguments of TensorFlow 2: partition_strategy is "div"."""
    return nce_loss(
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true,
        sampled_values,
        remove_accidental_hits,
        "div",
        name,
    )


def sampled_softmax_loss_v2(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: int | None = None,
    name: str | None = "sampled_softmax_loss",
) -> Tensor:
    """sampled_softmax_loss with the arguments of TensorFlow 2 (see nce_loss_v2)."""
    return sampled_softmax_loss(
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true,
        sampled_values,
        remove_accidental_hits,
        "div",
        name,
        seed,
    )
