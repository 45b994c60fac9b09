"""The two machines that CUDA tests run on: the CPU's stand-in, and a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cuda.cpu import compiler
from tests.cuda.fakes import FakeBackend, FakeDevice


@pytest.fixture(scope="session")
def gpu() -> Any:
    """The CuPy backend; skips, aloud, where there is none."""
    cupy = pytest.importorskip(
        "cupy", reason="CuPy is not installed; pip install 'gpugrad[cuda13]'"
    )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no CUDA device answers: {error}")
    if count == 0:
        pytest.skip("no CUDA device is visible; look at CUDA_VISIBLE_DEVICES")
    from gpugrad.backends.cupy.backend import CupyBackend

    return CupyBackend()


@pytest.fixture(params=["shim", pytest.param("gpu", marks=pytest.mark.gpu)])
def backend(request, tmp_path) -> Any:
    """What runs Programs as the CuPy backend does: g++'s kernels, or a GPU's."""
    if request.param == "gpu":
        return request.getfixturevalue("gpu")
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    return FakeBackend(FakeDevice(tmp_path))
