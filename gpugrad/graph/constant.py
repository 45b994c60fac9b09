"""Values while building: Python and NumPy to arrays, and what is known of a tensor."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import GraphTypeError

# How far back a shape computation is followed before it counts as unknown.
_DEPTH: Final = 64
_NONE_MESSAGE: Final = "None values not supported."


def _reject(value: Any, dtype: DType, kind: str) -> GraphTypeError:
    sample = value
    while isinstance(sample, (list, tuple)) and sample:
        sample = sample[0]
    return GraphTypeError(
        f"Expected {dtype.name}, but got {sample!r} of type '{type(sample).__name__}'."
    )


def _accepts(dtype: DType, kind: str) -> bool:
    """Whether a Python value of NumPy ``kind`` may become ``dtype``."""
    if kind == "b":
        return dtype.is_bool
    if kind in "iu":
        return dtype.is_numeric
    if kind == "f":
        return dtype.is_floating or dtype.is_complex
    if kind == "c":
        return dtype.is_complex
    return dtype is dtypes.string


def to_array(value: Any, dtype: DType | None = None) -> np.ndarray:
    """``value`` as a C-ordered array of ``dtype``, or of the type TensorFlow gives it.

    Python ints become int32 (int64 if they need it), floats float32; NumPy values
    keep their type. GraphTypeError where a Python value would lose something (1.5
    as int32); ValueError for None.
    """
    if value is None:
        raise ValueError(_NONE_MESSAGE)
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind in "SU":
            array = _bytes(array)
        if dtype is not None and array.dtype != dtype.np_dtype:
            if (dtype is dtypes.string) != (array.dtype.kind == "O"):
                raise _reject(value.reshape(-1).tolist(), dtype, "O")
            array = array.astype(dtype.np_dtype)
        return np.ascontiguousarray(array).reshape(array.shape)
    if dtype is not None and hasattr(dtype.np_dtype, "type"):
        # The commonest operand: one Python number.
        kind = {float: "f", int: "i"}.get(type(value))
        if kind is not None and _accepts(dtype, kind):
            try:
                return np.array(value, dtype.np_dtype)
            except OverflowError:
                raise _reject(value, dtype, "i") from None
    return _python_array(value, dtype)


def _bytes(array: np.ndarray) -> np.ndarray:
    flat = [s.encode() if isinstance(s, str) else s for s in array.reshape(-1).tolist()]
    out = np.empty(len(flat), object)
    out[:] = flat
    return out.reshape(array.shape)


def _python_array(value: Any, dtype: DType | None) -> np.ndarray:
    try:
        array = np.array(value)
    except ValueError as error:
        if _has_none(value):
            raise ValueError(_NONE_MESSAGE) from None
        raise ValueError(
            f"Can't convert non-rectangular Python sequence: {error}"
        ) from None
    kind = array.dtype.kind
    if kind in "SU":
        array, kind = _bytes(array), "O"
    elif kind == "O":
        if _has_none(value):
            raise ValueError(_NONE_MESSAGE)
        if not all(isinstance(v, (bytes, str)) for v in array.reshape(-1).tolist()):
            raise GraphTypeError(
                f"Failed to convert {value!r} to a tensor: its elements are of type "
                f"{type(array.reshape(-1)[0]).__name__}. Pass numbers, strings or "
                "arrays."
            )
        array = _bytes(array.astype(object))
    if dtype is not None:
        if array.size and not _accepts(dtype, kind):
            raise _reject(value, dtype, kind)
        return array.astype(dtype.np_dtype)
    if kind == "f" and not _has_numpy_type(value, np.floating):
        array = array.astype(np.float32)
    elif kind == "i" and not _has_numpy_type(value, np.integer):
        info = np.iinfo(np.int32)
        if array.size == 0 or (array.min() >= info.min and array.max() <= info.max):
            array = array.astype(np.int32)
    return array


def _has_none(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_none(v) for v in value)
    return value is None


def _has_numpy_type(value: Any, kind: type) -> bool:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    if isinstance(value, np.ndarray):
        return np.issubdtype(value.dtype, kind)
    return isinstance(value, kind) and isinstance(value, np.generic)


# --- what is known of a tensor --------------------------------------------------------


def partial_value(
    tensor: Any, depth: int = 0, seen: dict[Any, Any] | None = None
) -> np.ndarray | None:
    """The tensor's value as far as it follows from constants and static shapes.

    A fully known value is a numeric array. A partly known vector of sizes is an
    object array with None in the unknown places. None when nothing is known, and
    whenever the tensor is fed nothing of this holds: callers use it for shapes only.
    """
    op = tensor.op
    value = op.attrs.get("value")
    if value is not None and not op.inputs:
        return value
    captured = op.attrs.get("_captured")
    if captured is not None:
        return partial_value(captured, depth + 1, seen)
    spec = op.spec
    if spec.value is None or depth > _DEPTH:
        return None
    # A tensor that is used twice is looked behind once: n = n + n stays linear.
    seen = {} if seen is None else seen
    if op not in seen:
        inputs = [partial_value(t, depth + 1, seen) for t in op.inputs]
        seen[op] = spec.value(op, inputs)
    outputs = seen[op]
    return None if outputs is None else outputs[tensor.value_index]


def constant_value(tensor: Any) -> np.ndarray | None:
    """The tensor's value if it is wholly known while building, else None."""
    value = partial_value(tensor)
    if value is None or (value.dtype.kind == "O" and tensor.dtype is not dtypes.string):
        return None
    return value


def sizes(tensor: Any) -> tuple[int | None, ...] | None:
    """A static vector of sizes: known entries, None for others, None for no rank.

    -1 stays -1: its meaning is the op's affair.
    """
    value = partial_value(tensor)
    if value is not None:
        return tuple(None if v is None else int(v) for v in value.reshape(-1).tolist())
    shape = tensor._shape
    if shape is None or len(shape) != 1 or shape[0] is None:
        return None
    return (None,) * shape[0]
