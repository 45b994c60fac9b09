"""The CuPy backend: Programs as CUDA kernels. It has not been run on a GPU."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from gpugrad import config
from gpugrad.backends.cupy.device import CudaDevice
from gpugrad.backends.cupy.executable import CupyExecutable
from gpugrad.backends.cupy.failure import explaining
from gpugrad.dtypes import DType
from gpugrad.kir.program import Program
from gpugrad.kir.target import Target


class CupyBackend:
    """A GPU. Every array is a cupy.ndarray, and runs are asynchronous."""

    name = "cupy"
    device_type = "GPU"
    xp = cupy

    def __init__(self, device: int | None = None) -> None:
        number = cupy.cuda.runtime.getDevice() if device is None else device
        with explaining("opening the GPU"):
            self._device = CudaDevice(number)

    @property
    def target(self) -> Target:
        """Of the order of an H200's speeds; unverified, as the four streams are."""
        return Target(
            streams=config.current().streams or 4,
            start=4e-6,
            bandwidth=3e12,
            flops=3e13,
            wait=2e-6,
            work_is_shared=True,
        )

    @property
    def device_name(self) -> str:
        """The device's name, such as "NVIDIA H200"."""
        return self._device.name

    @property
    def stream(self) -> Any:
        """Where runs begin and end: work enqueued here follows them by itself."""
        return self._device.stream(0)

    def load(self, program: Program) -> CupyExecutable:
        """Generate, compile and load the Program's kernels, and lay out its memory."""
        with explaining("loading a program"):
            return CupyExecutable(program, self._device)

    def to_device(self, value: Any, dtype: DType) -> Any:
        """A C-contiguous array of ``dtype``; ``value`` itself if it is one.

        Takes NumPy and CuPy arrays and what has __cuda_array_interface__ or DLPack.
        Strings stay NumPy arrays. Conversions run on the caller's current stream.
        """
        if dtype.name == "string":
            return np.asarray(value, object, order="C")
        known = ("__cuda_array_interface__", "__array__")
        if hasattr(value, "__dlpack__") and not any(hasattr(value, k) for k in known):
            value = _from_dlpack(value)
        with explaining("copying to the GPU"), cupy.cuda.Device(self._device.number):
            return cupy.asarray(value, dtype.np_dtype, order="C")

    def to_host(self, array: Any) -> np.ndarray:
        """The values as a NumPy array; waits for the device."""
        if isinstance(array, np.ndarray):
            return array
        with explaining("copying from the GPU"):
            return cupy.asnumpy(array)

    def free_memory(self) -> None:
        """Give the pools' free blocks back to the driver."""
        with explaining("freeing memory"):
            self._device.free_memory()

    def limit_memory(self, fraction: float) -> None:
        """Let CuPy's pool take at most this part of the GPU's memory."""
        self._device.limit_memory(fraction)

    def synchronize(self) -> None:
        """Wait until the device has finished all work."""
        with explaining("waiting for the GPU"):
            self._device.synchronize()


def _from_dlpack(value: Any) -> Any:
    on_host = value.__dlpack_device__()[0] == 1  # kDLCPU
    return np.from_dlpack(value) if on_host else cupy.from_dlpack(value)
