"""What inference and gradient rules of several families share."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType
from gpugrad.graph import build, constant
from gpugrad.graph.tensor import Tensor

FLOATS = (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64)
COMPLEX = (dtypes.complex64, dtypes.complex128)
INEXACT = (*FLOATS, *COMPLEX)
SIGNED = (dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64)
UNSIGNED = (dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64)
INTEGERS = (*SIGNED, *UNSIGNED)
REAL = (*FLOATS, *INTEGERS)
NUMBERS = (*REAL, *COMPLEX)

# Fewer zeros than this are a constant.
_SMALL = 1000


def require_dtype(op: Any, index: int, allowed: tuple[DType, ...]) -> None:
    """TypeError unless input ``index`` has one of the ``allowed`` dtypes."""
    dtype = op.inputs[index].dtype
    if dtype not in allowed:
        names = ", ".join(d.name for d in allowed)
        raise TypeError(
            f"Value passed to parameter '{op.spec.inputs[index].name}' has DataType "
            f"{dtype.name} not in list of allowed values: {names}."
        )


def require_rank(shape: shapes.Partial, rank: int, least: bool = False) -> None:
    """ValueError unless a known shape has ``rank`` dimensions (``least``: or more)."""
    if shape is None or len(shape) == rank or (least and len(shape) > rank):
        return
    wanted = f"at least rank {rank}" if least else f"rank {rank}"
    raise ValueError(f"Shape must be {wanted} but is rank {len(shape)}.")


def merge_dimensions(first: int | None, second: int | None) -> int | None:
    """One dimension that both are; ValueError if they differ."""
    if first is not None and second is not None and first != second:
        raise ValueError(f"Dimensions must be equal, but are {first} and {second}.")
    return second if first is None else first


def merge_shapes(first: shapes.Partial, second: shapes.Partial) -> shapes.Partial:
    """One shape that both are; ValueError if they differ."""
    if first is None or second is None or first == second:
        return second if first is None else first
    if len(first) != len(second):
        raise ValueError(
            f"Shapes must be equal rank, but are {len(first)} and {len(second)}."
        )
    for axis, (m, n) in enumerate(zip(first, second)):
        if m is not None and n is not None and m != n:
            raise ValueError(
                f"Dimension {axis} in both shapes must be equal, but are {m} and {n}. "
                f"Shapes are {list(first)} and {list(second)}."
            )
    return shapes.merge(first, second)


def is_half(dtype: DType) -> bool:
    """True for float16 and bfloat16, which are computed with in float32."""
    return dtype.is_floating and dtype.itemsize == 2


def const(graph: Any, value: Any, dtype: DType, name: str = "Const") -> Any:
    """A Const node."""
    return graph.apply(
        "Const", name=name, value=np.asarray(value, dtype.np_dtype), dtype=dtype
    )


def zeros_like(graph: Any, tensor: Any) -> Any:
    """Zeros of the tensor's shape and dtype: a Const if they are known and few."""
    shape = tensor._shape
    if shapes.is_known(shape) and np.prod(shape, dtype=int) < _SMALL:
        value = np.zeros(shape, tensor.dtype.np_dtype)
        return const(graph, value, tensor.dtype, "zeros_like")
    return graph.apply("ZerosLike", tensor, name="zeros_like")


def zeros_of(x: Any) -> Any:
    """Zeros of the shape and dtype of a tensor, or of a value on a device."""
    if isinstance(x, Tensor):
        return zeros_like(x.graph, x)
    return build.apply_op("ZerosLike", x)


def conj(tensor: Any) -> Any:
    """The complex conjugate; the tensor itself if it is real."""
    return tensor.graph.apply("Conj", tensor) if tensor.dtype.is_complex else tensor


def is_zero(tensor: Any) -> bool:
    """True for what the gradient engine fills in where no gradient arrived."""
    if tensor is None or tensor.op.type == "ZerosLike":
        return True
    value = constant.constant_value(tensor)
    return value is not None and value.dtype.kind in "fc" and not np.any(value)


def one_of(first: Any, second: Any, first_name: str, second_name: str) -> Any:
    """The argument that was given, of two that mean the same."""
    if second is None:
        return first
    if first is not None:
        raise ValueError(f"Cannot specify both '{second_name}' and '{first_name}'.")
    return second
