"""Target: what the compiler may know of the device that a Program is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Target:
    """Speeds of a device, as far as placing steps on streams needs them.

    ``streams``: how many streams a Program may use; 1 means all steps in a row.
    ``start``:   seconds that a step takes beside its work: a launch, the interpreter.
    ``bandwidth``, ``flops``: bytes and floating-point operations a second, of one step.
    ``wait``:    seconds from a signal on one stream to the next step on another.
    ``work_is_shared``: streams take turns at the work (a GPU, which one large kernel
    fills) rather than at the starts (Python, which runs in one thread at a time).
    """

    streams: int = 1
    start: float = 2e-6
    bandwidth: float = 1e10
    flops: float = 5e10
    wait: float = 2e-5
    work_is_shared: bool = False


ONE_STREAM: Final = Target()
