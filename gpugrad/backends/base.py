"""What a backend is: it turns a Program into something that runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from gpugrad.dtypes import DType
from gpugrad.kir.program import Program
from gpugrad.kir.target import Target

Array = Any  # numpy.ndarray or cupy.ndarray


class StepError(Exception):
    """A step failed; ``origin`` is where it came from, as in Program.origins."""

    def __init__(self, origin: Any, cause: Exception) -> None:
        super().__init__(str(cause))
        self.origin = origin
        self.cause = cause


class Executable(Protocol):
    """A Program made ready for one device. Its buffers are its own: one run at a time.

    ``source`` is the generated text (Python or CUDA), for explain().
    """

    @property
    def source(self) -> str:
        """The generated text."""
        ...

    def run(
        self, inputs: Sequence[Array], variables: list[Array | None], step: int
    ) -> list[Array]:
        """Run once: the outputs, as arrays that nothing else holds.

        ``inputs`` are C-contiguous arrays of the device, with the dtypes and shapes
        that the Program was compiled for; they are not written. ``variables`` is
        the store: read by slot at the start; after the last step has succeeded the
        commits write into it, in place where shape and dtype stay the same.
        Raises StepError; the store is then as it was.
        """
        ...


class Backend(Protocol):
    """A kind of device. ``xp`` is its array namespace."""

    @property
    def name(self) -> str:
        """The name that settings know it by: "numpy" or "cupy"."""
        ...

    @property
    def device_type(self) -> str:
        """The kind of device, "CPU" or "GPU", as in the names of devices."""
        ...

    @property
    def xp(self) -> Any:
        """The array namespace."""
        ...

    @property
    def target(self) -> Target:
        """What the compiler may know of the device, under the settings in force."""
        ...

    @property
    def device_name(self) -> str:
        """The device's name for people, such as "NVIDIA H200"."""
        ...

    def load(self, program: Program) -> Executable:
        """Generate, compile and bind everything that a run needs."""
        ...

    def to_device(self, value: Any, dtype: DType) -> Array:
        """A C-contiguous array of the device; no copy if it is one already."""
        ...

    def to_host(self, array: Array) -> np.ndarray:
        """The values as a NumPy array; waits for the device."""
        ...

    def free_memory(self) -> None:
        """Give back to the system what is cached and not in use."""
        ...

    def limit_memory(self, fraction: float) -> None:
        """Use at most this part of a GPU's memory; above 0, at most 1."""
        ...

    def synchronize(self) -> None:
        """Wait until the device has finished all work."""
        ...
