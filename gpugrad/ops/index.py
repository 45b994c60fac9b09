"""``tensor[key]``: Python's slices, indices, None and ... as one StridedSlice."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import graph_of
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Tensor
from gpugrad.ops.family import OpFamily
from gpugrad.ops.mask import boolean_mask

family = OpFamily()

_INTEGERS = (dtypes.int16, dtypes.int32, dtypes.int64)


class _Entries:
    """begin, end, strides and the masks, as they are collected from a key."""

    def __init__(self) -> None:
        self.begin: list[Any] = []
        self.end: list[Any] = []
        self.strides: list[Any] = []
        self.masks = dict.fromkeys(
            (
                "begin_mask",
                "end_mask",
                "ellipsis_mask",
                "new_axis_mask",
                "shrink_axis_mask",
            ),
            0,
        )

    def add(self, begin: Any, end: Any, stride: Any, *masks: str) -> None:
        """One entry; its bit is set in ``masks``."""
        bit = 1 << len(self.begin)
        self.begin.append(begin)
        self.end.append(end)
        self.strides.append(stride)
        for mask in masks:
            self.masks[mask] |= bit


def _collect(key: Any) -> _Entries:
    entries = _Entries()
    for item in key if isinstance(key, (tuple, list)) else (key,):
        if isinstance(item, slice):
            masks = []
            if item.start is None:
                masks.append("begin_mask")
            if item.stop is None or (
                type(item.stop) is int and item.stop == sys.maxsize
            ):
                masks.append("end_mask")
            start = 0 if item.start is None else _checked(item.start)
            stop = 0 if "end_mask" in masks else _checked(item.stop)
            step = 1 if item.step is None else _checked(item.step)
            entries.add(start, stop, step, *masks)
        elif item is Ellipsis:
            entries.add(0, 0, 1, "ellipsis_mask")
        elif item is None:
            entries.add(0, 0, 1, "new_axis_mask")
        else:
            index = _checked(item)
            entries.add(index, index + 1, 1, "shrink_axis_mask")
    return entries


def _checked(item: Any) -> Any:
    """An index as a Python integer or an integer scalar tensor; else TypeError."""
    if isinstance(item, Tensor):
        if item.dtype in _INTEGERS and item._shape in (None, ()):
            return item
    elif hasattr(item, "__tensor__") and not hasattr(item, "__gpugrad_value__"):
        dtype = getattr(item, "dtype", None)
        if dtype is not None and dtype.base_dtype in _INTEGERS:
            return item + 0  # what the variable holds
    elif not isinstance(item, (bool, np.bool_)):
        try:
            return item.__index__()
        except (AttributeError, TypeError):
            pass
    raise TypeError(
        "Only integers, slices (`:`), ellipsis (`...`), tf.newaxis (`None`) and scalar "
        f"tf.int32/tf.int64 tensors are valid indices, got {item!r}"
    )


def _is_mask(key: Any) -> bool:
    if isinstance(key, Tensor):
        return key.dtype.is_bool
    return isinstance(key, np.ndarray) and key.dtype == np.bool_ and key.ndim > 0


def getitem(tensor: Tensor, key: Any) -> Tensor:
    """``tensor[key]``: integers, slices, None, ``...``, integer scalars as tensors.

    A boolean array or tensor selects like boolean_mask. TypeError for other keys;
    ValueError for an index that the static shape shows to be out of bounds.
    """
    if _is_mask(key):
        return boolean_mask(tensor, key)
    entries = _collect(key)
    graph = graph_of(tensor)
    with graph.name_scope("strided_slice") as scope:
        parts = [entries.begin, entries.end, entries.strides]
        wide = _is_wide(parts)
        inputs = [
            _packed(graph, part, wide, name)
            for part, name in zip(parts, ("stack", "stack_1", "stack_2"))
        ]
        result: Tensor = graph.apply(
            "StridedSlice", tensor, *inputs, name=scope, **entries.masks
        )
    return result


def _is_wide(parts: Sequence[Sequence[Any]]) -> bool:
    """True when the entries need int64."""
    for part in parts:
        for entry in part:
            if isinstance(entry, Tensor):
                if entry.dtype is dtypes.int64:
                    return True
            elif not -(2**31) <= entry < 2**31:
                return True
    return False


def _packed(graph: Graph, entries: Sequence[Any], wide: bool, name: str) -> Tensor:
    dtype = dtypes.int64 if wide else dtypes.int32
    packed: Tensor
    if not any(isinstance(e, Tensor) for e in entries):
        value = np.array(entries, dtype.np_dtype)
        packed = graph.apply("Const", name=name, value=value, dtype=dtype)
        return packed
    tensors = []
    for i, entry in enumerate(entries):
        if not isinstance(entry, Tensor):
            value = np.array(entry, dtype.np_dtype)
            entry = graph.apply("Const", name=f"{name}/{i}", value=value, dtype=dtype)
        elif entry.dtype is not dtype:
            entry = graph.apply("Cast", entry, DstT=dtype)
        tensors.append(entry)
    packed = graph.apply("Pack", tensors, name=name, axis=0)
    return packed


family.numpy_function("getitem")(getitem)
