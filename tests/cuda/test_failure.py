"""A GPU that is lost, refuses, or runs out of memory: what the user is told."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.base import StepError
from gpugrad.backends.cupy import failure
from gpugrad.backends.cupy.executable import CupyExecutable
from gpugrad.errors import InternalError, UnavailableError
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import Program
from tests.cuda.fakes import HollowDevice


class CUDARuntimeError(RuntimeError):
    """Looks like CuPy's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"cudaError {status}")
        self.status = status


def two_kernels(impl=None) -> Program:
    """Two kernels and, between them, a library call if there is ``impl``."""
    b = Builder()
    x = b.new(dtypes.float32, (8,), "input")
    value = b.map(scalar.exp, x)
    if impl is not None:
        (value,) = b.call("work", impl, [value], [(dtypes.float32, (8,))])
    out = b.new(dtypes.float32, (8,), "output")
    b.store(out, scalar.neg, value)
    origins = tuple(f"node {n}" for n in range(len(b.steps)))
    return Program(tuple(b.steps), (x.buffer,), (), {}, (out,), (), origins=origins)


def run(device: HollowDevice, impl=None) -> list:
    executable = CupyExecutable(two_kernels(impl), device)
    return executable.run([np.zeros(8, np.float32)], [], 0)


@pytest.mark.parametrize("status", [214, 700, 719, 999])
@pytest.mark.parametrize("number", [0, 1])
def test_a_lost_gpu_says_so_and_names_the_launch(status: int, number: int) -> None:
    device = HollowDevice()
    device.statuses[number] = status
    with pytest.raises(StepError) as caught:
        run(device)
    assert caught.value.origin == f"node {number}"
    cause = caught.value.cause
    assert isinstance(cause, UnavailableError)
    for words in ("lost", f"CUDA error {status}", "restart the process", "launching"):
        assert words in str(cause)
    assert "CUDA_LAUNCH_BLOCKING=1" in str(cause)


def test_a_blocking_launch_names_the_node_for_certain(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    device = HollowDevice()
    device.statuses[1] = 700
    with pytest.raises(StepError, match="is of the node named here"):
        run(device)


@pytest.mark.parametrize("status", [1, 400, 701, 12345])
def test_a_refused_launch_is_of_its_node(status: int) -> None:
    device = HollowDevice()
    device.statuses[1] = status
    with pytest.raises(StepError, match=f"refused.*{status}") as caught:
        run(device)
    assert caught.value.origin == "node 1"
    assert isinstance(caught.value.cause, InternalError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(2, MemoryError), (700, UnavailableError), (46, UnavailableError)],
)
def test_errors_of_library_calls_are_explained(status: int, kind: type) -> None:
    def fail(xp, outs, x):
        raise CUDARuntimeError(status)

    with pytest.raises(StepError) as caught:
        run(HollowDevice(), fail)
    assert caught.value.origin == "node 1"
    assert isinstance(caught.value.cause, kind)


def test_errors_on_the_way_to_a_run_are_explained(monkeypatch) -> None:
    device = HollowDevice()
    executable = CupyExecutable(two_kernels(), device)

    def fail(shape, dtype):
        raise CUDARuntimeError(700)

    monkeypatch.setattr(device, "empty", fail)
    with pytest.raises(StepError, match="lost") as caught:
        executable.run([np.zeros(8, np.float32)], [], 0)
    assert isinstance(caught.value.cause, UnavailableError)


def test_other_errors_stay_what_they_are() -> None:
    def fail(xp, outs, x):
        raise ValueError("mine")

    with pytest.raises(StepError) as caught:
        run(HollowDevice(), fail)
    assert type(caught.value.cause) is ValueError
    with pytest.raises(ValueError, match="mine"), failure.explaining("testing"):
        raise ValueError("mine")
    with pytest.raises(UnavailableError, match="while testing"):
        with failure.explaining("testing"):
            raise CUDARuntimeError(214)


def test_the_numbers_are_cudas() -> None:
    """Each number stands for the same in the driver's header."""
    spec = find_spec("nvidia")
    places = spec.submodule_search_locations or () if spec else ()
    headers = [h for p in places for h in Path(p).glob("*/include/cuda.h")]
    if not headers:
        pytest.skip("cuda.h was not found; install: pip install 'gpugrad[nvrtc]'")
    header = headers[0]
    text = header.read_text("utf-8")
    names = {
        int(number): name
        for name, number in re.findall(r"CUDA_ERROR_(\w+)\s*=\s*(\d+)", text)
    }
    wanted = {
        2: "OUT_OF_MEMORY", 4: "DEINITIALIZED", 214: "ECC_UNCORRECTABLE",
        220: "NVLINK_UNCORRECTABLE", 226: "CONTAINED", 700: "ILLEGAL_ADDRESS",
        702: "LAUNCH_TIMEOUT", 709: "CONTEXT_IS_DESTROYED", 710: "ASSERT",
        714: "HARDWARE_STACK_ERROR", 715: "ILLEGAL_INSTRUCTION",
        716: "MISALIGNED_ADDRESS", 717: "INVALID_ADDRESS_SPACE", 718: "INVALID_PC",
        719: "LAUNCH_FAILED", 721: "TENSOR_MEMORY_LEAK", 999: "UNKNOWN",
        46: "DEVICE_UNAVAILABLE", 100: "NO_DEVICE", 101: "INVALID_DEVICE",
        701: "LAUNCH_OUT_OF_RESOURCES", 400: "INVALID_HANDLE",
    }  # fmt: skip
    assert {number: names[number] for number in wanted} == wanted
