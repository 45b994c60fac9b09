"""Feed dictionaries: which tensors they set, and to what."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.backends.base import Array, Backend
from gpugrad.errors import GraphError, describe
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.tensor import Tensor


def expand(graph: Graph, feed_dict: Any) -> dict[Tensor, Any]:
    """One tensor a key: names looked up, IndexedSlices and tuples taken apart."""
    if not hasattr(feed_dict, "items"):
        raise TypeError(
            f"feed_dict must be a dictionary, not {type(feed_dict).__name__}."
        )
    found: dict[Tensor, Any] = {}
    for key, value in feed_dict.items():
        for tensor, item in _pairs(graph, key, value):
            if not graph.is_feedable(tensor):
                raise GraphError(f"Tensor {tensor.name} may not be fed.")
            found[tensor] = item
    return found


def _pairs(graph: Graph, key: Any, value: Any) -> list[tuple[Tensor, Any]]:
    if isinstance(key, IndexedSlices):
        parts = [key.values, key.indices]
        parts += [] if key.dense_shape is None else [key.dense_shape]
        return list(zip(parts, value))
    if isinstance(key, tuple):
        if len(key) != len(value):
            raise GraphError(
                f"A tuple of {len(key)} tensors is fed with {len(value)} values."
            )
        return [pair for k, v in zip(key, value) for pair in _pairs(graph, k, v)]
    try:
        return [(graph.as_graph_element(key, allow_operation=False), value)]
    except (TypeError, ValueError, KeyError) as error:
        message = error.args[0] if error.args else error
        raise TypeError(
            f"Cannot interpret feed_dict key as Tensor: {message}"
        ) from None


def array_for(tensor: Tensor, value: Any, backend: Backend) -> Array:
    """``value`` as the device array that stands for ``tensor``.

    Raises TypeError for values that do not become the dtype, ValueError for shapes
    that the static shape excludes; both name the tensor and its line.
    """
    dtype = tensor.dtype
    if isinstance(value, Tensor):
        raise TypeError(
            f"The value of a feed cannot be a tf.Tensor object ({value!r}, for "
            f"{describe(tensor.op)}). Feed Python scalars, lists or arrays."
        )
    inner = getattr(value, "__gpugrad_value__", None)
    if inner is not None:
        value = inner()
    if not _is_device_array(value, dtype, backend):
        value = _host_array(tensor, value)
    static = tensor._shape
    if static is not None and not _fits(value.shape, static):
        raise GraphError(
            f"Cannot feed value of shape {tuple(value.shape)} for Tensor "
            f"{tensor.name}, which has shape {shapes.TensorShape(static)} "
            f"[{describe(tensor.op)}]."
        )
    return backend.to_device(value, dtype)


def _is_device_array(value: Any, dtype: dtypes.DType, backend: Backend) -> bool:
    return isinstance(value, backend.xp.ndarray) and value.dtype == dtype.np_dtype


def _fits(shape: tuple[int, ...], static: tuple[int | None, ...]) -> bool:
    if len(shape) != len(static):
        return False
    return all(s is None or s == n for n, s in zip(shape, static))


def _host_array(tensor: Tensor, value: Any) -> np.ndarray:
    dtype = tensor.dtype
    if dtype.np_dtype is None:
        raise TypeError(
            f"{describe(tensor.op)} holds a {dtype.name}, which cannot be fed."
        )
    if hasattr(value, "__cuda_array_interface__") or (
        hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray)
    ):
        value = _foreign(value)
    if type(value) is int and not _holds(dtype, value):
        raise TypeError(
            f"Type of feed value {value} with type {type(value)} is not compatible "
            f"with Tensor type {dtype.np_dtype.type} of {describe(tensor.op)}. Try "
            "explicitly setting the type of the feed tensor to a larger type."
        )
    try:
        if dtype is dtypes.string:
            return _strings(np.asarray(value, object))
        return np.asarray(value, dtype=dtype.np_dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise type(error)(
            f"Cannot feed {value!r} for Tensor {tensor.name} of dtype {dtype.name} "
            f"[{describe(tensor.op)}]: {error}"
        ) from None


def _holds(dtype: dtypes.DType, value: int) -> bool:
    """True if the number stays what it is as ``dtype``."""
    if dtype.is_bool:
        return value in (0, 1)
    if dtype.is_integer:
        return int(dtype.min) <= value <= int(dtype.max)
    return dtype is not dtypes.string


def _strings(array: np.ndarray) -> np.ndarray:
    """An array of bytes; TypeError for what is neither bytes nor text."""
    flat = array.reshape(-1).tolist()
    out = np.empty(len(flat), object)
    for index, item in enumerate(flat):
        if not isinstance(item, (str, bytes)):
            raise TypeError(f"{item!r} is not a string")
        out[index] = item.encode() if isinstance(item, str) else item
    return out.reshape(array.shape)


def _foreign(value: Any) -> np.ndarray:
    """An array of another library, on the host."""
    get = getattr(value, "get", None)
    if callable(get):
        return np.asarray(get())  # cupy.ndarray
    if hasattr(value, "__array__"):
        return np.asarray(value)
    return np.from_dlpack(value)
