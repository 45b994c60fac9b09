"""``gpugrad info``: what is installed, what can run, and what a GPU still needs.

Versions come from package data, the driver and the GPUs from the driver's own library,
so that they are told whether CuPy is there, broken, or missing. What a backend can do
is the runtime's own answer.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from gpugrad import config
from gpugrad.backends.numpy.x86 import native
from gpugrad.runtime import devices
from gpugrad.version import VERSION

_CUPY_WHEELS = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
_RUNTIME_WHEELS = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")
LEAST_DRIVER = (
    "Install NVIDIA's driver: 580 or newer for CUDA 13, 525 or newer for CUDA 12."
)

# CUdevice_attribute, cuda.h
_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76


@dataclass(frozen=True)
class Device:
    """One GPU as its driver describes it."""

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver. ``problem`` says why there are no devices, if there are none.

    ``cuda`` is the newest CUDA version that it runs, (13, 0) for example.
    """

    cuda: tuple[int, int] | None
    devices: tuple[Device, ...] = ()
    problem: str | None = None


def find_driver() -> Driver:
    """Ask the driver's library, libcuda, for its version and its devices."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return Driver(None, problem=f"no NVIDIA driver ({library} was not found)")
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    version = (number.value // 1000, number.value % 1000 // 10)
    status = cuda.cuInit(0)
    if status != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(text))
        reason = text.value.decode() if text.value else f"error {status}"
        return Driver(version, problem=f"the driver did not start ({reason})")
    cuda.cuDeviceGetCount(ctypes.byref(number))
    devices = tuple(_describe(cuda, index) for index in range(number.value))
    return Driver(version, devices, None if devices else "the driver sees no GPU")


def _describe(cuda: ctypes.CDLL, index: int) -> Device:
    handle = ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(handle), index)
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, len(name), handle)
    memory = ctypes.c_size_t()
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    major, minor = ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_MAJOR, handle)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_MINOR, handle)
    capability = (major.value, minor.value)
    return Device(name.value.decode(), capability, memory.value)


def installed(wheels: tuple[str, ...]) -> dict[str, str]:
    """The version of each of ``wheels`` that is installed."""
    found = {}
    for wheel in wheels:
        try:
            found[wheel] = metadata.version(wheel)
        except metadata.PackageNotFoundError:
            continue
    return found


def remedies(driver: Driver, cupy: dict[str, str]) -> list[str]:
    """What to do to run on a GPU, a step a line; nothing when all is there."""
    steps = []
    if not driver.devices:
        if driver.cuda is None:
            steps.append(LEAST_DRIVER)
        else:
            steps.append(
                f"Make a GPU visible to this process: {driver.problem}. Look at "
                "CUDA_VISIBLE_DEVICES, and in a container at `docker run --gpus all`."
            )
    elif driver.cuda is not None and driver.cuda < (12, 0):
        steps.append(LEAST_DRIVER)
    extra = "cuda13" if driver.cuda is None or driver.cuda >= (13, 0) else "cuda12"
    if len(cupy) > 1:
        steps.append(
            "Keep one CuPy; several overwrite each other's files: "
            f"pip uninstall -y {' '.join(cupy)} && pip install 'gpugrad[{extra}]'"
        )
    elif not cupy:
        steps.append(f"Install CuPy: pip install 'gpugrad[{extra}]'")
    elif "cupy-cuda13x" in cupy and extra == "cuda12":
        steps.append(
            "CuPy is built for CUDA 13 and the driver speaks CUDA 12: "
            "pip uninstall -y cupy-cuda13x && pip install 'gpugrad[cuda12]'"
        )
    return steps


def report() -> str:
    """The text of ``gpugrad info``."""
    backends = devices.describe_backends()
    driver = find_driver()
    cupy = installed(_CUPY_WHEELS)
    runtime = installed(_RUNTIME_WHEELS)
    lines = [
        _row("gpugrad", f"{VERSION} in {Path(__file__).parent}"),
        _row("Python", f"{platform.python_version()} on {platform.platform()}"),
        _row("NumPy", metadata.version("numpy")),
        _row("CuPy", _versions(cupy) or "not installed"),
        _row("CUDA runtime", _versions(runtime) or "no wheel installed"),
        _row("CUDA driver", _driver_version(driver)),
        "",
        "Backends",
        *(
            _row(f"  {row['name']}", row["device"] or row["missing"])
            for row in backends
        ),
        "",
        "Devices",
        _row("  cpu:0", f"{backends[0]['device']}, {_cores()}, {_cpu_kernels()}"),
    ]
    for index, gpu in enumerate(driver.devices):
        major, minor = gpu.compute_capability
        memory = f"{gpu.memory_bytes / 2**30:.0f} GiB"
        text = f"{gpu.name}, {memory}, compute capability {major}.{minor}"
        lines.append(_row(f"  gpu:{index}", text))
    steps = remedies(driver, cupy)
    if steps:
        lines += ["", "To run on a GPU"]
        lines += [f"  {number}. {step}" for number, step in enumerate(steps, 1)]
    return "\n".join(lines)


def _cores() -> str:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return f"{count} core{'s' if count != 1 else ''}"


def _row(key: str, value: str) -> str:
    return f"{key:<14}{value}"


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{version} ({wheel})" for wheel, version in found.items())


def _driver_version(driver: Driver) -> str:
    if driver.cuda is None:
        return driver.problem or ""
    text = f"CUDA {driver.cuda[0]}.{driver.cuda[1]}"
    return text if driver.problem is None else f"{text}; {driver.problem}"


def _cpu_kernels() -> str:
    """What the kernels of float32 and float64 are on the CPU."""
    widest, what = native.widest()
    width = native.width(config.current().machine_code)
    if width:
        return f"machine code for vectors of {width} bytes"
    return "kernels of NumPy calls" + ("" if widest else f", for {what}")
