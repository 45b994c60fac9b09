"""Every kernel that the generator can emit, compiled to machine code without a GPU."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import pytest

from gpugrad import dtypes
from gpugrad.backends.cupy.calls import CALLS
from gpugrad.backends.cupy.codegen import lower
from gpugrad.backends.cupy.text import Kernel, module_source
from gpugrad.kir.program import Group
from gpugrad.kir.scalar import Apply, postorder
from tests.cuda import calls, catalogue
from tests.cuda.nvidia import ARCHS, Report, build, build_all, faults, require_tools
from tests.cuda.row_programs import PROGRAMS, row_groups

pytestmark = pytest.mark.nvrtc

# NVIDIA's sine and cosine reduce very large arguments in a branch that keeps up to 56
# bytes on the stack; no register is spilled for it. The complex functions are made of
# them, complex64's power of single precision's.
_WITH_FRAME = frozenset(
    ("sin", "cos", "tan", "exp", "expm1", "sinh", "cosh", "tanh", "pow")
)


@cache
def kernels() -> dict[str, tuple[str, Kernel, bool]]:
    """By name: a case that emits it, the kernel, whether a frame is expected."""
    found = {}
    for case in (*catalogue.all_cases(), *catalogue.wide_cases()):
        framed = _may_keep_a_frame(case.group)
        for kernel in lower(case.group).kernels:
            found.setdefault(kernel.name, (case.name, kernel, framed))
    for row, kernel in row_kernels().items():
        found.setdefault(kernel.name, (f"{row}", kernel, False))
    for family in calls.FAMILIES.values():
        for call in family():
            lowered = CALLS[call.call.name](call.call)
            assert lowered is not None, call.name
            for kernel in lowered.kernels:
                found.setdefault(kernel.name, (call.name, kernel, False))
    return found


class Row(NamedTuple):
    """A step that folds by rows, one of those of a program."""

    program: str
    length: int
    dtype: str
    step: int
    loads: int  # that are one element a row
    stores: int


@cache
def row_kernels() -> dict[Row, Kernel]:
    """Each program in every variant of row_plan.py."""
    found = {}
    for program in PROGRAMS:
        for length in (64, 1024, 4096, 32000, 100000):
            for dtype in (dtypes.float32, dtypes.float16):
                groups = row_groups(program, 1 << 14, length, dtype)
                for number, group in enumerate(groups):
                    (kernel,) = lower(group).kernels
                    loads = sum(v.strides[1] == 0 for v in group.loads)
                    stores = sum(s.view.shape[1] == 1 for s in group.stores)
                    row = Row(program, length, dtype.name, number, loads, stores)
                    found[row] = kernel
    return found


def _may_keep_a_frame(group: Group) -> bool:
    for store in group.stores:
        for node in postorder(store.expr):
            if type(node) is Apply and node.op.name in _WITH_FRAME:
                trigonometric = node.op.name in ("sin", "cos", "tan")
                if trigonometric or node.dtype.is_complex:
                    return True
    return False


@pytest.fixture(scope="module", params=ARCHS)
def reports(request, tmp_path_factory) -> dict[str, Report]:
    """Machine code of everything, for one architecture."""
    nvdisasm = require_tools()
    folder = tmp_path_factory.mktemp(request.param)
    everything = [kernel for _, kernel, _ in kernels().values()]
    return build_all(everything, request.param, nvdisasm, folder)


def test_no_kernel_spills_or_joins_in_vain(reports):
    bad = {
        case: found
        for name, (case, kernel, framed) in kernels().items()
        if (found := faults(kernel, reports[name], framed))
    }
    assert not bad


def test_vectors_are_moved_16_bytes_at_a_time(reports):
    narrow = []
    for layout in catalogue.LAYOUTS:
        if not layout.vector:
            continue
        for dtype in catalogue.DTYPES:
            group = next(
                c.group
                for c in catalogue.layout_cases()
                if c.name == f"{layout.name}-{dtype.name}"
            )
            (kernel,) = lower(group).kernels
            loads, stores = reports[kernel.name].wide_accesses
            if not loads or not stores:
                narrow.append((layout.name, dtype.name, loads, stores))
    assert not narrow


def test_rows_are_moved_16_bytes_at_a_time(reports):
    """All but what is one element a row."""
    narrow = []
    for row, kernel in row_kernels().items():
        report = reports[kernel.name]
        loads, stores = report.wide_accesses
        others = report.count(r"\bLDG\b") - loads, report.count(r"\bSTG\b") - stores
        if not loads or others != (row.loads, row.stores):
            narrow.append((row, loads, stores, others))
    assert not narrow


def test_rows_in_registers_leave_room_for_enough_bytes(reports):
    """1,024 threads on a multiprocessor, or 512 of those that hold more."""
    crowded = []
    for row, kernel in row_kernels().items():
        registers, threads = reports[kernel.name].registers, kernel.block[0]
        # Registers are given out in eights.
        blocks = 65536 // (-(-registers // 8) * 8 * threads)
        if blocks * threads < 512:
            crowded.append((row, registers, threads))
    assert not crowded


def test_cheap_kernels_leave_room_for_other_blocks(reports):
    """Six blocks of 256 threads on a multiprocessor: enough bytes on their way."""
    (kernel,) = lower(
        next(c.group for c in catalogue.layout_cases() if c.name == "vector-float32")
    ).kernels
    assert reports[kernel.name].registers <= 40


# --- the gates themselves ---------------------------------------------------------

_SPILLS = """
extern "C" __global__ void __launch_bounds__(256, 8)
gpugrad_map_bad(const f64* __restrict__ in0, f64* __restrict__ out0) {
  f64 x[64];
  for (int k = 0; k < 64; ++k) x[k] = in0[k * 256 + threadIdx.x];
  for (int r = 0; r < 9; ++r)
    for (int k = 0; k < 64; ++k) x[k] = x[k] * x[(k * 7 + r) % 64] + x[(k + 1) % 64];
  for (int k = 0; k < 64; ++k) out0[k * 256 + threadIdx.x] = x[k];
}
"""
_LOCAL = """
extern "C" __global__ void __launch_bounds__(256)
gpugrad_map_bad(const i32* __restrict__ in0, i32* __restrict__ out0) {
  i32 x[32];
  for (int k = 0; k < 32; ++k) x[k] = in0[k * 256 + threadIdx.x];
  for (int k = 0; k < 32; ++k) x[(x[k] * 7) & 31] += k;
  out0[threadIdx.x] = x[in0[threadIdx.x + 1] & 31];
}
"""
_JOINS = """
extern "C" __global__ void __launch_bounds__(256)
gpugrad_map_bad(const i32* __restrict__ in0, i32* __restrict__ out0) {
  __shared__ i32 x[256];
  x[threadIdx.x] = in0[threadIdx.x];
  __syncthreads();
  out0[threadIdx.x] = x[255 - threadIdx.x];
}
"""


@pytest.mark.parametrize(
    ("text", "fault"),
    [(_SPILLS, "spilled"), (_LOCAL, "local accesses"), (_JOINS, "barrier")],
    ids=["spills", "local", "joins"],
)
def test_the_gates_catch_a_bad_kernel(text, fault, tmp_path):
    nvdisasm = require_tools()
    shape = ((1, 1, 1), (256, 1, 1))
    kernel = Kernel("gpugrad_map_bad", text, ("types.cuh",), *shape, ())
    built = build(module_source([kernel]), "sm_90", nvdisasm, tmp_path)
    found = faults(kernel, built[kernel.name], may_keep_a_frame=False)
    assert any(fault in f for f in found), found


_MOVES = """
extern "C" __global__ void __launch_bounds__(256)
gpugrad_map_bad(const {0}* __restrict__ in0, {0}* __restrict__ out0) {{
  out0[threadIdx.x] = in0[threadIdx.x];
}}
"""


@pytest.mark.parametrize(("ctype", "wide"), [("f32", 0), ("c64", 0), ("uint4", 1)])
def test_narrow_accesses_are_noticed(ctype, wide, tmp_path):
    nvdisasm = require_tools()
    shape = ((1, 1, 1), (256, 1, 1))
    text = _MOVES.format(ctype)
    kernel = Kernel("gpugrad_map_bad", text, ("types.cuh",), *shape, ())
    built = build(module_source([kernel]), "sm_90", nvdisasm, tmp_path)
    assert built[kernel.name].wide_accesses == (wide, wide)
