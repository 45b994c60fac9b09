"""What a CUDA error means for the user: memory, a refused launch, or a lost GPU.

Numbers are those of CUresult, which cudaError_t shares for all named here. Nothing here
imports CuPy; its errors carry the number as ``status``. Unverified on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from gpugrad.backends.cupy.compile import CompileError
from gpugrad.errors import InternalError, OpError, UnavailableError, describe

_MEMORY: Final = 2
# The context is gone: every later call of the process fails in the same way.
_LOST: Final = {
    4: "the driver has been shut down",
    214: "an uncorrectable memory error (ECC)",
    220: "an uncorrectable NVLink error",
    226: "a contained memory error",
    700: "a kernel touched an illegal address",
    702: "a kernel ran longer than the driver allows",
    709: "the context was destroyed",
    710: "an assertion failed in a kernel",
    714: "a stack error in a kernel",
    715: "an illegal instruction in a kernel",
    716: "a misaligned address in a kernel",
    717: "an address of the wrong space in a kernel",
    718: "an invalid program counter in a kernel",
    719: "a kernel failed",
    721: "a kernel left tensor memory behind",
    999: "an unknown error",
}
# The GPU cannot be had at all.
_ABSENT: Final = {
    3: "the driver is not initialised",
    46: "another process has the GPU for itself",
    100: "there is no GPU",
    101: "there is no GPU of that number",
    802: "the system is not ready yet (NVSwitch, fabric manager)",
    803: "driver and kernel module differ in version",
    805: "the MPS server does not answer",
    810: "the MPS server has ended this client",
}
_REFUSED: Final = {
    1: "an invalid value",
    98: "an invalid kernel",
    209: "the kernel was compiled for another GPU",
    400: "an invalid handle",
    701: "too many registers or too much shared memory for the launch",
    720: "too many blocks for a cooperative launch",
}

# Nodes that a message names: a fused kernel may have hundreds.
_SHOWN: Final = 8


def error_of(status: int, doing: str) -> Exception:
    """The error for CUDA's ``status`` while ``doing``: a MemoryError or an OpError."""
    if status == _MEMORY:
        return MemoryError(f"the GPU's memory ran out (CUDA error 2) while {doing}")
    if status in _LOST:
        return UnavailableError(
            None,
            None,
            f"The GPU is lost to this process: {_LOST[status]} (CUDA error {status}, "
            f"found while {doing}). {_culprit()} No CUDA call of this process works "
            "any more, and what was on the GPU is gone: restart the process, from the "
            "last checkpoint if there is one.",
        )
    if status in _ABSENT:
        return UnavailableError(
            None,
            None,
            f"The GPU cannot be used: {_ABSENT[status]} (CUDA error {status}, found "
            f"while {doing}). `gpugrad info` says what is there.",
        )
    reason = _REFUSED.get(status, "an error that gpugrad does not know")
    return InternalError(
        None, None, f"CUDA refused: {reason} (CUDA error {status}) while {doing}."
    )


def _culprit() -> str:
    if os.environ.get("CUDA_LAUNCH_BLOCKING") == "1":
        return "The kernel is of the node named here (CUDA_LAUNCH_BLOCKING is 1)."
    return (
        "Kernels run after their launch, so an earlier one may be to blame; with "
        "CUDA_LAUNCH_BLOCKING=1 the node named here is the one."
    )


def explained(error: Exception, doing: str) -> Exception | None:
    """What an error of CuPy's means; None if it is not CUDA's."""
    if isinstance(error, (OpError, MemoryError)):
        return None
    status = getattr(error, "status", None)
    if not isinstance(status, int) or not type(error).__name__.startswith("CUDA"):
        return None
    return error_of(int(status), doing)


@contextmanager
def explaining(doing: str) -> Iterator[None]:
    """Raise what CUDA's errors inside mean."""
    try:
        yield
    except Exception as error:
        meant = explained(error, doing)
        if meant is None:
            raise
        raise meant from error


def with_nodes(
    error: CompileError, kernels: Sequence[Collection[str]], origins: Sequence[Any]
) -> CompileError:
    """The error with the graph nodes of the kernels that it is about.

    ``kernels`` and ``origins`` are those of each step of the Program.
    """
    nodes: dict[Any, None] = {}
    for names, origin in zip(kernels, origins):
        if not set(error.kernels).isdisjoint(names):
            nodes |= dict.fromkeys(origin if type(origin) is tuple else (origin,))
    shown = [describe(n) if hasattr(n, "created_at") else str(n) for n in nodes if n]
    if len(shown) > _SHOWN:
        shown = [*shown[:_SHOWN], f"{len(shown) - _SHOWN} more"]
    if not shown:
        return error
    text = f"{error}\nIt was generated for: {'; '.join(shown)}."
    return CompileError(text, error.kernels)
