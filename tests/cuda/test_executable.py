"""Whole Programs through the executable, with the kernels compiled for the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpugrad import dtypes
from gpugrad.backends.base import StepError
from gpugrad.backends.numpy.backend import NumpyBackend
from gpugrad.compiler.pipeline import optimize
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Handle
from gpugrad.kir.philox import philox
from gpugrad.kir.program import Commit, Program
from gpugrad.kir.scalar import postorder
from gpugrad.kir.space import View
from tests.backends.programs import Trial, trials
from tests.compiler.test_in_place import trial as in_place_trial
from tests.compiler.test_parts import in_parts
from tests.compiler.test_passes import close
from tests.cuda.cpu import Machine, compiler
from tests.cuda.fakes import FakeBackend, SharedDevice, kernels_of


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """New folders, for tests that run many times."""
    return lambda: tmp_path_factory.mktemp("program")


def program_of(
    builder: Builder,
    inputs: list[View],
    results: list[View],
    commits: tuple[Commit, ...] = (),
) -> Program:
    """The program that returns copies of ``results``; temps have no arena."""
    outputs = tuple(
        builder.copy(v, builder.new(v.dtype, v.shape, "output")) for v in results
    )
    origins = tuple(f"node {i}" for i in range(len(builder.steps)))
    return Program(
        tuple(builder.steps),
        tuple(v.buffer for v in inputs),
        tuple(builder.variables.items()),
        builder.consts,
        outputs,
        commits,
        builder.step,
        origins=origins,
    )


def _has_halves(trial: Trial) -> bool:
    """Halves are computed in float32 here: a chain of functions rounds less often."""
    return any(
        node.dtype.is_floating and node.dtype.itemsize == 2
        for step in trial.program.steps
        for store in getattr(step, "stores", ())
        for node in postorder(store.expr)
    )


def _is_exact(trial: Trial) -> bool:
    return not _has_halves(trial)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(batch=st.lists(trials().filter(_is_exact), min_size=5, max_size=6))
def test_random_programs_equal_the_interpreter(batch, folders):
    """Several at a time, since starting the compiler takes longer than a kernel."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    folder = folders()
    kernels = [k for trial in batch for k in kernels_of(trial.program)]
    machine = Machine(kernels, folder, parts=1)
    for trial in batch:
        check_trial(trial, FakeBackend(SharedDevice(folder, machine)))


def test_parts_and_their_fold_in_one_kernel(folders):
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    b = Builder()
    x = b.new(dtypes.float32, (9, 3, 5), "input")
    c = b.new(dtypes.float32, (5,), "input")
    y = b.map(scalar.mul, in_parts(b, x, (2, 2, 1)), c)
    program = optimize(close(b, [x, c], [y, b.reduce("sum", y, (0, 1))]))
    (step,) = program.steps
    assert len(step.stores) == 5
    folder = folders()
    backend = FakeBackend(SharedDevice(folder, Machine(kernels_of(program), folder)))
    given = [np.arange(135, dtype=np.float32), np.arange(1, 6, dtype=np.float32)]
    found = backend.load(program).run([placed(backend, a) for a in given], [], 0)
    for one, two in zip(found, NumpyBackend().load(program).run(given, [], 0)):
        same(backend, one, two)


def test_kernels_that_write_over_what_they_read(folders):
    """Aligned runs of points and the rest after them, some in several arrays."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    folder = folders()
    batch = [in_place_trial(seed, size) for seed in range(12) for size in (12, 1028)]
    assert sum(len(trial.program.in_place) for trial in batch) > 30
    kernels = [k for trial in batch for k in kernels_of(trial.program)]
    machine = Machine(kernels, folder, parts=2)
    for trial in batch:
        check_trial(trial, FakeBackend(SharedDevice(folder, machine)))


def check_trial(trial: Trial, backend: Any) -> None:
    """The outputs and the commits of a program are the interpreter's, twice."""
    outputs, committed = trial.expected()
    executable = backend.load(trial.program)
    inputs = [placed(backend, a) for a in trial.inputs]
    for _ in range(2):  # nothing may be left behind by the first run
        variables = [None if a is None else placed(backend, a) for a in trial.variables]
        results = executable.run(inputs, variables, 0)
        for found, wanted in zip(results, outputs):
            np.testing.assert_array_equal(
                backend.to_host(found), wanted, executable.source
            )
        for slot, wanted in committed.items():
            np.testing.assert_array_equal(
                backend.to_host(variables[slot]), wanted, executable.source
            )
    for before, after in zip(trial.inputs, inputs):
        np.testing.assert_array_equal(backend.to_host(after), before)


