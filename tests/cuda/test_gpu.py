"""On a GPU: the catalogue's kernels, the calls', and random Programs.

test_executable.py and test_registry.py run on it as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from gpugrad import dtypes
from gpugrad.kir.interpret import interpret
from gpugrad.kir.program import Call, Group, Program
from gpugrad.kir.space import View, whole
from tests.backends.programs import trials
from tests.cuda import calls, catalogue
from tests.cuda.test_calls import check as check_call
from tests.cuda.test_executable import _has_halves, check_trial
from tests.cuda.test_on_cpu import FAMILIES, compare, function_of
from tests.cuda.values import operands

pytestmark = pytest.mark.gpu


def as_program(step: Group | Call) -> Program:
    """``step`` over feeds, with every buffer that it writes as an output."""

    def moved(view: View, kind: str) -> View:
        return view._replace(buffer=view.buffer._replace(kind=kind))

    reads = tuple(moved(v, "input") for v in step.reads)
    writes = tuple(moved(v, "output") for v in step.writes)
    inputs = tuple({v.buffer.id: v.buffer for v in reads}.values())
    outputs = tuple(whole(v.buffer, (v.buffer.size,)) for v in writes)
    if isinstance(step, Call):
        step = step._replace(args=reads, outs=writes)
    else:
        stores = tuple(s._replace(view=v) for s, v in zip(step.stores, writes))
        step = step._replace(loads=reads, stores=stores)
    return Program((step,), inputs, (), {}, outputs, ())


def run_on(
    backend: Any, step: Group | Call, memory: dict[int, np.ndarray]
) -> list[np.ndarray]:
    program = as_program(step)
    feeds = [backend.to_device(memory[b.id], b.dtype) for b in program.inputs]
    results = backend.load(program).run(feeds, [], 0)
    return [backend.to_host(r) for r in results]


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_compute_what_the_ir_means(gpu, family):
    for case in FAMILIES[family]():
        function = function_of(case)
        memory = operands(case.group, function)
        want = interpret([case.group], dict(memory))
        for store, got in zip(case.group.stores, run_on(gpu, case.group, memory)):
            buffer = store.view.buffer
            try:
                fold = function in ("fold", "prod")
                compare(got, want[buffer.id], buffer.dtype, fold)
            except AssertionError as error:
                raise AssertionError(f"{case.name}: {error}") from None


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(trial=trials())
def test_random_programs_equal_the_interpreter(gpu, trial):
    assume(not _has_halves(trial))
    check_trial(trial, gpu)


@pytest.mark.parametrize("family", calls.FAMILIES)
def test_calls_do_what_they_mean(gpu, family):
    """Three runs, bit by bit the same."""
    for case in calls.FAMILIES[family]():
        call, views = case.call, case.call.args
        memory = {v.buffer.id: a.reshape(-1) for v, a in zip(views, case.arguments)}
        runs = [run_on(gpu, call, memory) for _ in range(3)]
        found = [a.reshape(v.shape) for a, v in zip(runs[0], call.outs)]
        check_call(case, found)
        for other in runs[1:]:
            for one, two in zip(runs[0], other):
                assert one.tobytes() == two.tobytes(), case.name


def test_folds_repeat_bit_by_bit(gpu):
    for case in catalogue.fold_cases((dtypes.float32,)):
        memory = operands(case.group, "fold")
        runs = [run_on(gpu, case.group, memory) for _ in range(3)]
        for other in runs[1:]:
            for one, two in zip(runs[0], other):
                assert one.tobytes() == two.tobytes(), case.name
