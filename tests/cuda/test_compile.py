"""NVRTC itself: what it says of a bad kernel, and where it is looked for."""

from __future__ import annotations

import re

import pytest

import gpugrad.compat.v1 as tf
from gpugrad.backends.cupy import compile as compiling
from gpugrad.backends.cupy.compile import OPTIONS, CompileError, blamed, nvrtc
from gpugrad.backends.cupy.executable import CupyExecutable
from gpugrad.runtime.explain import lowered
from tests.cuda.fakes import HollowDevice
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


_LOG = """gpugrad.cu(4): error: identifier "y" is undefined
   x = y; }
gpugrad.cu(2): warning #550-D: parameter "x" was set but never used
index.cuh(12): error: no instance
          detected during instantiation of "f" at line 11 of gpugrad.cu
"""
_SOURCE = """#include "types.cuh"
extern "C" __global__ void __launch_bounds__(256)
gpugrad_map_a(f32* x) {
  x = y; }
extern "C" __global__ void __launch_bounds__(256)
gpugrad_map_b(f32* x) {
}
extern "C" __global__ void __launch_bounds__(256)
gpugrad_map_c(f32* x) {
  if (x) {
  f(x);
}
"""


def test_an_error_is_of_the_kernel_that_the_line_is_in():
    assert blamed(_LOG, _SOURCE) == ["gpugrad_map_a", "gpugrad_map_c"]


@pytest.mark.nvrtc
def test_nvrtcs_own_messages_are_understood():
    require_tools()
    lines = _SOURCE.splitlines()
    lines[6] = "Run<f32, 3, 3, true>::load(x, x);\n}"
    with pytest.raises(CompileError) as caught:
        text = '#include "index.cuh"\n' + "\n".join(lines)
        nvrtc().compile(text, "sm_90", OPTIONS)
    assert set(caught.value.kernels) >= {"gpugrad_map_a", "gpugrad_map_b"}


class Refusing(HollowDevice):
    """A device whose compiler takes no kernel of a function."""

    def functions(self, kernels):
        bad = [k.name for k in kernels if "exp" in k.text]
        raise CompileError("NVRTC could not", bad)


def test_an_error_names_the_nodes_and_the_users_lines():
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [4], name="x")
        y = tf.exp(x, name="the_exp")
        z = tf.reverse(y, [0], name="turned") * 2.0
    session = tf.Session(graph=graph)
    _, program = lowered(z, {x: [0, 0, 0, 0]}, session)
    with pytest.raises(CompileError) as caught:
        CupyExecutable(program, Refusing())
    message = str(caught.value)
    assert re.search(
        r"Exp node 'the_exp' \(created at .*test_compile.py:\d+\)", message
    )
    assert "turned" not in message


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