def placed(backend: Any, array: np.ndarray) -> Any:
    """A copy of ``array`` on the device."""
    return backend.to_device(array.copy(), dtypes.of_numpy(array.dtype))


def filled(backend: Any, size: int, value: float) -> Any:
    """``size`` times ``value`` in float32, on the device."""
    return placed(backend, np.full(size, value, np.float32))


def same(backend: Any, array: Any, wanted: Any) -> None:
    """The device's array has these elements."""
    np.testing.assert_array_equal(backend.to_host(array), wanted)


def test_a_feed_that_is_not_aligned_is_copied(backend):
    builder = Builder()
    x = builder.new(dtypes.float32, (64,), "input")
    executable = backend.load(program_of(builder, [x], [x]))
    values = np.arange(66, dtype=np.float32)
    memory = placed(backend, values)
    for start in (0, 1, 2):
        (result,) = executable.run([memory[start : start + 64]], [], 0)
        same(backend, result, values[start : start + 64])


def test_library_calls_get_views_of_the_same_memory(backend):
    def flip(xp, outs, x, *, times):
        outs[0][...] = x[::-1] * times

    builder = Builder()
    x = builder.new(dtypes.float32, (6,), "input")
    twice = builder.map(lambda v: v + v, x)
    (out,) = builder.call(
        "Flip", flip, [twice.slice((1,), (4,))], [(dtypes.float32, (4,))], times=10
    )
    executable = backend.load(program_of(builder, [x], [out]))
    (result,) = executable.run([placed(backend, np.arange(6, dtype=np.float32))], [], 0)
    same(backend, result, [80, 60, 40, 20])


def _counting(backend, impl=None):
    """A program that adds the feed to a variable, then calls ``impl`` if there is."""
    builder = Builder()
    x = builder.new(dtypes.float32, (3,), "input")
    handle = Handle(0, "count", dtypes.float32, (3,))
    total = builder.map(scalar.add, builder.read(handle), x)
    total = builder.assign(handle, total)
    if impl is not None:
        builder.call("Fails", impl, [total], [(dtypes.float32, (3,))])
    commits = (Commit(0, total),)
    return backend.load(program_of(builder, [x], [total], commits))


def test_variables_are_written_in_place_after_the_last_step(backend):
    executable = _counting(backend)
    stored = filled(backend, 3, 1)
    variables = [stored]
    (first,) = executable.run([filled(backend, 3, 2)], variables, 0)
    (second,) = executable.run([filled(backend, 3, 2)], variables, 1)
    assert variables[0] is stored
    same(backend, first, [3, 3, 3])
    same(backend, second, [5, 5, 5])
    same(backend, stored, [5, 5, 5])


def test_a_variable_of_another_shape_is_replaced(backend):
    builder = Builder()
    x = builder.new(dtypes.float32, (3,), "input")
    value = builder.map(scalar.neg, x)
    program = program_of(builder, [x], [value], (Commit(0, value),))
    variables = [filled(backend, 5, 1)]
    old = variables[0]
    backend.load(program).run([filled(backend, 3, 1)], variables, 0)
    same(backend, variables[0], [-1, -1, -1])
    same(backend, old, np.ones(5))


def test_a_failing_step_names_its_origin_and_leaves_variables_alone(backend):
    def fail(xp, outs, x):
        raise ValueError("no luck")

    executable = _counting(backend, fail)
    stored = filled(backend, 3, 1)
    with pytest.raises(StepError, match="no luck") as caught:
        executable.run([filled(backend, 3, 1)], [stored], 0)
    assert caught.value.origin == "node 1"
    assert isinstance(caught.value.cause, ValueError)
    same(backend, stored, [1, 1, 1])


@pytest.mark.parametrize("size", [1, 4, 1003, 5000])
def test_philox_is_the_same_on_both_sides(backend, size):
    builder = Builder()
    (words,) = builder.call(
        "philox",
        philox,
        [builder.run_number()],
        [(dtypes.uint32, (size,))],
        key0=0xFFFFFFFE,
        key1=7,
    )
    executable = backend.load(program_of(builder, [], [words]))
    for step in (0, 1, 2**40 + 3):
        (found,) = executable.run([], [], step)
        wanted = np.empty(size, np.uint32)
        philox(np, (wanted,), np.int64(step), key0=0xFFFFFFFE, key1=7)
        same(backend, found, wanted)
    assert "gpugrad_philox_" in executable.source
    assert "library call" not in executable.source


def test_the_source_shows_the_schedule_and_the_kernels(backend):
    source = _counting(backend).source
    assert "// 0: gpugrad_map_" in source
    assert 'extern "C" __global__' in source
