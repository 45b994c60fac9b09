"""Settings, read from the environment once and frozen."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

BACKENDS = ("numpy", "cupy")


@dataclass(frozen=True, slots=True)
class Config:
    """What the compiler and the runtime may ask about their surroundings.

    ``backend``: "numpy", "cupy", or None for the best device that answers.
    ``verify``:  check the Program after every pass (slower; tests switch it on).
    ``cache_dir``: folder of compiled kernels; None for the user's cache folder.
    ``memory_limit``: bytes that compiled programs and results may take; None for all.
    ``streams``: how many streams a run may use; None for what suits the backend.
    ``num_threads``: threads of the CPU backend; None for one a processor.
    ``tile_bytes``: what the CPU backend keeps in a core's cache at a time; None for
                 2 MB, or 4 MB where threads share the work: they hand Python's lock to
                 each other at each call of NumPy, so that calls have to be long.
    ``share_ns``: nanoseconds of work from which it pays to share it among threads;
                 None for 5 ms where kernels are NumPy calls (on two cores, 0.4 ms and
                 3 ms of work were slower with two, 20 ms faster), and 0.5 ms where
                 they are machine code, which does not need Python's lock.
    ``atomics``: let a GPU add rows that meet at one place in any order: faster, and
                 sums differ from run to run in their last bits.
    ``machine_code``: bytes of the vectors of the CPU backend's machine code, 64 or 32;
             0 for kernels of NumPy calls, None for what the processor has.
    """

    backend: str | None = None
    verify: bool = False
    cache_dir: str | None = None
    streams: int | None = None
    memory_limit: int | None = None
    num_threads: int | None = None
    tile_bytes: int | None = None
    share_ns: int | None = None
    atomics: bool = False
    machine_code: int | None = None

    def __post_init__(self) -> None:
        if self.num_threads is not None and self.num_threads < 1:
            raise ValueError(
                f"There must be at least one thread, not {self.num_threads}. Leave "
                "GPUGRAD_NUM_THREADS away for one a processor."
            )
        if self.tile_bytes is not None and self.tile_bytes < 1:
            raise ValueError(f"A tile needs at least one byte, not {self.tile_bytes}.")
        if self.machine_code not in (None, 0, 32, 64):
            raise ValueError(
                "GPUGRAD_MACHINE_CODE is 64 or 32, the bytes of a vector, or 0 for no "
                f"machine code, not {self.machine_code}."
            )
        if self.backend is not None and self.backend not in BACKENDS:
            raise ValueError(
                f"Unknown backend {self.backend!r}. GPUGRAD_BACKEND and set_backend() "
                f"take one of {', '.join(BACKENDS)}."
            )
        if self.streams is not None and self.streams < 1:
            raise ValueError(
                f"GPUGRAD_STREAMS is a number from 1 on, not {self.streams}."
            )
        if self.memory_limit is not None and self.memory_limit < 1:
            raise ValueError(
                f"GPUGRAD_MEMORY_LIMIT is a number of bytes, not {self.memory_limit}."
            )


def from_environment() -> Config:
    """The settings that GPUGRAD_* variables ask for."""
    return Config(
        backend=os.environ.get("GPUGRAD_BACKEND") or None,
        verify=os.environ.get("GPUGRAD_VERIFY", "") not in ("", "0"),
        cache_dir=os.environ.get("GPUGRAD_CACHE_DIR") or None,
        streams=_whole_number("GPUGRAD_STREAMS"),
        memory_limit=_whole_number("GPUGRAD_MEMORY_LIMIT"),
        num_threads=_whole_number("GPUGRAD_NUM_THREADS"),
        tile_bytes=_whole_number("GPUGRAD_TILE_BYTES"),
        atomics=os.environ.get("GPUGRAD_ATOMICS", "") not in ("", "0"),
        machine_code=_whole_number("GPUGRAD_MACHINE_CODE"),
    )


def _whole_number(name: str) -> int | None:
    """The number in an environment variable; None if it is not set."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is a whole number, not {text!r}.") from None


_current: Config | None = None


def current() -> Config:
    """The settings in force; the environment is read at the first call."""
    global _current
    if _current is None:
        _current = from_environment()
    return _current


def set_backend(name: str | None) -> None:
    """Choose the backend of sessions and functions made from now on.

    ``name``: "numpy", "cupy", or None for the best device that answers.
    Raises ValueError for another name.
    """
    global _current
    _current = replace(current(), backend=name)
