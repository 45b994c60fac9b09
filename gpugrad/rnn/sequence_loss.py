"""The cross entropy of sequences of symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.ops.nn_loss import sparse_softmax_cross_entropy_with_logits
from gpugrad.ops.reduce import reduce_sum

# Keeps the mean over no weights from being a division by zero.
_TINY = 1e-12


def sequence_loss(
    logits: Any,
    targets: Any,
    weights: Any,
    average_across_timesteps: bool = True,
    average_across_batch: bool = True,
    softmax_loss_function: Callable[..., Any] | None = None,
    name: str | None = None,
) -> Any:
    """The weighted mean of the cross entropies of ``targets`` under ``logits``.

    Shapes:  logits [batch, time, symbols], targets and weights [batch, time]. The
             result is a scalar; an axis over which it is not averaged stays.
    ``softmax_loss_function(labels=, logits=)`` stands in for
    sparse_softmax_cross_entropy_with_logits.
    """
    logits, targets = convert_to_tensor(logits), convert_to_tensor(targets)
    weights = convert_to_tensor(weights)
    for tensor, rank, what in ((logits, 3, "logits"), (targets, 2, "targets"),
                               (weights, 2, "weights")):  # fmt: skip
        if tensor.ndim is not None and tensor.ndim != rank:
            raise ValueError(f"{what} must have {rank} axes, not shape {tensor.shape}.")
    loss = softmax_loss_function or sparse_softmax_cross_entropy_with_logits
    with name_scope(name, "sequence_loss", [logits, targets, weights]):
        costs = apply_op("Mul", loss(labels=targets, logits=logits), weights)
        axes = [a for a, wanted in enumerate(
            (average_across_batch, average_across_timesteps)) if wanted]  # fmt: skip
        if not axes:
            return costs
        return reduce_sum(costs, axes) / (reduce_sum(weights, axes) + _TINY)
