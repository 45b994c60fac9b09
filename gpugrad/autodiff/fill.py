"""Ones to start from, and zeros where no gradient came."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Tensor
from gpugrad.shapes import Partial

# Fewer zeros than this are a constant; more are a Fill.
_SMALL: Final = 1000


def shape_vector(graph: Graph, tensor: Tensor) -> Tensor:
    """The tensor's shape: a constant as soon as it is static."""
    if shapes.is_known(tensor._shape):
        return _vector(graph, tensor._shape, "Shape")
    return graph.apply("Shape", graph.adopt(tensor), out_type=dtypes.int32)


def _vector(graph: Graph, shape: Partial, name: str) -> Tensor:
    return graph.convert(np.array(shape, np.int32), dtypes.int32, name)


def _one_value(graph: Graph, value: int, dtype: DType, scope: str) -> Tensor:
    number: Any = bool(value) if dtype.is_bool else value
    if dtype is dtypes.string and not value:
        number = b""
    return graph.convert(number, dtype, scope)


def ones(graph: Graph, y: Tensor, name: str) -> Tensor:
    """Ones of y's shape and dtype; TypeError for strings."""
    shape = shape_vector(graph, y)
    with graph.name_scope(name) as scope:
        one = _one_value(graph, 1, y.dtype, "Const")
        return graph.apply("Fill", shape, one, name=scope)


def zeros(graph: Graph, shape: Partial, dtype: DType, name: str) -> Tensor:
    """Zeros of a static shape."""
    known = shapes.known(shape)
    with graph.name_scope(name) as scope:
        if int(np.prod(known, dtype=np.int64)) < _SMALL and dtype.np_dtype is not None:
            blank: Any = np.zeros(known, dtype.np_dtype)
            if dtype is dtypes.string:
                blank = np.full(known, b"", object)
            return graph.convert(blank, dtype, scope)
        sizes = _vector(graph, known, "shape_as_tensor")
        zero = _one_value(graph, 0, dtype, "Const")
        return graph.apply("Fill", sizes, zero, name=scope)


def zeros_like(graph: Graph, x: Tensor) -> Tensor:
    """Zeros for an x without a gradient: a constant if its shape is static."""
    if shapes.is_known(x._shape):
        return zeros(graph, x._shape, x.dtype, "zeros_like")
    return graph.apply("ZerosLike", graph.adopt(x), name="zeros_like")


def variable_zeros(graph: Graph, shape: Partial, dtype: DType) -> Tensor:
    """Zeros for a variable, which is known by its handle."""
    sizes = _vector(graph, shapes.known(shape), "Const")
    with graph.name_scope("zeros") as scope:
        zero = _one_value(graph, 0, dtype, "Const")
        return graph.apply("Fill", sizes, zero, name=scope)
