"""A device that is the CPU, for whole Programs, and streams that take notes."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad.backends.cupy.executable import CupyExecutable, _lower
from gpugrad.backends.cupy.text import Kernel
from gpugrad.dtypes import DType
from gpugrad.kir.program import Program
from gpugrad.kir.target import Target
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


class HollowDevice:
    """executable.Device over NumPy arrays, whose kernels do nothing.

    ``statuses`` gives by launch what the driver answers. Memory is counted: ``held``
    bytes now, at most ``capacity``, beyond which it is a MemoryError.
    """

    xp = np

    def __init__(self, capacity: int = 1 << 40) -> None:
        self.notes: list[str] = []
        self.statuses: dict[int, int] = {}
        self.launches = self.allocations = self.events = self.held = self.freed = 0
        self.capacity = capacity
        self._streams: dict[int, FakeStream] = {}

    def functions(self, kernels: Sequence[Kernel]) -> dict[str, int]:
        return {kernel.name: number for number, kernel in enumerate(kernels, 1)}

    def launch(self, function: int, *rest: Any) -> int:
        """Called as cuLaunchKernel is."""
        self.launches += 1
        return self.statuses.get(self.launches - 1, 0)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        size = int(np.prod(shape)) * dtype.itemsize
        if self.held + size > self.capacity:
            raise MemoryError(f"{size} bytes asked for, {self.held} in use")
        self.held += size
        self.allocations += 1
        # Views of it keep it alive: it is held until the last of them is gone.
        memory = np.full(size + 16, 0xA5, np.uint8)
        weakref.finalize(memory, self._give_back, size)
        start = -memory.ctypes.data % 16
        return memory[start : start + size].view(dtype).reshape(shape)

    def _give_back(self, size: int) -> None:
        self.held -= size

    def free_memory(self) -> None:
        self.freed += 1

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
        self.events += 1
        return FakeEvent(self.events)


class FakeBackend:
    """backends.base.Backend that runs its Programs as the GPU's does, on a device."""

    name = "cupy"
    device_type = "GPU"
    xp = np
    device_name = "a fake"

    def __init__(self, device: HollowDevice, streams: int = 1) -> None:
        self.device = device
        self.target = Target(streams=streams)
        self.fractions: list[float] = []

    def load(self, program: Program) -> CupyExecutable:
        return CupyExecutable(program, self.device)

    def to_device(self, value: Any, dtype: DType) -> np.ndarray:
        return np.asarray(value, dtype.np_dtype, order="C")

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def free_memory(self) -> None:
        self.device.free_memory()

    def limit_memory(self, fraction: float) -> None:
        self.fractions.append(fraction)

    def synchronize(self) -> None:
        pass


class FakeDevice(HollowDevice):
    """The same with kernels that g++ compiled."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.launched: list[str] = []
        self._folder, self._loads = folder, 0
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
        machine.launch_packed(kernel, pointers, order=values[0] // 16 % 3)
        return 0


class SharedDevice(FakeDevice):
    """A FakeDevice whose kernels were compiled before, all together."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        super().__init__(folder)
        self._machine = machine

    def functions(self, kernels: Sequence[Kernel]) -> dict[str, int]:
        handles = {}
        for kernel in kernels:
            self._known.append((self._machine, kernel))
            handles[kernel.name] = len(self._known)
        return handles


def kernels_of(program: Program) -> list[Kernel]:
    """Those that a CupyExecutable of ``program`` asks a device for."""
    lowered = [_lower(step, program.in_place) for step in program.steps]
    return [k for low in lowered if low for k in low.kernels]
