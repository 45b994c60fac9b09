"""A device that is the CPU, for whole Programs, and streams that take notes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad.backends.cupy.text import Kernel
from tests.cuda.cpu import Machine


class FakeEvent:
    """An event that knows its number."""

    def __init__(self, number: int) -> None:
        self.number = number


class FakeStream:
    """A stream that writes down what it is told."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes, self.ptr = name, notes, 0

    def record(self, event: FakeEvent) -> FakeEvent:
        self.notes.append(f"{self.name} records {event.number}")
        return event

    def wait_event(self, event: FakeEvent) -> None:
        self.notes.append(f"{self.name} waits {event.number}")


class FakeDevice:
    """executable.Device over NumPy arrays, with kernels that g++ compiled."""

    xp = np

    def __init__(self, folder: Path) -> None:
        self.notes: list[str] = []
        self.launched: list[str] = []
        self._folder, self._loads, self._events = folder, 0, 0
        self._streams: dict[int, FakeStream] = {}
        self._known: list[tuple[Machine, Kernel]] = []

    def functions(self, kernels: Sequence[Kernel]) -> dict[str, int]:
        self._loads += 1
        folder = self._folder / str(self._loads)
        folder.mkdir(parents=True)
        machine = Machine(kernels, folder, parts=1)
        handles = {}
        for kernel in kernels:
            self._known.append((machine, kernel))
            handles[kernel.name] = len(self._known)  # 0 is no function
        return handles

    def launch(self, function: int, *rest: Any) -> int:
        """Called as cuLaunchKernel is."""
        *shape, _, _, pointers, extra = rest
        assert extra is None
        machine, kernel = self._known[function - 1]
        assert tuple(shape) == (*kernel.grid, *kernel.block)
        self.launched.append(kernel.name)
        slots = ctypes.cast(pointers, ctypes.POINTER(ctypes.POINTER(ctypes.c_uint64)))
        values = [slots[i][0] for i in range(len(kernel.arguments))]
        machine.launch_packed(kernel, pointers, backwards=bool(values[0] % 32))
        return 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        size = int(np.prod(shape)) * dtype.itemsize
        memory = np.full(size + 16, 0xA5, np.uint8)
        start = -memory.ctypes.data % 16
        return memory[start : start + size].view(dtype).reshape(shape)

    def upload(self, values: np.ndarray) -> np.ndarray:
        made = self.empty(values.shape, values.dtype)
        made[...] = values
        return made

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def view(
        self, array: np.ndarray, start: int, shape: Any, dtype: Any, strides: Any
    ) -> np.ndarray:
        if 0 in shape:
            return np.empty(shape, dtype)
        flat = array.reshape(-1).view(np.uint8)[start:]
        flat = flat[: flat.size // dtype.itemsize * dtype.itemsize].view(dtype)
        return np.lib.stride_tricks.as_strided(flat, shape, strides)

    def stream(self, number: int) -> FakeStream:
        name = "gate" if number == -1 else f"s{number}"
        return self._streams.setdefault(number, FakeStream(name, self.notes))

    @contextmanager
    def using(self, stream: FakeStream) -> Iterator[None]:
        self.notes.append(f"call on {stream.name}")
        yield

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def new_event(self) -> FakeEvent:
        self._events += 1
        return FakeEvent(self._events)
