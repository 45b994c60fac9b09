"""Softmax, cross entropy, layer norm and gradients, as the compiler merges them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gpugrad as gg
from gpugrad.compiler.lower import Bound, lower_stage
from gpugrad.compiler.pipeline import optimize
from gpugrad.compiler.schedule import schedule
from gpugrad.dtypes import DType
from gpugrad.kir.program import Group, Store
from gpugrad.kir.space import View

MANY = 1 << 17
Made = tuple[list[Any], list[Any]]  # fetches, feeds


def _softmax(x: Any) -> Made:
    return [gg.nn.softmax(x)], [x]


def _log_softmax(x: Any) -> Made:
    return [gg.nn.log_softmax(x)], [x]


def _gradient(function: Callable[[Any], Any]) -> Callable[[Any], Made]:
    def make(x: Any) -> Made:
        dy = gg.placeholder(x.dtype, x.shape)
        return gg.gradients(function(x), x, grad_ys=dy), [x, dy]

    return make


def _cross_entropy(x: Any) -> Made:
    labels = gg.placeholder(x.dtype, x.shape)
    rows = gg.nn.softmax_cross_entropy_with_logits(labels=labels, logits=x)
    return [rows, *gg.gradients(rows, x)], [x, labels]


def _sparse_cross_entropy(x: Any) -> Made:
    labels = gg.placeholder(gg.int32, x.shape[:1])
    rows = gg.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x)
    return [rows, *gg.gradients(rows, x)], [x, labels]


def _layer_norm(x: Any) -> Made:
    gamma, beta = (gg.placeholder(x.dtype, x.shape[1:]) for _ in range(2))
    mean, variance = gg.nn.moments(x, [-1], keepdims=True)
    y = gg.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)
    return [y], [x, gamma, beta]


def _layer_norm_gradient(x: Any) -> Made:
    (y,), feeds = _layer_norm(x)
    dy = gg.placeholder(x.dtype, x.shape)
    return gg.gradients(y, feeds, grad_ys=dy), [*feeds, dy]


PROGRAMS: dict[str, Callable[[Any], Made]] = {
    "softmax": _softmax,
    "softmax-gradient": _gradient(gg.nn.softmax),
    "log-softmax": _log_softmax,
    "log-softmax-gradient": _gradient(gg.nn.log_softmax),
    "cross-entropy": _cross_entropy,
    "sparse-cross-entropy": _sparse_cross_entropy,
    "layer-norm": _layer_norm,
    "layer-norm-gradient": _layer_norm_gradient,
}


def row_groups(name: str, rows: int, length: int, dtype: DType) -> list[Group]:
    """The merged steps that fold by rows, cut down from those of many rows.

    Few long rows would be left apart (compiler/cluster.py). Nothing is allocated.
    """
    with gg.Graph().as_default():
        x = gg.placeholder(dtype, (MANY, length))
        fetches, feeds = PROGRAMS[name](x)
        plan = schedule(fetches, [], feeds)
        bound = {
            number: Bound(feed.dtype, tuple(feed.shape))
            for number, feed in zip(plan.inputs, feeds)
        }
        program = optimize(lower_stage(plan, 0, bound, _no_handle).program)
    groups = [s for s in program.steps if isinstance(s, Group)]
    return [_cut(g, rows) for g in groups if g.reduced == (False, True)]


def _cut(group: Group, rows: int) -> Group:
    """The first ``rows`` rows."""

    def cut(view: View) -> View:
        shorter = View(view.buffer, (rows, *view.shape[1:]), view.strides, 0)
        size = shorter.bounds[1] + 1
        return shorter._replace(buffer=view.buffer._replace(size=size))

    stores = tuple(Store(cut(s.view), s.expr) for s in group.stores)
    return group._replace(
        extents=(rows, *group.extents[1:]),
        loads=tuple(cut(v) for v in group.loads),
        stores=stores,
    )


def _no_handle(handle: Any) -> Any:
    raise AssertionError(f"{handle} in a program without variables")


def row_operands(group: Group, seed: int = 0) -> dict[int, np.ndarray]:
    """Ordinary numbers for every load: labels are in range, the rest about 1 large."""
    rng = np.random.default_rng(seed)
    found: dict[int, np.ndarray] = {}
    for view in group.loads:
        buffer = view.buffer
        if buffer.dtype.is_integer:
            high = max(2, group.extents[-1])
            values: Any = rng.integers(0, high, buffer.size)
        else:
            values = rng.standard_normal(buffer.size)
        found.setdefault(buffer.id, values.astype(buffer.dtype.np_dtype))
    return found
