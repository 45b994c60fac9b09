"""NumPy as an expert writes it: gradients by hand, into buffers that are reused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.peers import Step
from bench.workloads import RATE, Workload

_F = np.float32


def _elementwise(workload: Workload) -> Step:
    x, w, b = workload.params().values()
    t, e, gx, gw, gb = (np.empty_like(x) for _ in range(5))

    def run() -> list[Any]:
        np.multiply(x, w, out=t)
        np.add(t, b, out=t)
        np.tanh(t, out=t)
        np.multiply(x, x, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.multiply(t, e, out=gx)
        y = np.add.reduce(gx)
        np.multiply(gx, x, out=gx)
        np.multiply(t, t, out=gb)
        np.subtract(_F(1), gb, out=gb)
        np.multiply(gb, e, out=gb)
        np.multiply(gb, x, out=gw)
        np.multiply(gb, w, out=t)
        np.add(gx, gx, out=gx)
        np.subtract(t, gx, out=gx)
        return [y, gx, gw, gb]

    return run


def _rows(workload: Workload) -> Step:
    x, scale, shift = workload.params().values()
    labels = workload.data()["labels"]
    n, width = x.shape
    centred, normal, g, s, u, v = (np.empty_like(x) for _ in range(6))
    row, inverse, sums = (np.empty((n, 1), _F) for _ in range(3))
    c = _F(0.7978845608)

    def run() -> list[Any]:
        np.add.reduce(x, axis=1, keepdims=True, out=row)
        np.multiply(row, _F(1 / width), out=row)
        np.subtract(x, row, out=centred)
        np.einsum("ij,ij->i", centred, centred, out=inverse[:, 0])
        np.multiply(inverse, _F(1 / width), out=inverse)
        np.add(inverse, _F(1e-5), out=inverse)
        np.sqrt(inverse, out=inverse)
        np.reciprocal(inverse, out=inverse)
        np.multiply(centred, inverse, out=centred)  # x hat
        np.multiply(centred, scale, out=normal)
        np.add(normal, shift, out=normal)
        # gelu: 0.5 a (1 + tanh u), u = c (a + 0.044715 a^3)
        np.multiply(normal, normal, out=u)
        np.multiply(u, _F(0.044715), out=v)
        np.add(v, _F(1), out=v)
        np.multiply(v, normal, out=v)
        np.multiply(v, c, out=v)
        np.tanh(v, out=v)
        np.add(v, _F(1), out=g)
        np.multiply(g, _F(0.5), out=g)  # 0.5 (1 + t)
        np.multiply(g, normal, out=s)  # logits
        # its slope: 0.5 (1 + t) + 0.5 a (1 - t^2) c (1 + 3 * 0.044715 a^2)
        np.multiply(v, v, out=v)
        np.subtract(_F(1), v, out=v)
        np.multiply(u, _F(3 * 0.044715), out=u)
        np.add(u, _F(1), out=u)
        np.multiply(v, u, out=v)
        np.multiply(v, normal, out=v)
        np.multiply(v, _F(0.5) * c, out=v)
        np.add(g, v, out=g)
        # cross entropy
        np.maximum.reduce(s, axis=1, keepdims=True, out=row)
        np.subtract(s, row, out=s)
        np.multiply(s, labels, out=u)
        np.add.reduce(u, axis=1, keepdims=True, out=row)
        np.exp(s, out=s)
        np.add.reduce(s, axis=1, keepdims=True, out=sums)
        np.divide(s, sums, out=s)
        np.log(sums, out=sums)
        loss = (np.add.reduce(sums, axis=None) - np.add.reduce(row, axis=None)) / n
        np.subtract(s, labels, out=s)
        np.multiply(s, _F(1 / n), out=s)
        np.multiply(s, g, out=s)  # cotangent of the layer norm's result
        dshift = np.add.reduce(s, axis=0)
        np.multiply(s, centred, out=u)
        dscale = np.add.reduce(u, axis=0)
        np.multiply(s, scale, out=s)
        np.add.reduce(s, axis=1, keepdims=True, out=row)
        np.einsum("ij,ij->i", s, centred, out=sums[:, 0])
        np.multiply(row, _F(1 / width), out=row)
        np.multiply(sums, _F(1 / width), out=sums)
        np.multiply(centred, sums, out=centred)
        np.subtract(s, row, out=s)
        np.subtract(s, centred, out=s)
        np.multiply(s, inverse, out=s)
        return [loss, s, dscale, dshift]

    return run


def _mlp(workload: Workload) -> Step:
    params, data = workload.params(), workload.data()
    x, labels = data["x"], data["labels"]
    layers = len(params) // 2
    weights = [params[f"w{i}"] for i in range(layers)]
    biases = [params[f"b{i}"] for i in range(layers)]
    n = len(x)
    acts = [np.empty((n, w.shape[1]), _F) for w in weights]
    back = [np.empty_like(a) for a in acts]
    slopes = [np.empty_like(a) for a in acts]
    grads = [np.empty_like(p) for p in (*weights, *biases)]
    total = np.empty((n, 1), _F)
    update = _optimizer(workload, [*weights, *biases], grads)

    def run() -> list[Any]:
        h = x
        for i, (w, b, a) in enumerate(zip(weights, biases, acts)):
            np.matmul(h, w, out=a)
            np.add(a, b, out=a)
            if i < layers - 1:
                np.tanh(a, out=a)
            h = a
        logits, g = acts[-1], back[-1]
        np.maximum.reduce(logits, axis=1, keepdims=True, out=total)
        np.subtract(logits, total, out=logits)
        np.exp(logits, out=g)
        np.add.reduce(g, axis=1, keepdims=True, out=total)
        np.divide(g, total, out=g)
        np.log(total, out=total)
        np.subtract(logits, total, out=logits)
        np.multiply(logits, labels, out=logits)
        loss = -np.add.reduce(logits, axis=None) / n
        np.subtract(g, labels, out=g)
        np.multiply(g, _F(1 / n), out=g)
        for i in range(layers - 1, -1, -1):
            below = acts[i - 1] if i else x
            np.matmul(below.T, back[i], out=grads[i])
            np.add.reduce(back[i], axis=0, out=grads[layers + i])
            if i:
                np.matmul(back[i], weights[i].T, out=back[i - 1])
                slope = slopes[i - 1]
                np.multiply(below, below, out=slope)
                np.subtract(_F(1), slope, out=slope)
                np.multiply(back[i - 1], slope, out=back[i - 1])
        update()
        return [loss]

    return run


def _optimizer(
    workload: Workload, values: list[np.ndarray], grads: list[np.ndarray]
) -> Callable[[], None]:
    if workload.update == "sgd":

        def sgd() -> None:
            for value, grad in zip(values, grads):
                np.multiply(grad, _F(RATE), out=grad)
                np.subtract(value, grad, out=value)

        return sgd
    moments = [(np.zeros_like(v), np.zeros_like(v), np.empty_like(v)) for v in values]
    count = 0

    def adam() -> None:
        nonlocal count
        count += 1
        rate = _F(RATE * np.sqrt(1 - 0.999**count) / (1 - 0.9**count))
        for value, grad, (m, v, s) in zip(values, grads, moments):
            np.subtract(grad, m, out=s)
            np.multiply(s, _F(0.1), out=s)
            np.add(m, s, out=m)
            np.multiply(grad, grad, out=s)
            np.subtract(s, v, out=s)
            np.multiply(s, _F(0.001), out=s)
            np.add(v, s, out=v)
            np.sqrt(v, out=s)
            np.add(s, _F(1e-8), out=s)
            np.divide(m, s, out=s)
            np.multiply(s, rate, out=s)
            np.subtract(value, s, out=value)

    return adam


_WRITTEN = {"elementwise": _elementwise, "rows": _rows, "mlp": _mlp}


def make(workload: Workload) -> Step:
    """The hand-written version; LookupError where there is none."""
    family = workload.name.partition("_")[0]
    if family not in _WRITTEN:
        raise LookupError("not written by hand")
    return _WRITTEN[family](workload)
