"""One CUDA device through CuPy: memory, streams, loaded kernels.

Written against CuPy 14's API; none of it has been run on a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import cupy
import numpy as np

from gpugrad import config
from gpugrad.backends.cupy.cache import CubinCache, default_folder
from gpugrad.backends.cupy.compile import compile_modules
from gpugrad.backends.cupy.launch import driver_launch
from gpugrad.backends.cupy.text import Kernel, module_source
from gpugrad.kir.space import Shape

# Kernels a module: enough to share the cost of a call of the compiler (about 25 ms a
# kernel, 10 ms a module), few enough to compile in several threads.
_MODULE_KERNELS: Final = 16


class CudaDevice:
    """See executable.Device. ``number`` is CUDA's; streams and kernels are kept."""

    xp = cupy

    def __init__(self, number: int) -> None:
        self.number = number
        self._device = cupy.cuda.Device(number)
        self._streams: dict[int, Any] = {}
        self._modules: list[Any] = []
        self._handles: dict[str, int] = {}
        self._lock = threading.Lock()
        folder = config.current().cache_dir
        self._cubins = CubinCache(Path(folder) if folder else default_folder())
        with self._device:
            self._arch = f"sm_{self._device.compute_capability}"
            self.stream(0)

    @property
    def name(self) -> str:
        """The device's name, such as "NVIDIA H200"."""
        found = cupy.cuda.runtime.getDeviceProperties(self.number)["name"]
        return found.decode() if isinstance(found, bytes) else str(found)

    @property
    def launch(self) -> Callable[..., int]:
        """cuLaunchKernel."""
        return driver_launch()

    def functions(self, kernels: Sequence[Kernel]) -> dict[str, int]:
        """Compile what has not been loaded yet, a few kernels a module."""
        with self._lock, self._device:
            wanted = {k.name: k for k in kernels}
            missing = sorted(wanted.keys() - self._handles.keys())
            pieces = [
                missing[i : i + _MODULE_KERNELS]
                for i in range(0, len(missing), _MODULE_KERNELS)
            ]
            sources = [module_source(wanted[n] for n in piece) for piece in pieces]
            made = compile_modules(sources, self._arch, self._cubins)
            for piece, compiled in zip(pieces, made):
                module = cupy.cuda.function.Module()
                module.load(compiled.cubin)
                self._modules.append(module)  # unloading would take its functions along
                for name in piece:
                    self._handles[name] = module.get_function(name).ptr
            return {name: self._handles[name] for name in wanted}

    # --- memory -------------------------------------------------------------------

    def empty(self, shape: Shape, dtype: np.dtype[Any]) -> Any:
        """A new array of the home stream's pool, on a 512-byte boundary."""
        with self._device, self.stream(0):
            return cupy.empty(shape, dtype)

    def upload(self, values: np.ndarray) -> Any:
        """A new array with these values."""
        with self._device, self.stream(0):
            return cupy.array(values)

    def free_memory(self) -> None:
        """Give the free blocks of the pools back to the driver."""
        with self._device:
            cupy.get_default_memory_pool().free_all_blocks()
            cupy.get_default_pinned_memory_pool().free_all_blocks()

    def limit_memory(self, fraction: float) -> None:
        """Let the pool, which the process has once, take this part of the memory."""
        with self._device:
            cupy.get_default_memory_pool().set_limit(fraction=fraction)

    def address(self, array: Any) -> int:
        """Of the first element."""
        return int(array.data.ptr)

    def view(
        self, array: Any, start: int, shape: Shape, dtype: Any, strides: Shape
    ) -> Any:
        """Part of ``array``'s memory from byte ``start``, strides in bytes."""
        return cupy.ndarray(shape, dtype, memptr=array.data + start, strides=strides)

    # --- streams ------------------------------------------------------------------

    def stream(self, number: int) -> Any:
        """Stream ``number``; they do not wait for the legacy default stream."""
        found = self._streams.get(number)
        if found is None:
            with self._device:
                found = cupy.cuda.Stream(non_blocking=True)
            self._streams[number] = found
        return found

    def using(self, stream: Any) -> AbstractContextManager[Any]:
        """Library calls inside are enqueued on ``stream``."""
        return stream

    def new_event(self) -> Any:
        """An event without timing."""
        with self._device:  # an event belongs to the device that is current
            return cupy.cuda.Event(disable_timing=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Order a run after the caller's stream so far, and before what comes there.

        The caller may drop a result while its stream still reads it: the memory goes
        back to the home stream's pool, and the next run waits for the caller first.
        """
        with self._device:
            caller, home = cupy.cuda.get_current_stream(), self.stream(0)
            if caller != home:
                home.wait_event(caller.record(self.new_event()))
            try:
                with home:
                    yield
            finally:
                if caller != home:
                    caller.wait_event(home.record(self.new_event()))

    def synchronize(self) -> None:
        """Wait for all of the device's work."""
        self._device.synchronize()
