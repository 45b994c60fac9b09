"""The generated kernels run on the CPU and are compared with the meaning of the IR.

g++ compiles the very text that NVRTC gets; a small header stands in for CUDA. Every
kernel runs in several orders of its threads: a missing barrier gives other values.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.cupy.codegen import lower
from gpugrad.backends.cupy.text import Kernel
from gpugrad.dtypes import DType
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.interpret import interpret
from tests.cuda import catalogue
from tests.cuda.cpu import ORDERS, Machine, compiler, run_step
from tests.cuda.values import operands

# Units in the last place are 1e-3, 1e-2, 1e-7, 1e-16. C's functions and NumPy's differ
# by a few; folds of some thousand terms by more, as they add in another order.
RTOL = {
    "float16": 3e-3,
    "bfloat16": 2e-2,
    "float32": 6e-6,
    "float64": 1e-12,
    "complex64": 3e-5,
    "complex128": 1e-11,
}
# Folds add up to thousands of numbers of either sign, so the scale is not the result's.
ATOL_OF_FOLDS = 10

# A type of each width and kind; test_machine_code.py compiles the others.
FOLDED = tuple(
    d
    for d in catalogue.DTYPES
    if d.name in ("float16", "float32", "int8", "int64", "bool", "complex128")
)


def some_folds() -> Iterator[catalogue.Case]:
    return catalogue.fold_cases(FOLDED)


FAMILIES = {
    "functions": catalogue.function_cases,
    "composed": catalogue.composed_cases,
    "casts": catalogue.cast_cases,
    "layouts": catalogue.layout_cases,
    "special": catalogue.special_cases,
    "folds": some_folds,
    "back": catalogue.back_cases,
    "beside": catalogue.beside_cases,
    "crowded": catalogue.crowded_cases,
}


def function_of(case: catalogue.Case) -> str:
    """The scalar function that a case is about; "fold", or "prod", if that is none."""
    name = case.name.partition("-")[0]
    return name if name in (*scalar.OPS, "prod") else "fold"


def compare(got: np.ndarray, want: np.ndarray, dtype: DType, fold: bool) -> None:
    if dtype.name not in RTOL:
        np.testing.assert_array_equal(got, want)
        return
    wide = np.complex128 if dtype.is_complex else np.float64
    with np.errstate(all="ignore"):
        got, want = got.astype(wide), want.astype(wide)
    rtol = RTOL[dtype.name]
    atol = rtol * (ATOL_OF_FOLDS if fold else 1)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, equal_nan=True)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A machine with all kernels of a family, and its cases with their kernels."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    cases = [(c, lower(c.group)) for c in FAMILIES[request.param]()]
    kernels = [k for _, lowered in cases for k in lowered.kernels]
    return Machine(kernels, tmp_path_factory.mktemp(request.param)), cases


def test_kernels_compute_what_the_ir_means(family):
    machine, cases = family
    for case, lowered in cases:
        function = function_of(case)
        memory = operands(case.group, function)
        want = interpret([case.group], dict(memory))
        for order in ORDERS:
            got = run_step(machine, lowered, case.group, memory, order)
            for store in case.group.stores:
                buffer = store.view.buffer
                try:
                    compare(
                        got[buffer.id],
                        want[buffer.id],
                        buffer.dtype,
                        function in ("fold", "prod"),
                    )
                except AssertionError as error:
                    raise AssertionError(f"{case.name}: {error}") from None


def test_results_repeat_bit_by_bit(tmp_path):
    """Whatever the order in which threads and blocks run."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    folds = (catalogue.FOLDS[7], catalogue.FOLDS[8], catalogue.FOLDS[13])
    cases = list(catalogue.fold_cases((dtypes.float32,), folds))
    lowered = [lower(c.group) for c in cases]
    machine = Machine([k for low in lowered for k in low.kernels], tmp_path, 2)
    for case, low in zip(cases, lowered):
        memory = operands(case.group, "fold")
        one, *others = [
            run_step(machine, low, case.group, memory, order) for order in ORDERS
        ]
        for two in others:
            for number, values in one.items():
                assert values.tobytes() == two[number].tobytes(), case.name


def test_the_machine_catches_a_missing_barrier(tmp_path):
    """Else the comparison above would prove little."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    builder = Builder()
    builder.reduce("sum", builder.new(dtypes.float32, (3, 5000)), (1,))
    (group,) = builder.steps
    lowered = lower(group)
    (kernel,) = lowered.kernels
    broken = Kernel(
        kernel.name,
        kernel.text.replace("__syncthreads();", ""),
        *kernel[2:],
    )
    assert broken.text != kernel.text
    memory = operands(group, "fold")
    (want,) = run_step(Machine([kernel], tmp_path, 1), lowered, group, memory).values()
    folder = tmp_path / "broken"
    folder.mkdir()
    wrong = lowered._replace(kernels=(broken,))
    (got,) = run_step(Machine([broken], folder, 1), wrong, group, memory).values()
    assert not np.array_equal(got, want)


def test_the_comparison_covers_every_function():
    named = {function_of(c) for c in catalogue.function_cases()}
    assert named == scalar.OPS.keys() - {"cast"}
    assert len(list(islice(catalogue.cast_cases(), 5))) == 5
