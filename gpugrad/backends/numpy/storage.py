"""Where the arrays of a Program live: one arena, scratch, and views of both."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final

import numpy as np

from gpugrad.dtypes import DType
from gpugrad.kir.program import Program
from gpugrad.kir.space import Buffer, Shape, View

# A cache line, and the widest vector load.
ALIGNMENT: Final = 64


def aligned_bytes(count: int) -> np.ndarray:
    """``count`` bytes, not filled, from an address divisible by ALIGNMENT."""
    raw = np.empty(count + ALIGNMENT, np.uint8)
    skip = -raw.ctypes.data % ALIGNMENT
    return raw[skip : skip + count]


def strided(flat: np.ndarray, shape: Shape, strides: Shape, offset: int) -> np.ndarray:
    """Part of a flat array of Python objects; strides and offset in elements."""
    # ndarray(buffer=...) refuses objects.
    steps = tuple(s * flat.itemsize for s in strides)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps)


def view_of(base: np.ndarray, first_byte: int, view: View) -> np.ndarray:
    """``view`` where its buffer begins ``first_byte`` bytes into flat ``base``."""
    dtype = view.buffer.dtype.np_dtype
    assert dtype is not None
    if 0 in view.shape:
        return np.empty(view.shape, dtype)
    if dtype.hasobject:
        return strided(base, view.shape, view.strides, view.offset)
    size = dtype.itemsize
    return np.ndarray(
        view.shape,
        dtype,
        base,
        first_byte + view.offset * size,
        tuple([s * size for s in view.strides]),
    )


class Storage:
    """The arrays that a Program keeps from run to run: temps, constants, the step.

    A temp lies in the arena where the memory pass put it, or, if that has not run
    (and for strings, which are Python objects), in an array of its own.
    """

    def __init__(self, program: Program) -> None:
        self._offsets = program.offsets
        self._arena = aligned_bytes(program.arena_bytes) if program.offsets else None
        self._own = {key: np.reshape(a, -1) for key, a in program.consts.items()}
        self._views: dict[Any, np.ndarray] = {}

    def array(self, view: View) -> np.ndarray:
        """The array that is ``view`` of a temp, const or step buffer.

        The same array for the same bytes: a ufunc that works in place asks whether
        its arguments overlap (0.2 us) unless it is given one array twice.
        """
        buffer = view.buffer
        offset = self._offsets.get(buffer.id)
        if offset is not None and self._arena is not None:
            key = (offset, buffer.dtype, *view[1:])
            made = self._views.get(key)
            if made is None:
                made = self._views[key] = view_of(self._arena, offset, view)
            return made
        own = self._own.get(buffer.id)
        if own is None:
            own = self._own[buffer.id] = np.empty(buffer.size, buffer.dtype.np_dtype)
        return view_of(own, 0, view)


class Scratch:
    """Memory for what a kernel computes on the way: slots, taken and given back.

    Each slot is as large as its largest use, which is known only when all code has
    been written. So ``take`` hands out names, and ``arrays`` makes the arrays. Names
    begin with ``prefix``. Kernels that run one after the other share it.
    """

    def __init__(self, prefix: str = "s") -> None:
        self._prefix = prefix
        # The lowest first: then equal kernels use equal slots, and share the arrays.
        self._free: list[int] = []
        self._slots = 0
        self._object_slots = 0
        self._names: dict[tuple[int, DType, Shape], str] = {}

    def take(self, dtype: DType, shape: Shape) -> tuple[str, int]:
        """A name for an array of this kind, and its slot, to be given back."""
        assert dtype.np_dtype is not None
        if dtype.np_dtype.hasobject:
            # Strings are rare: a new slot each time, never shared with bytes.
            self._object_slots += 1
            slot = -self._object_slots
        elif self._free:
            slot = heapq.heappop(self._free)
        else:
            slot = self._slots
            self._slots += 1
        return self.alias(slot, dtype, shape), slot

    def alias(self, slot: int, dtype: DType, shape: Shape) -> str:
        """Another name for the bytes of a slot."""
        key = (slot, dtype, shape)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"{self._prefix}{len(self._names)}"
        return name

    def give_back(self, slot: int) -> None:
        """What the slot holds is not needed any more."""
        if slot >= 0:
            heapq.heappush(self._free, slot)

    @property
    def names(self) -> list[str]:
        """All names, in the order of ``arrays``."""
        return list(self._names.values())

    def sizes(self, real: Callable[[Shape], Shape] = tuple) -> list[int]:
        """Bytes that each slot takes, where ``real`` says what shapes become."""
        found = [0] * self._slots
        for slot, dtype, shape in self._names:
            if slot >= 0:
                size = prod(real(shape)) * dtype.size
                found[slot] = max(found[slot], size)
        return found

    def arrays(
        self, memory: Sequence[np.ndarray], real: Callable[[Shape], Shape] = tuple
    ) -> list[np.ndarray]:
        """The array behind each name, in ``memory``: the bytes of each slot."""
        made = []
        for slot, dtype, shape in self._names:
            buffer = memory[slot] if slot >= 0 else None
            made.append(np.ndarray(real(shape), dtype.np_dtype, buffer))
        return made


def itemised(buffer: Buffer, strides: Shape) -> Shape:
    """``strides`` in bytes."""
    return tuple(s * buffer.dtype.itemsize for s in strides)
