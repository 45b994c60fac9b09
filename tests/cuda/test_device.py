"""CudaDevice over a CuPy that only takes notes: whatever it makes is its device's own.

Says nothing of a GPU; it holds the calls to CuPy's signatures and to the right device.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.errors import UnavailableError
from gpugrad.kir.program import GATE


class Noting:
    """Notes what is made while which device is current."""

    def __init__(self) -> None:
        self.current = [0]
        self.made: list[tuple[str, int]] = []
        self.stream: list[object] = []
        self.limits: list[tuple[int, float]] = []

    def note(self, what: str) -> None:
        self.made.append((what, self.current[-1]))


class CUDARuntimeError(RuntimeError):
    """CuPy's error, with the driver's number."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


def cupy_like(notes: Noting) -> ModuleType:
    """As much of CuPy as device.py and backend.py use."""

    class Device:
        def __init__(self, number: int) -> None:
            self.number, self.compute_capability = number, "90"

        def __enter__(self) -> None:
            notes.current.append(self.number)

        def __exit__(self, *error: object) -> None:
            notes.current.pop()

        def synchronize(self) -> None:
            raise CUDARuntimeError(719)

    class Stream:
        def __init__(self, non_blocking: bool = False) -> None:
            assert non_blocking
            notes.note("stream")
            self.device, self.ptr = notes.current[-1], len(notes.made)
            self.waited: list[object] = []

        def __enter__(self) -> None:
            assert notes.current[-1] == self.device
            notes.stream.append(self)

        def __exit__(self, *error: object) -> None:
            notes.stream.pop()

        def record(self, event: object) -> object:
            assert event.device == self.device
            return event

        def wait_event(self, event: object) -> None:
            self.waited.append(event)

    class Event:
        def __init__(self, disable_timing: bool = False) -> None:
            assert disable_timing
            notes.note("event")
            self.device = notes.current[-1]

    class Pool:
        def free_all_blocks(self) -> None:
            notes.note("free")

        def set_limit(self, size: int | None = None, fraction: float = 0) -> None:
            notes.limits.append((notes.current[-1], fraction))

    def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        assert notes.stream, "memory comes from the home stream's pool"
        notes.note("empty")
        return np.empty(shape, dtype)

    def array(values: np.ndarray) -> np.ndarray:
        notes.note("upload")
        return np.array(values)

    cupy = ModuleType("cupy")
    caller = Stream(non_blocking=True)
    caller.device = 1
    runtime = SimpleNamespace(
        getDevice=lambda: 0,
        getDeviceProperties=lambda number: {"name": f"GPU {number}".encode()},
    )
    cupy.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        Device=Device, Stream=Stream, Event=Event, runtime=runtime,
        get_current_stream=lambda: notes.stream[-1] if notes.stream else caller,
    )  # fmt: skip
    cupy.empty, cupy.array, cupy.ndarray = empty, array, np.ndarray  # type: ignore[attr-defined]
    cupy.asarray = lambda value, dtype, order: (notes.note("asarray"), value)[1]  # type: ignore[attr-defined]
    cupy.get_default_memory_pool = Pool  # type: ignore[attr-defined]
    cupy.get_default_pinned_memory_pool = Pool  # type: ignore[attr-defined]
    return cupy


@pytest.fixture
def notes(monkeypatch) -> Iterator[Noting]:
    notes = Noting()
    monkeypatch.setitem(sys.modules, "cupy", cupy_like(notes))
    names = [f"gpugrad.backends.cupy.{n}" for n in ("device", "backend")]
    before = {name: sys.modules.pop(name, None) for name in names}
    notes.made.clear()
    yield notes
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


def backend_of(number: int | None):
    return import_module("gpugrad.backends.cupy.backend").CupyBackend(number)


def test_all_that_is_made_is_of_the_device(notes) -> None:
    device = backend_of(1)._device
    device.empty((4,), np.dtype(np.float32))
    device.upload(np.zeros(3))
    for number in (0, 2, GATE):
        assert device.stream(number) is device.stream(number)
    device.new_event()
    device.free_memory()
    device.limit_memory(0.5)
    assert {number for _, number in notes.made} == {1}
    assert {what for what, _ in notes.made} == {
        "stream", "empty", "upload", "event", "free",
    }  # fmt: skip
    assert notes.limits == [(1, 0.5)]
    assert notes.current == [0]


def test_a_run_is_ordered_with_the_callers_stream(notes) -> None:
    device = backend_of(1)._device
    caller = sys.modules["cupy"].cuda.get_current_stream()
    home = device.stream(0)
    with device.running():
        assert notes.stream == [home]
        assert len(home.waited) == 1 and not caller.waited
    assert len(caller.waited) == 1
    assert notes.stream == [] and notes.current == [0]


def test_the_backend_is_of_the_number_or_of_the_current_device(notes) -> None:
    assert backend_of(3).device_name == "GPU 3"
    assert backend_of(None).device_name == "GPU 0"
    backend = backend_of(2)
    notes.made.clear()
    backend.to_device(np.zeros(2), dtypes.float64)
    assert notes.made == [("asarray", 2)]
    assert backend.target.streams == 4
    backend.limit_memory(0.25)
    backend.free_memory()
    assert notes.limits == [(2, 0.25)]


def test_what_cuda_raises_later_is_explained(notes) -> None:
    with pytest.raises(UnavailableError, match="lost.*719.*waiting for the GPU"):
        backend_of(1).synchronize()
