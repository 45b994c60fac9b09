"""``gpugrad info``: true about what is here, and helpful about what is not."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from gpugrad import cli, info
from gpugrad.info import Device, Driver
from gpugrad.version import VERSION

H200 = Device("NVIDIA H200", (9, 0), 141 * 2**30)
NO_DRIVER = Driver(None, problem="no NVIDIA driver (libcuda.so.1 was not found)")
NO_GPU = Driver((13, 0), problem="the driver did not start (CUDA_ERROR_NO_DEVICE)")
INSTALL_CUDA13 = "Install CuPy: pip install 'gpugrad[cuda13]'"
INSTALL_CUDA12 = "Install CuPy: pip install 'gpugrad[cuda12]'"


def test_what_it_prints(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    rows = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    assert rows["gpugrad"].startswith(f"{VERSION} in ")
    assert rows["NumPy"] == np.__version__
    assert re.search(r", \d+ cores?(, machine code .*)?$", rows["cpu:0"])
    assert {"Python", "CuPy", "CUDA", "numpy", "cupy"} <= rows.keys()


def test_a_machine_with_everything_needs_nothing():
    driver = Driver((13, 0), (H200,))
    assert info.remedies(driver, {"cupy-cuda13x": "14.2.0"}) == []
    assert info.remedies(Driver((12, 4), (H200,)), {"cupy-cuda12x": "14.2.0"}) == []
    # CUDA 12 programs run on a driver for CUDA 13.
    assert info.remedies(driver, {"cupy-cuda12x": "14.2.0"}) == []


@pytest.mark.parametrize(
    ("driver", "cupy", "steps"),
    [
        (NO_DRIVER, {}, [info.LEAST_DRIVER, INSTALL_CUDA13]),
        (NO_DRIVER, {"cupy-cuda12x": "14"}, [info.LEAST_DRIVER]),
        (Driver((13, 0), (H200,)), {}, [INSTALL_CUDA13]),
        (Driver((12, 4), (H200,)), {}, [INSTALL_CUDA12]),
        (Driver((11, 8), (H200,)), {}, [info.LEAST_DRIVER, INSTALL_CUDA12]),
    ],
)
def test_remedies(driver, cupy, steps):
    assert info.remedies(driver, cupy) == steps


@pytest.mark.parametrize(
    ("driver", "cupy", "words"),
    [
        (NO_GPU, {"cupy-cuda13x": "14"}, ["CUDA_ERROR_NO_DEVICE", "--gpus all"]),
        (
            Driver((12, 4), (H200,)),
            {"cupy-cuda13x": "14"},
            ["pip uninstall -y cupy-cuda13x", "gpugrad[cuda12]"],
        ),
        (
            Driver((13, 0), (H200,)),
            {"cupy-cuda13x": "14", "cupy-cuda12x": "14"},
            ["pip uninstall -y cupy-cuda13x cupy-cuda12x", "gpugrad[cuda13]"],
        ),
    ],
)
def test_remedies_that_say_why(driver, cupy, words):
    (step,) = info.remedies(driver, cupy)
    assert all(word in step for word in words)


def test_devices_are_listed(monkeypatch):
    monkeypatch.setattr(info, "find_driver", lambda: Driver((13, 0), (H200, H200)))
    text = info.report()
    assert "gpu:1       NVIDIA H200, 141 GiB, compute capability 9.0" in text
    assert "CUDA driver   CUDA 13.0" in text


class FakeLibrary:
    """libcuda with one device, or one that does not start."""

    def __init__(self, status=0):
        self.status = status

    def cuDriverGetVersion(self, out):
        out._obj.value = 12040
        return 0

    def cuInit(self, flags):
        return self.status

    def cuGetErrorName(self, status, out):
        out._obj.value = b"CUDA_ERROR_UNKNOWN"
        return 0

    def cuDeviceGetCount(self, out):
        out._obj.value = 1
        return 0

    def cuDeviceGet(self, out, index):
        return 0

    def cuDeviceGetName(self, buffer, size, handle):
        buffer.value = b"NVIDIA H200"
        return 0

    def cuDeviceTotalMem_v2(self, out, handle):
        out._obj.value = 141 * 2**30
        return 0

    def cuDeviceGetAttribute(self, out, attribute, handle):
        out._obj.value = {75: 9, 76: 0}[attribute]
        return 0


def test_the_driver_is_asked(monkeypatch):
    monkeypatch.setattr(info.ctypes, "CDLL", lambda name: FakeLibrary())
    assert info.find_driver() == Driver((12, 4), (H200,))


def test_a_driver_that_does_not_start(monkeypatch):
    monkeypatch.setattr(info.ctypes, "CDLL", lambda name: FakeLibrary(status=999))
    found = info.find_driver()
    assert found.cuda == (12, 4)
    assert found.problem == "the driver did not start (CUDA_ERROR_UNKNOWN)"


def test_no_driver(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(info.ctypes, "CDLL", missing)
    assert info.find_driver().problem.startswith("no NVIDIA driver")


# --- the command line -----------------------------------------------------------------


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"gpugrad {VERSION}\n"


@pytest.mark.parametrize("arguments", [[], ["train"]])
def test_wrong_command(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: gpugrad" in capsys.readouterr().err


def test_heavy_modules_wait_until_they_are_needed():
    """The command line starts fast: no CuPy, no matplotlib, no rich."""
    script = (
        "import sys, gpugrad.cli\n"
        "print(sorted({'cupy', 'matplotlib', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_interrupt(monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_info", interrupt)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_unknown_backend_in_the_environment():
    done = subprocess.run(
        [sys.executable, "-m", "gpugrad", "info"],
        capture_output=True,
        text=True,
        env={"GPUGRAD_BACKEND": "abacus"},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("gpugrad: error: Unknown backend 'abacus'.")
