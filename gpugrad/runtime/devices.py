"""Which backend runs things, chosen once a process."""

from __future__ import annotations

import logging
import threading
from typing import Any

from gpugrad import config
from gpugrad.backends.base import Backend
from gpugrad.backends.numpy.backend import NumpyBackend
from gpugrad.errors import InvalidArgumentError, describe
from gpugrad.graph.tensor import Operation

_log = logging.getLogger("gpugrad")
_lock = threading.Lock()
_backends: dict[str, Backend] = {}


def missing_gpu() -> str | None:
    """Why CUDA cannot be used, with what helps; None when a device answers."""
    try:
        import cupy
    except ImportError:
        return (
            "CuPy is not installed. Install it with: pip install 'gpugrad[cuda13]' "
            "(driver 580 or later) or 'gpugrad[cuda12]'."
        )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy {cupy.__version__} finds no CUDA device ({error})."
    return None if count else f"CuPy {cupy.__version__} finds no CUDA device."


def backend(name: str | None = None) -> Backend:
    """The backend of that name, or of the settings, or the best that answers.

    Raises RuntimeError, saying what is missing, if "cupy" is asked for in vain.
    """
    name = name or config.current().backend
    found = _backends.get(name or "auto")
    if found is not None:
        return found
    with _lock:
        if name is None:
            found = _best()
            _backends["auto"] = found
        else:
            found = _backends.get(name) or _make(name)
        return _backends.setdefault(found.name, found)


def _best() -> Backend:
    reason = missing_gpu()
    made = _backends.get("numpy") or NumpyBackend() if reason else _make("cupy")
    _log.info("gpugrad runs on %s: %s", made.name, reason or made.device_name)
    return made


def _make(name: str) -> Backend:
    if name == "numpy":
        return NumpyBackend()
    reason = missing_gpu()
    if reason is not None:
        raise RuntimeError(f"The cupy backend was asked for, but {reason}")
    from gpugrad.backends.cupy.backend import CupyBackend

    return CupyBackend()


def check_placement(op: Operation, chosen: Backend, soft: bool) -> None:
    """InvalidArgumentError if ``op`` asks for a GPU that this backend is not."""
    if not soft and "GPU" in op.device and chosen.name != "cupy":
        raise InvalidArgumentError(
            None,
            op,
            f"Cannot assign a device for {describe(op)}: it asks for {op.device}, and "
            f"the session runs on {chosen.name}. {missing_gpu() or ''} "
            "ConfigProto(allow_soft_placement=True) runs it where it can.",
        )


def describe_backends() -> list[dict[str, Any]]:
    """One row a backend: name, device, and why it cannot be used (None if it can)."""
    reason = missing_gpu()
    rows: list[dict[str, Any]] = [
        {"name": "numpy", "device": backend("numpy").device_name, "missing": None}
    ]
    device = None if reason else backend("cupy").device_name
    rows.append({"name": "cupy", "device": device, "missing": reason})
    return rows
