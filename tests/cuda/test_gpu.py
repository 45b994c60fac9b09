"""The CuPy backend on a GPU against the meaning of the IR."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from gpugrad import dtypes
from gpugrad.kir.interpret import interpret
from gpugrad.kir.program import Group, Program
from gpugrad.kir.space import View, whole
from tests.backends.programs import trials
from tests.cuda import catalogue
from tests.cuda.test_executable import _has_halves
from tests.cuda.test_on_cpu import FAMILIES, compare, function_of
from tests.cuda.values import operands

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="session")
def backend():
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


def as_program(group: Group) -> Program:
    """``group`` over feeds, with every buffer that it stores to as an output."""

    def moved(view: View, kind: str) -> View:
        return view._replace(buffer=view.buffer._replace(kind=kind))

    loads = tuple(moved(v, "input") for v in group.loads)
    stores = tuple(s._replace(view=moved(s.view, "output")) for s in group.stores)
    inputs = tuple({v.buffer.id: v.buffer for v in loads}.values())
    outputs = tuple(whole(s.view.buffer, (s.view.buffer.size,)) for s in stores)
    step = group._replace(loads=loads, stores=stores)
    return Program((step,), inputs, (), {}, outputs, ())


def run_on(backend, group: Group, memory: dict[int, np.ndarray]) -> list[np.ndarray]:
    program = as_program(group)
    feeds = [backend.to_device(memory[b.id], b.dtype) for b in program.inputs]
    results = backend.load(program).run(feeds, [], 0)
    return [backend.to_host(r) for r in results]


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_compute_what_the_ir_means(backend, family):
    for case in FAMILIES[family]():
        function = function_of(case)
        memory = operands(case.group, function)
        want = interpret([case.group], dict(memory))
        for store, got in zip(case.group.stores, run_on(backend, case.group, memory)):
            buffer = store.view.buffer
            try:
                compare(got, want[buffer.id], buffer.dtype, function == "fold")
            except AssertionError as error:
                raise AssertionError(f"{case.name}: {error}") from None


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(trial=trials())
def test_random_programs_equal_the_interpreter(backend, trial):
    assume(not _has_halves(trial))
    outputs, committed = trial.expected()
    executable = backend.load(trial.program)

    def up(array):
        return None if array is None else backend.to_device(array, _dtype(array))

    variables = [up(a) for a in trial.variables]
    results = executable.run([up(a) for a in trial.inputs], variables, 0)
    for found, wanted in zip(results, outputs):
        np.testing.assert_array_equal(backend.to_host(found), wanted)
    for slot, wanted in committed.items():
        np.testing.assert_array_equal(backend.to_host(variables[slot]), wanted)


def _dtype(array: np.ndarray) -> dtypes.DType:
    return dtypes.of_numpy(array.dtype)


def test_folds_repeat_bit_by_bit(backend):
    for case in catalogue.fold_cases((dtypes.float32,)):
        memory = operands(case.group, "fold")
        runs = [run_on(backend, case.group, memory) for _ in range(3)]
        for other in runs[1:]:
            for one, two in zip(runs[0], other):
                assert one.tobytes() == two.tobytes(), case.name
