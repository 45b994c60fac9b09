"""Which backend runs things, chosen once a process."""

from __future__ import annotations

import logging
import threading
from typing import Any

from gpugrad import config
from gpugrad.backends.base import Backend
from gpugrad.backends.numpy.backend import NumpyBackend
from gpugrad.errors import InvalidArgumentError, UnavailableError, describe
from gpugrad.graph.tensor import Operation

_log = logging.getLogger("gpugrad")
_lock = threading.Lock()
# By name, or by name and the GPU's number if one was asked for.
_backends: dict[Any, Backend] = {}


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


def backend(name: str | None = None, device: int | None = None) -> Backend:
    """The backend of that name, or of the settings, or the best that answers.

    ``device``: the number of the GPU, if it is one; None for CUDA's current one.
    Raises RuntimeError, saying what is missing, if "cupy" is asked for in vain.
    """
    name = name or config.current().backend
    if device is not None and name != "numpy":
        return _gpu(name, device)
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


def _gpu(name: str | None, device: int) -> Backend:
    """One of several GPUs; the CPU if there is none and nobody named "cupy"."""
    reason = missing_gpu()
    if reason is not None and name is None:
        return backend(None)
    with _lock:
        found = _backends.get(("cupy", device))
        if found is None:
            found = _backends["cupy", device] = _make("cupy", device)
        return found


def _best() -> Backend:
    reason = missing_gpu()
    made: Backend | None = None
    if reason is None:
        try:
            made = _backends.get("cupy") or _make("cupy")
        except UnavailableError as error:  # there, but not for us: taken, or broken
            reason = str(error)
            _log.warning("gpugrad runs on numpy: %s", reason)
    made = made or _backends.get("numpy") or NumpyBackend()
    _log.info("gpugrad runs on %s: %s", made.name, reason or made.device_name)
    return made


def _make(name: str, device: int | None = None) -> Backend:
    if name == "numpy":
        return NumpyBackend()
    reason = missing_gpu()
    if reason is not None:
        raise RuntimeError(f"The cupy backend was asked for, but {reason}")
    if device is not None and device >= gpu_count():
        raise RuntimeError(
            f"GPU {device} was asked for, but there are {gpu_count()}, from 0 on."
        )
    from gpugrad.backends.cupy.backend import CupyBackend

    return CupyBackend(device)


def gpu_count() -> int:
    """How many GPUs CUDA shows to this process."""
    if missing_gpu() is not None:
        return 0
    import cupy

    return int(cupy.cuda.runtime.getDeviceCount())


def check_placement(op: Operation, chosen: Backend, soft: bool) -> None:
    """InvalidArgumentError if ``op`` asks for a GPU that is not there.

    Every GPU that is there will do: a session runs on one of them.
    """
    if soft or "GPU" not in op.device:
        return
    number = op.device.rpartition(":")[2]
    if chosen.device_type != "GPU":
        found = f"the session runs on {chosen.name}. {missing_gpu() or ''}"
    elif number.isdecimal() and int(number) >= gpu_count():
        found = f"there are {gpu_count()} GPUs."
    else:
        return
    raise InvalidArgumentError(
        None,
        op,
        f"Cannot assign a device for {describe(op)}: it asks for {op.device}, and "
        f"{found} ConfigProto(allow_soft_placement=True) runs it where it can.",
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
