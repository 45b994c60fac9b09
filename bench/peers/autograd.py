"""HIPS autograd over NumPy."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad

from bench.peers import Step
from bench.workloads import RATE, Workload


class Ops:
    """The functions of a workload."""

    tanh, exp, sum = anp.tanh, anp.exp, anp.sum
    matmul, reshape, transpose = anp.matmul, anp.reshape, anp.transpose
    split = anp.split

    @staticmethod
    def concat(parts: Any, axis: int) -> Any:
        """Joined along an axis."""
        return anp.concatenate(parts, axis)

    @staticmethod
    def sigmoid(x: Any) -> Any:
        """Without overflow."""
        return 0.5 * (anp.tanh(0.5 * x) + 1.0)

    @staticmethod
    def softmax(x: Any) -> Any:
        """Over the last axis."""
        e = anp.exp(x - anp.max(x, -1, keepdims=True))
        return e / anp.sum(e, -1, keepdims=True)

    @staticmethod
    def gelu(x: Any) -> Any:
        """The tanh form."""
        return 0.5 * x * (1.0 + anp.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))

    @staticmethod
    def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
        """Over the last axis."""
        centred = x - anp.mean(x, -1, keepdims=True)
        variance = anp.mean(centred * centred, -1, keepdims=True)
        return centred / anp.sqrt(variance + 1e-5) * scale + shift

    @staticmethod
    def cross_entropy(logits: Any, labels: Any) -> Any:
        """Mean softmax cross entropy."""
        shifted = logits - anp.max(logits, -1, keepdims=True)
        total = anp.log(anp.sum(anp.exp(shifted), -1, keepdims=True))
        return -anp.mean(anp.sum(labels * (shifted - total), -1))


def make(workload: Workload) -> Step:
    """One call of value_and_grad, and the update in place."""
    params, data = workload.params(), workload.data()
    gradient = value_and_grad(lambda p: workload.loss(Ops, p, data))
    if workload.update == "none":

        def run() -> list[Any]:
            loss, grads = gradient(params)
            return [loss, *[grads[k] for k in params]]

        return run
    moments = {k: (np.zeros_like(a), np.zeros_like(a)) for k, a in params.items()}
    count = 0

    def train() -> list[Any]:
        nonlocal count
        count += 1
        seen = dict(params)
        if workload.sparse:
            table, ids = workload.sparse
            seen["rows"] = seen.pop(table)[data[ids]]
        loss, grads = gradient(seen)
        if workload.sparse:
            np.subtract.at(params[table], data[ids], RATE * grads.pop("rows"))
        for k, grad in grads.items():
            if workload.update == "adam":
                m, v = moments[k]
                m += 0.1 * (grad - m)
                v += 0.001 * (grad * grad - v)
                unbiased = np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
                grad = np.float32(unbiased) * m / (np.sqrt(v) + np.float32(1e-8))
            params[k] -= np.float32(RATE) * grad
        return [loss]

    return train
