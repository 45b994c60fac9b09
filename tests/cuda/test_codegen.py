"""The generator's text: what it says, and that nobody's words get into it."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.cupy import scalar as table
from gpugrad.backends.cupy.codegen import lower
from gpugrad.backends.cupy.layout import make_nest
from gpugrad.backends.cupy.literals import literal
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import Group
from gpugrad.kir.scalar import Apply, Load
from tests.cuda import catalogue


def group_of(make) -> Group:
    builder = Builder()
    make(builder)
    (group,) = builder.steps
    return group


def kernels_of(make):
    return lower(group_of(make)).kernels


# --- the table of functions -------------------------------------------------------


def test_every_scalar_function_has_a_row():
    assert table.ROWS.keys() == scalar.OPS.keys()


def test_every_row_takes_a_dtype():
    for name in table.ROWS:
        assert any(table.supports(name, d) for d in dtypes.ALL), name


def test_a_function_that_cuda_lacks_names_itself_and_the_dtype():
    with pytest.raises(
        TypeError, match=r"lgamma does not take complex64 on CUDA.*float"
    ):
        kernels_of(lambda b: b.map(scalar.lgamma, b.new(dtypes.complex64, (3,))))


def test_a_reduction_that_cuda_lacks_names_itself_and_the_dtype():
    with pytest.raises(TypeError, match="'max' does not take complex64"):
        kernels_of(lambda b: b.reduce("max", b.new(dtypes.complex64, (3,)), (0,)))


def test_strings_are_refused():
    with pytest.raises(TypeError, match="string"):
        kernels_of(lambda b: b.map(lambda x: x, b.new(dtypes.string, (3,))))


# --- literals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (1.5, dtypes.float32, "1.5f"),
        (-0.0, dtypes.float32, "(-0.0f)"),
        (0.1, dtypes.float32, "0.1f"),
        (1e30, dtypes.float32, "1e+30f"),
        (0.1, dtypes.float64, "0.1"),
        (np.inf, dtypes.float64, "INF_F64"),
        (-np.inf, dtypes.float32, "(-INF_F32)"),
        (np.nan, dtypes.float32, "NAN_F32"),
        (np.float16(0.1), dtypes.float16, "0.099975586f"),
        (True, dtypes.bool_, "true"),
        (-5, dtypes.int32, "(i32)(-5)"),
        (-(2**31), dtypes.int32, "(i32)0x80000000u"),
        (-(2**63), dtypes.int64, "(i64)0x8000000000000000ull"),
        (2**64 - 1, dtypes.uint64, "18446744073709551615ull"),
        (1 - 2j, dtypes.complex64, "c64{1.0f, (-2.0f)}"),
    ],
)
def test_literals(value, dtype, text):
    assert literal(np.asarray(value, dtype.np_dtype)[()], dtype) == text


# --- loops ------------------------------------------------------------------------


def test_neighbouring_axes_become_one():
    nest = make_nest(
        group_of(lambda b: b.map(scalar.neg, b.new(dtypes.float32, (4, 5, 6))))
    )
    assert nest.extents == (120,)


def test_a_broadcast_axis_stays_apart():
    def make(b):
        row = b.new(dtypes.float32, (6,))
        b.map(scalar.add, b.new(dtypes.float32, (4, 5, 6)), row)

    assert make_nest(group_of(make)).extents == (20, 6)


def test_reduced_axes_come_last():
    nest = make_nest(
        group_of(lambda b: b.reduce("sum", b.new(dtypes.float32, (4, 5, 6)), (1,)))
    )
    assert nest.extents == (4, 6, 5)
    assert nest.parallel == 2


def test_indices_are_64_bit_only_where_32_do_not_reach():
    (small,) = kernels_of(lambda b: b.map(scalar.neg, b.new(dtypes.int8, (1 << 20,))))
    (large,) = kernels_of(lambda b: b.map(scalar.neg, b.new(dtypes.int8, (1 << 32,))))
    assert "i64" not in small.text
    assert "u64" not in small.text
    assert "const u64 first" in large.text


def test_a_large_array_is_read_in_vectors_before_the_first_value():
    def make(b):
        b.map(scalar.add, b.new(dtypes.float32, (1 << 22,)), b.new(dtypes.float32, ()))

    (kernel,) = kernels_of(make)
    assert "load<4, 4>(in0 + c0, x0[u]);" in kernel.text
    assert kernel.text.index("load<4, 4>") < kernel.text.index("v0 + v1")
    assert kernel.grid == ((1 << 22) // (4 * 2 * 256), 1, 1)


def test_an_address_that_is_not_aligned_is_read_by_elements():
    def make(b):
        b.map(scalar.neg, b.new(dtypes.float32, (65,)).slice((1,), (64,)))

    (kernel,) = kernels_of(make)
    assert "load<4, 1>" in kernel.text
    assert "store<4, 4>" in kernel.text


def test_half_types_are_computed_in_f32():
    (kernel,) = kernels_of(lambda b: b.map(scalar.exp, b.new(dtypes.float16, (64,))))
    assert "const f32 v1 = expf(v0);" in kernel.text
    assert "narrow<f16>(v1)" in kernel.text


@pytest.mark.parametrize(
    ("shape", "axes", "kinds"),
    [
        ((100000, 16), (1,), ["rows_subwarp"]),
        ((100000, 1024), (1,), ["rows_warp"]),
        ((100000, 4096), (1,), ["rows_block"]),
        ((100000, 1 << 17), (1,), ["rows_walk"]),
        ((1 << 20,), (0,), ["rows_split", "rows_warp"]),
        ((64, 4800), (0,), ["columns"]),
        ((100000, 48), (0,), ["columns_split", "columns"]),
        ((5, 0), (1,), ["map"]),
        ((5, 1), (1,), ["map"]),
        ((0, 5), (1,), []),
    ],
)
def test_how_a_fold_is_done(shape, axes, kinds):
    lowered = lower(
        group_of(lambda b: b.reduce("sum", b.new(dtypes.float32, shape), axes))
    )
    found = [re.match(r"gpugrad_(\w+)_\w{16}$", k.name)[1] for k in lowered.kernels]
    assert found == kinds
    assert bool(lowered.scratch) == (len(kinds) == 2)


def test_equal_groups_are_one_kernel_whatever_their_buffers():
    def make(b):
        for _ in range(3):
            b.new(dtypes.float32, (7,))
        b.map(scalar.neg, b.new(dtypes.float32, (64,)))

    (one,) = kernels_of(make)
    (two,) = kernels_of(lambda b: b.map(scalar.neg, b.new(dtypes.float32, (64,))))
    assert one.name == two.name
    assert one.text == two.text


def test_names_are_ours():
    """A kernel is made of C, of our own names and of numbers: nothing else gets in."""
    for case in catalogue.special_cases():
        for kernel in lower(case.group).kernels:
            assert re.fullmatch(r"gpugrad_\w+", kernel.name)
            assert kernel.text.isascii()
            assert "//" not in kernel.text
            assert '"C"' in kernel.text
            assert kernel.text.count('"') == 2


def test_deep_expressions_do_not_recurse():
    expr = Load(0, dtypes.float32)
    for _ in range(5000):
        expr = Apply(scalar.neg, (Apply(scalar.exp, (expr,)),))
    (kernel,) = kernels_of(lambda b: b.map(lambda x: expr, b.new(dtypes.float32, (8,))))
    assert "v10000" in kernel.text


def test_generating_needs_no_array_library_but_numpy():
    code = (
        "import sys; import gpugrad.backends.cupy.executable; "
        "sys.exit('cupy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0
