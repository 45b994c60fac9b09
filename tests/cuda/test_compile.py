"""NVRTC itself: what it says of a bad kernel, and where it is looked for."""

from __future__ import annotations

import pytest

from gpugrad.backends.cupy import compile as compiling
from gpugrad.backends.cupy.compile import OPTIONS, CompileError, nvrtc
from tests.cuda.nvidia import require_tools


@pytest.mark.nvrtc
def test_an_error_shows_the_generated_line():
    require_tools()
    source = '#include "types.cuh"\nextern "C" __global__ void f(f32* x) { x = y; }\n'
    with pytest.raises(CompileError) as caught:
        nvrtc().compile(source, "sm_90", OPTIONS)
    message = str(caught.value)
    assert 'identifier "y" is undefined' in message
    assert "x = y;" in message
    assert "report" in message


@pytest.mark.nvrtc
def test_machine_code_is_whole():
    require_tools()
    made = nvrtc().compile('extern "C" __global__ void f() {}', "sm_90", OPTIONS)
    assert made.cubin.startswith(b"\x7fELF")
    assert "Used" in made.log


def test_without_nvrtc_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(compiling, "_candidates", lambda: iter(()))
    compiling.nvrtc.cache_clear()
    with pytest.raises(CompileError, match=r"pip install 'gpugrad\[nvrtc\]'"):
        nvrtc()
    compiling.nvrtc.cache_clear()
