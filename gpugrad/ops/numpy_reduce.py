"""NumPy's reductions and scans on tensors: np.sum(t, axis=0) and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op
from gpugrad.ops import arg, reduce, scan, statistics
from gpugrad.ops.family import OpFamily

family = OpFamily()


def _no_out(out: Any) -> None:
    if out is not None:
        raise TypeError("A symbolic tensor cannot be written into: leave out= away.")


def _cast(x: Any, dtype: Any) -> Any:
    if dtype is None:
        return x
    wanted = dtypes.as_dtype(dtype)
    return x if x.dtype is wanted else apply_op("Cast", x, DstT=wanted)


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` under the arguments that NumPy's reductions take."""

    def reduction(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
    ) -> Any:
        _no_out(out)
        return function(_cast(a, dtype), axis, keepdims=keepdims)

    return reduction


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for those without ``dtype``."""

    def reduction(
        a: Any, axis: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        _no_out(out)
        return function(a, axis, keepdims=keepdims)

    return reduction


def _as_bool(function: Callable[..., Any]) -> Callable[..., Any]:
    def of_truth(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(_cast(a, dtypes.bool_), axis, keepdims=keepdims)

    return of_truth


def _inexact(x: Any) -> Any:
    """Integers as float64, as NumPy's means and variances take them."""
    return _cast(x, dtypes.float64) if x.dtype.is_integer or x.dtype.is_bool else x


family.numpy_function(np.sum)(_reduction(reduce.reduce_sum))
family.numpy_function(np.prod)(_reduction(reduce.reduce_prod))
family.numpy_function(np.max, np.amax)(_plain(reduce.reduce_max))
family.numpy_function(np.min, np.amin)(_plain(reduce.reduce_min))
family.numpy_function(np.all)(_plain(_as_bool(reduce.reduce_all)))
family.numpy_function(np.any)(_plain(_as_bool(reduce.reduce_any)))


@family.numpy_function(np.mean)
def _mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Any:
    _no_out(out)
    return reduce.reduce_mean(_inexact(_cast(a, dtype)), axis, keepdims=keepdims)


@family.numpy_function(np.var)
def _var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: int = 0,
    keepdims: bool = False,
) -> Any:
    _no_out(out)
    a = _inexact(_cast(a, dtype))
    variance = statistics.reduce_variance(a, axis, keepdims)
    if not ddof:
        return variance
    size = _cast(apply_op("Size", a), variance.dtype)
    count = size / _cast(apply_op("Size", variance), variance.dtype)
    return variance * (count / (count - ddof))


@family.numpy_function(np.std)
def _std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: int = 0,
    keepdims: bool = False,
) -> Any:
    return apply_op("Sqrt", _var(a, axis, dtype, out, ddof, keepdims))


def _position(function: Callable[..., Any]) -> Callable[..., Any]:
    def position(
        a: Any, axis: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        _no_out(out)
        if axis is None:
            found = function(apply_op("Reshape", a, [-1]), 0)
            rank = 0 if a.ndim is None else a.ndim
            return apply_op("Reshape", found, [1] * rank) if keepdims else found
        found = function(a, axis)
        return apply_op("ExpandDims", found, axis) if keepdims else found

    return position


family.numpy_function(np.argmax)(_position(arg.argmax))
family.numpy_function(np.argmin)(_position(arg.argmin))


def _scan(function: Callable[..., Any]) -> Callable[..., Any]:
    def over_all(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        _no_out(out)
        a = _cast(a, dtype)
        if axis is None:
            a, axis = apply_op("Reshape", a, [-1]), 0
        return function(a, axis)

    return over_all


family.numpy_function(np.cumsum)(_scan(scan.cumsum))
family.numpy_function(np.cumprod)(_scan(scan.cumprod))


@family.numpy_function(np.count_nonzero)
def _count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return statistics.count_nonzero(a, axis, keepdims)


@family.numpy_function(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if axis is None and ord is not None and x.ndim == 2:
        axis = (0, 1)
    return statistics.norm(x, "euclidean" if ord is None else ord, axis, keepdims)
