"""Memory of large results, used again when nobody holds them any more.

A fresh array of 16 MB costs more than computing it: the system hands out its pages one
by one, at the first touch of each. A result is therefore a view of a block that comes
back when the result and all views of it are gone. NumPy makes a view refer to the array
that it was made from, or to that array's base if it is of the same class; a block is of
a class of its own, so one weak reference to the result sees all views. Arrays are not
tracked by Python's collector: they die with their last reference, never before.
"""

from __future__ import annotations

import threading
import weakref
from math import prod
from typing import Any, Final

import numpy as np

from gpugrad.backends.numpy.storage import ALIGNMENT

# Below this the C library's allocator has the memory at hand.
LEAST_BYTES: Final = 1 << 18


class _Block(np.ndarray):
    """Bytes that own their memory."""


class Results:
    """Blocks of memory by size. ``limit`` bounds the bytes that lie idle.

    Safe to use from several threads, and from within Python's collector.
    """

    def __init__(self, limit: int = 1 << 29) -> None:
        self._limit = limit
        # Reentrant: an array may die, and give its block back, at any allocation.
        self._lock = threading.RLock()
        # The size used last comes last.
        self._idle: dict[int, list[_Block]] = {}
        self._idle_bytes = 0
        # The references must live until their arrays die.
        self._lent: dict[int, weakref.ref[np.ndarray]] = {}
        self._count = 0

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """A C-contiguous array, not filled, that nobody else holds."""
        size = dtype.itemsize
        for extent in shape:
            size *= extent
        block = self._take(size)
        skip = -block.ctypes.data % ALIGNMENT
        made: np.ndarray = np.ndarray(shape, dtype, block, skip)
        with self._lock:
            self._count = number = self._count + 1

            def give(_: object) -> None:
                self._give(number, size, block)

            self._lent[number] = weakref.ref(made, give)
        return made

    def clear(self) -> None:
        """Let go of what lies idle."""
        with self._lock:
            self._idle, self._idle_bytes = {}, 0

    @property
    def idle_bytes(self) -> int:
        """What waits to be used again."""
        return self._idle_bytes

    def _take(self, size: int) -> _Block:
        with self._lock:
            blocks = self._idle.pop(size, None)
            if blocks:
                block = blocks.pop()
                self._idle_bytes -= size
                if blocks:
                    self._idle[size] = blocks
                return block
        try:
            return _Block(size + ALIGNMENT, np.uint8)
        except MemoryError:
            self.clear()
            return _Block(size + ALIGNMENT, np.uint8)

    def _give(self, number: int, size: int, block: _Block) -> None:
        with self._lock:
            self._lent.pop(number, None)
            if size > self._limit:
                return
            self._idle.setdefault(size, []).append(block)
            self._idle_bytes += size
            while self._idle_bytes > self._limit:
                oldest = next(iter(self._idle))
                blocks = self._idle[oldest]
                blocks.pop()
                self._idle_bytes -= oldest
                if not blocks:
                    del self._idle[oldest]


# One for the process: what one plan gave, another may use.
RESULTS: Final = Results()


class Arrays:
    """The array namespace of library calls: NumPy, whose large arrays are recycled.

    What a call needs on the way is then touched for the first time only once.
    """

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        setattr(self, name, value)  # from now on it is found without this
        return value

    @staticmethod
    def empty(shape: int | tuple[int, ...], dtype: Any = float) -> np.ndarray:
        """As numpy.empty."""
        shape, dtype = (shape,) if isinstance(shape, int) else shape, np.dtype(dtype)
        if prod(shape) * dtype.itemsize < LEAST_BYTES or dtype.hasobject:
            return np.empty(shape, dtype)
        return RESULTS.array(tuple(shape), dtype)


ARRAYS: Final = Arrays()
