"""A GPU as a measuring instrument: CUDA events, facts of the device, a budget."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

# Written between two measurements: more than any second-level cache, and long enough
# for the host to enqueue what comes next, so that no launch is waited for.
_FLUSH_BYTES = 1 << 28
_WARM_UP = 3
_ROUNDS = (20, 100)
_SECONDS = 0.15
_PACKAGES = (
    "gpugrad", "numpy", "cupy-cuda13x", "cupy-cuda12x", "cupy", "ml_dtypes", "torch",
    "jax", "jaxlib",
)  # fmt: skip
_SMI = (
    "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit",
    "temperature.gpu",
)  # fmt: skip


class NoGpu(RuntimeError):
    """There is nothing to measure; one line says what is missing."""


class Gpu:
    """gpugrad's own backend, CuPy, PyTorch if it sees the GPU, and a clock of events.

    All work is enqueued on the backend's stream, so that only it is timed.
    """

    def __init__(self) -> None:
        from gpugrad.runtime import devices

        reason = devices.missing_gpu()
        if reason is not None:
            raise NoGpu(reason)
        self.backend: Any = devices.backend("cupy")
        self.xp: Any = self.backend.xp
        self._stream = self.backend.stream
        self.torch = _torch()
        self._junk = self.xp.empty(_FLUSH_BYTES, "uint8")

    @contextlib.contextmanager
    def _enqueuing(self) -> Any:
        with self._stream, contextlib.ExitStack() as stack:
            if self.torch is not None:
                stream = self.torch.cuda.ExternalStream(self._stream.ptr)
                stack.enter_context(self.torch.cuda.stream(stream))
            yield

    def rivals(self) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
        """By name: the module, and what makes its array of CuPy's."""
        found: dict[str, tuple[Any, Callable[[Any], Any]]] = {}
        found["cupy"] = self.xp, lambda array: array
        if self.torch is not None:
            found["torch"] = self.torch, self.torch.from_dlpack
        return found

    def seconds(self, call: Callable[[], Any]) -> list[float]:
        """Each of many calls after warming up, by events, with cold caches."""
        event, elapsed = self.xp.cuda.Event, self.xp.cuda.get_elapsed_time
        with self._enqueuing():
            for _ in range(_WARM_UP):
                call()
            self._stream.synchronize()
            start = time.perf_counter()
            call()
            self._stream.synchronize()
            once = time.perf_counter() - start
            rounds = int(min(max(_SECONDS / max(once, 1e-6), _ROUNDS[0]), _ROUNDS[1]))
            pairs = [(event(), event()) for _ in range(rounds)]
            for first, last in pairs:
                self._junk.fill(0)
                first.record(self._stream)
                call()
                last.record(self._stream)
            self._stream.synchronize()
        return [elapsed(first, last) * 1e-3 for first, last in pairs]

    def facts(self) -> dict[str, Any]:
        """What the figures were measured on."""
        from gpugrad.backends.cupy.compile import nvrtc

        runtime = self.xp.cuda.runtime
        found = runtime.getDeviceProperties(runtime.getDevice())
        return {
            "device": self.backend.device_name,
            "compute_capability": f"{found['major']}.{found['minor']}",
            "memory_bytes": int(found["totalGlobalMem"]),
            "multiprocessors": int(found["multiProcessorCount"]),
            "l2_bytes": int(found["l2CacheSize"]),
            "driver_cuda": runtime.driverGetVersion(),
            "runtime_cuda": runtime.runtimeGetVersion(),
            "nvrtc": ".".join(map(str, nvrtc().version)),
            "nvidia-smi": smi(runtime.getDevice()),
            "versions": versions(),
        }


def _torch() -> Any:
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def versions() -> dict[str, str]:
    """Of the packages that take part."""
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def smi(number: int) -> dict[str, str]:
    """Driver, clocks and limits as nvidia-smi tells them; empty without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, f"--id={number}", f"--query-gpu={','.join(_SMI)}"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader"],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(_SMI, (t.strip() for t in done.stdout.split(","))))


@dataclass
class Budget:
    """Seconds for each part, in order; what a part leaves is for those after it.

    ``cut``: what was left out, a line each.
    """

    seconds: Sequence[tuple[str, float]]
    clock: Callable[[], float] = time.monotonic
    cut: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = self.clock()
        self._longest: dict[str, float] = {}

    def left(self, part: str) -> float:
        """Seconds until the part has to be done."""
        end = self._start
        for name, seconds in self.seconds:
            end += seconds
            if name == part:
                return end - self.clock()
        raise KeyError(part)

    def allows(self, part: str, what: str) -> bool:
        """Is there time for one more, as long as the part's longest? Else it is cut."""
        if self.left(part) > self._longest.get(part, 0.0):
            return True
        self.cut.append(f"{part}: {what}")
        return False

    @contextlib.contextmanager
    def timing(self, part: str) -> Any:
        """Remember how long one of the part takes."""
        start = self.clock()
        try:
            yield
        finally:
            took = self.clock() - start
            self._longest[part] = max(took, self._longest.get(part, 0.0))
