"""Whole Jacobians, by gradients() and by finite differences, to compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad.autodiff.gradients import gradients
from gpugrad.dtypes import DType
from gpugrad.graph import sessions
from gpugrad.graph.constant import to_array
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import densify
from gpugrad.runtime.session import Session

Jacobians = tuple[np.ndarray, np.ndarray]


def compute_gradient(
    x: Any,
    x_shape: Any,
    y: Any,
    y_shape: Any,
    x_init_value: Any = None,
    delta: float = 1e-3,
    init_targets: Any = None,
    extra_feed_dict: dict[Any, Any] | None = None,
) -> Any:
    """The Jacobian dy/dx by gradients() and by central differences of step ``delta``.

    A pair of arrays of shape (size of x, size of y), or a list of pairs if x is a
    list, with lists for ``x_shape`` and ``x_init_value`` then. Complex numbers count
    as two reals. x is fed, at random values unless ``x_init_value`` is given;
    ``init_targets`` are run first. Needs a default session. AssertionError for
    dtypes without derivatives and where y does not depend on x.
    """
    session = sessions.require(None, "compute_gradient()")
    for op in init_targets or ():
        session.run(op)
    extra = extra_feed_dict or {}
    many = isinstance(x, list)
    xs = x if many else [x]
    x_shapes = x_shape if many else [x_shape]
    values = x_init_value if many and x_init_value is not None else [x_init_value]
    if len(values) != len(xs):
        values = values * len(xs)
    results = []
    for tensor, shape, value in zip(xs, x_shapes, values):
        _check_dtype(tensor.dtype, "x")
        _check_dtype(y.dtype, "y")
        value = _start(tensor.dtype, tuple(shape), value)
        results.append(_in_session(session, tensor, value, y, y_shape, delta, extra))
    return results if many else results[0]


def compute_gradient_error(
    x: Any,
    x_shape: Any,
    y: Any,
    y_shape: Any,
    x_init_value: Any = None,
    delta: float = 1e-3,
    init_targets: Any = None,
    extra_feed_dict: dict[Any, Any] | None = None,
) -> float:
    """The largest difference between the Jacobians of compute_gradient()."""
    found = compute_gradient(
        x, x_shape, y, y_shape, x_init_value, delta, init_targets, extra_feed_dict
    )
    pairs = found if isinstance(found, list) else [found]
    return max((_gap(a, b) for a, b in pairs), default=0.0)


def compute_gradient_v2(
    f: Callable[..., Any], x: Sequence[Any], delta: float | None = None
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """The Jacobians of ``f(*x)`` by gradients() and by central differences.

    ``f`` takes and gives tensors; ``x`` is a list or tuple of values. Two tuples, one
    array of shape (size of y, size of x) for each x. Complex numbers count as two
    reals. ``delta`` is 1/1024 unless given. An x that does not matter gives zeros;
    AssertionError for dtypes without derivatives.
    """
    if not isinstance(x, (list, tuple)):
        raise ValueError(
            "`x` must be a list or tuple of values convertible to a Tensor "
            f"(arguments to `f`), not a {type(x)}"
        )
    step = 1.0 / 1024 if delta is None else delta
    values = [to_array(np.asarray(v) if hasattr(v, "numpy") else v) for v in x]
    graph = Graph()
    with graph.as_default(), Session(graph=graph) as session:
        inputs = [
            graph.apply("Placeholder", dtype=t.dtype, shape=v.shape)
            for v, t in zip(values, map(graph.convert, values))
        ]
        y = graph.convert(f(*inputs))
        feed = dict(zip(inputs, values))
        y_shape = np.shape(session.run(y, feed))
        pairs = []
        for index, (tensor, value) in enumerate(zip(inputs, values)):
            _check_dtype(tensor.dtype, f"argument {index}")
            _check_dtype(y.dtype, "y")
            exact, rough = _in_session(
                session, tensor, value, y, y_shape, step, feed, unconnected="zero"
            )
            pairs.append((exact.T, rough.T))
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def max_error(grad1: Sequence[np.ndarray], grad2: Sequence[np.ndarray]) -> float:
    """The largest difference between the elements of two lists of arrays."""
    return max((_gap(a, b) for a, b in zip(grad1, grad2)), default=0.0)


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a - b))) if a.size else 0.0


def _check_dtype(dtype: DType, what: str) -> None:
    if not (dtype.is_floating or dtype.is_complex):
        raise AssertionError(f"Don't support type {dtype.name} for {what}")


def _start(dtype: DType, shape: tuple[int, ...], value: Any) -> np.ndarray:
    if value is None:
        value = np.random.random_sample(shape)
        if dtype.is_complex:
            value = value + 1j * np.random.random_sample(shape)
    start = np.array(value, dtype.np_dtype)
    if start.shape != shape:
        raise AssertionError(f"x_shape = {shape}, init_data shape = {start.shape}")
    return start


def _reals(value: Any) -> np.ndarray:
    """All numbers of an array in one float64 vector, complex ones as two."""
    flat = np.ascontiguousarray(value).reshape(-1)
    if flat.dtype.kind == "c":
        return flat.astype(np.complex128).view(np.float64)
    return flat.astype(np.float64)


def _moved(value: np.ndarray, index: int, step: float) -> np.ndarray:
    """A copy of ``value`` with its real number ``index`` moved by ``step``."""
    copy = np.array(value, order="C")
    flat = copy.reshape(-1)
    if copy.dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    flat[index] += np.asarray(step, flat.dtype)
    return copy


def _in_session(
    session: Any,
    x: Any,
    value: np.ndarray,
    y: Any,
    y_shape: Any,
    delta: float,
    feed: dict[Any, Any],
    unconnected: str = "none",
) -> Jacobians:
    """Both Jacobians, of shape (size of x, size of y)."""
    graph: Graph = x.graph
    with graph.as_default():
        weight = graph.apply("Placeholder", dtype=y.dtype, shape=tuple(y_shape))
        (dx,) = gradients(y, x, weight, unconnected_gradients=unconnected)
    if dx is None:
        raise AssertionError(f"dx = None: {y.name!r} does not depend on {x.name!r}.")
    dx = densify(dx)
    blank = np.zeros(tuple(y_shape), y.dtype.np_dtype)
    x_size, y_size = _reals(value).size, _reals(blank).size
    real = x.dtype.real_dtype.np_dtype
    exact = np.zeros((x_size, y_size), real)
    rough = np.zeros((x_size, y_size), real)
    for column in range(y_size):
        weights = _moved(blank, column, 1.0)
        exact[:, column] = _reals(session.run(dx, {**feed, x: value, weight: weights}))
    for row in range(x_size):
        above = session.run(y, {**feed, x: _moved(value, row, delta)})
        below = session.run(y, {**feed, x: _moved(value, row, -delta)})
        rough[row] = (_reals(above) - _reals(below)) / (2 * delta)
    return exact, rough
