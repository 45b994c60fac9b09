"""The NumPy backend: Programs as Python and machine code, generated, on the CPU."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextvars import Context
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad import config
from gpugrad.backends.base import StepError
from gpugrad.backends.numpy.codegen import Generator
from gpugrad.backends.numpy.results import RESULTS
from gpugrad.backends.numpy.streams import Dispatcher, Workers
from gpugrad.config import Config
from gpugrad.dtypes import DType
from gpugrad.kir.program import Program
from gpugrad.kir.target import Target


class NumpyExecutable:
    """A Program as compiled Python over arrays of its own."""

    def __init__(
        self, program: Program, workers: Workers, settings: Config | None = None
    ) -> None:
        settings = settings or config.current()
        self._origins = program.origins
        if any(step.stream for step in program.steps):
            dispatch = Dispatcher(program, workers)
            generator = Generator(program, settings, dispatch.segments)
            self._module = generator.module()
            self._main = partial(self._module.functions["run"], dispatch=dispatch)
            dispatch.bind(
                self._module.functions, generator.segment_of_part, self._module.step_of
            )
        else:
            self._module = Generator(program, settings).module()
            self._main = self._module.functions["run"]
        # Overflow and NaN are data. NumPy keeps its error state in a context
        # variable; entering a context where it is set costs 20 ns, errstate 850.
        self._context = Context()
        self._context.run(np.seterr, all="ignore")

    @cached_property
    def source(self) -> str:
        """The generated Python, for explain()."""
        return self._module.source

    def run(
        self,
        inputs: Sequence[np.ndarray],
        variables: list[np.ndarray | None],
        step: int,
    ) -> list[np.ndarray]:
        """Run once; see backends.base.Executable."""
        try:
            return self._context.run(self._main, inputs, variables, step)
        except Exception as error:
            number = self._module.step_of(error)
            if number is None:
                if _is_too_large(error):  # an output that does not fit into memory
                    raise StepError(None, MemoryError(str(error))) from error
                raise
            origin = self._origins[number] if self._origins else None
            raise StepError(origin, error) from error


class NumpyBackend:
    """The CPU. Every array is a numpy.ndarray, and nothing is asynchronous."""

    name = "numpy"
    device_type = "CPU"
    xp = np

    def __init__(self) -> None:
        self._workers = Workers()

    @property
    def target(self) -> Target:
        """One stream, unless the settings say otherwise."""
        return Target(streams=config.current().streams or 1)

    @cached_property
    def device_name(self) -> str:
        """The processor's model name."""
        return _processor_name()

    def load(self, program: Program) -> NumpyExecutable:
        """Generate and compile the Program's code, and lay out its memory."""
        try:
            return NumpyExecutable(program, self._workers)
        except ValueError as error:
            if _is_too_large(error):
                raise MemoryError(str(error)) from error
            raise

    def to_device(self, value: Any, dtype: DType) -> np.ndarray:
        """A C-contiguous array of ``dtype``; ``value`` itself if it is one."""
        if not isinstance(value, np.ndarray):
            if hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):
                value = value.get()
            elif hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
                value = np.from_dlpack(value)
        return np.asarray(value, dtype.np_dtype, order="C")

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """The array itself: it is on the host."""
        return array

    def free_memory(self) -> None:
        """Let go of the memory of results that nobody holds any more."""
        RESULTS.clear()

    def limit_memory(self, fraction: float) -> None:
        """Nothing: the limit is for GPUs. Config.memory_limit counts here."""

    def synchronize(self) -> None:
        """Nothing to wait for: run() returns when all is computed."""


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _is_too_large(error: Exception) -> bool:
    """True for NumPy's ways to say so: beyond the address space it is a ValueError."""
    if isinstance(error, ValueError):
        return "too big" in str(error) or "allowed dimension" in str(error)
    return isinstance(error, MemoryError)
