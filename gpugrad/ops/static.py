"""What ops work out while building: partial values, and shapes as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.graph.constant import constant_value
from gpugrad.graph.graph import Graph
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.space import View
from gpugrad.ops.family import FOLD_LIMIT, is_known
from gpugrad.shapes import known

Dims = tuple[int | None, ...]


def static_input(name: str, attr: str, dtype: DType | None = dtypes.int32) -> Input:
    """An int32 or int64 input that decides a shape; ``dtype`` for Python values."""
    return Input(name, attr=attr, default=dtype, static=True)


def vector(values: Sequence[int | None], dtype: DType) -> np.ndarray:
    """Sizes as a value while building: partial if any is None."""
    if None in values:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    return np.array(values, dtype.np_dtype)


def tidy(array: Any, dtype: DType) -> np.ndarray | None:
    """A partial value in its normal form: numeric once no entry is None."""
    array = np.asarray(array)  # NumPy unpacks an object that stands alone
    if array.dtype.kind != "O" or dtype is dtypes.string:
        return array
    if None not in array.reshape(-1).tolist():
        return array.astype(dtype.np_dtype)
    return array if array.ndim == 1 else None


def moved(
    fn: Callable[..., np.ndarray],
) -> Callable[[Operation, list[Any]], list[Any] | None]:
    """A ``value`` rule for ops that only move elements.

    ``fn(op, x, *others)`` gets the partial first input and the other inputs, which
    must be wholly known.
    """

    def value(op: Operation, inputs: list[Any]) -> list[Any] | None:
        first = inputs[0]
        if first is None or first.size > FOLD_LIMIT:
            return None
        if not all(is_known(v) for v in inputs[1:]):
            return None
        try:
            array = np.asarray(fn(op, *inputs))
        except (ValueError, IndexError):
            return None  # the same mistake is an error where it has a node to name
        result = tidy(array, op.inputs[0].dtype)
        return None if result is None else [result]

    return value


def outputs(result: Any) -> list[Tensor]:
    """What ``apply`` gave for an op with a list of outputs, always as a list."""
    if isinstance(result, Operation):
        return []
    return result if isinstance(result, list) else [result]


def known_axis(axis: Tensor) -> int | None:
    """An axis, a scalar, as an integer; None if it is not known while building."""
    value = constant_value(axis)
    return None if value is None else int(value.reshape(-1)[0])


# --- shapes as tensors: a constant where it is known --------------------------------


def shape_of(
    x: Tensor, dtype: DType = dtypes.int32, name: str = "Shape", graph: Any = None
) -> Tensor:
    """The shape of ``x``: a Const if it is fully static, else a Shape op."""
    graph = graph or x.graph
    shape = x._shape
    if shape is not None and None not in shape:
        return constant_in(graph, np.array(shape, dtype.np_dtype), dtype, name)
    tensor: Tensor = graph.apply("Shape", x, name=name, out_type=dtype)
    return tensor


def rank_of(x: Tensor, name: str = "Rank", graph: Any = None) -> Tensor:
    """The rank of ``x``: a Const if it is static, else a Rank op."""
    graph = graph or x.graph
    if x._shape is not None:
        value = np.array(len(x._shape), np.int32)
        return constant_in(graph, value, dtypes.int32, name)
    tensor: Tensor = graph.apply("Rank", x, name=name)
    return tensor


def size_of(
    x: Tensor, dtype: DType = dtypes.int32, name: str = "Size", graph: Any = None
) -> Tensor:
    """The number of elements of ``x``: a Const if it is static, else a Size op."""
    graph = graph or x.graph
    shape = x._shape
    if shape is not None and None not in shape:
        value = np.array(prod(known(shape)), dtype.np_dtype)
        return constant_in(graph, value, dtype, name)
    tensor: Tensor = graph.apply("Size", x, name=name, out_type=dtype)
    return tensor


def constant_in(graph: Graph, value: np.ndarray, dtype: DType, name: str) -> Tensor:
    """A Const node of ``graph``."""
    tensor: Tensor = graph.apply("Const", name=name, value=value, dtype=dtype)
    return tensor


# --- lowering -----------------------------------------------------------------------


def resolved(shape: Sequence[int], have: Sequence[int]) -> tuple[int, ...]:
    """``shape`` with its -1 worked out for the elements of ``have``; else ValueError.

    Where both are empty, -1 is what the other sizes, zeros aside, leave over.
    """
    size, product = prod(have), 1
    for extent in shape:
        if extent < -1:
            raise ValueError(
                f"Size {shape.index(extent)} must be non-negative, not {extent}"
            )
        product *= 1 if extent == -1 else extent
    if list(shape).count(-1) > 1:
        raise ValueError("Only one input size may be -1, not both 0 and 1")
    if -1 in shape:
        if product == 0 == size:
            size = prod(n for n in have if n)
            product = prod(n for n in shape if n > 0)
        if product == 0 or size % product:
            raise ValueError(
                f"Input to reshape is a tensor with {size} values, but the requested "
                f"shape {list(shape)} requires a multiple of {product}"
            )
        return tuple(size // product if n == -1 else n for n in shape)
    if product != size:
        raise ValueError(
            f"Input to reshape is a tensor with {size} values, but the requested "
            f"shape {list(shape)} has {product}"
        )
    return tuple(shape)


def axis_in(axis: int, rank: int, what: str = "axis") -> int:
    """``axis`` counted from 0; ValueError if it is out of range."""
    if not -rank <= axis < rank:
        raise ValueError(
            f"Expected {what} in the range [{-rank}, {rank}), but got {axis}"
        )
    return axis % rank if rank else 0


def whole_slice(view: View, axis: int, start: int, size: int) -> View:
    """``size`` indices from ``start`` on along ``axis``, all of every other axis."""
    starts = tuple(start if i == axis else 0 for i in range(view.rank))
    sizes = tuple(size if i == axis else n for i, n in enumerate(view.shape))
    return view.slice(starts, sizes)


def on_host(xp: Any) -> bool:
    """True where looking at values costs nothing: errors in them are found."""
    return bool(xp.__name__ == "numpy")
