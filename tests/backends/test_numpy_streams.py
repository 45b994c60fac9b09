"""Thread streams under stress: random Programs, streams, delays, against one stream.

``GPUGRAD_STRESS=20000 pytest tests/backends/test_numpy_streams.py`` runs that many
schedules rather than the usual number.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpugrad import config, dtypes
from gpugrad.backends.base import StepError
from gpugrad.backends.numpy.backend import NumpyExecutable
from gpugrad.backends.numpy.streams import Workers
from gpugrad.compiler.events import order_streams
from gpugrad.compiler.memory import plan_memory
from gpugrad.compiler.streams import on_streams
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.order import done_before
from gpugrad.kir.program import GATE, HOME, Call, Program, Step
from gpugrad.kir.verify import check_program
from tests.backends.programs import Trial, trials
from tests.backends.schedules import (
    Draft,
    Probe,
    all_waits,
    draw,
    gates,
    random_streams,
    without,
)
from tests.backends.test_numpy_programs import _equal

_SCHEDULES = int(os.environ.get("GPUGRAD_STRESS", "5000"))
_PROGRAMS_EACH = 4  # assignments of one Program
_RUNS_EACH = 5  # runs, with other delays, of one assignment


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def workers() -> Workers:
    return Workers()


def dawdling(rng: np.random.Generator, probe: Probe, count: int) -> None:
    """Before each call, and in its middle: nothing, a yield, or a nap."""
    kinds = rng.integers(0, 4, (2, count))
    naps = rng.exponential(4e-5, (2, count))

    def pause(row: int, number: int) -> None:
        if kinds[row, number] == 1:
            time.sleep(0)
        elif kinds[row, number] == 2:
            time.sleep(naps[row, number])

    probe.before = lambda number: pause(0, number)
    probe.between = lambda number: pause(1, number)


def too_early(draft: Draft, program: Program) -> list[tuple[int, int]]:
    """(made, read): calls that read a member before another member's call ended."""
    starts = {n: m for m, n, what in draft.probe.log if what == "starts"}
    ends = {n: m for m, n, what in draft.probe.log if what == "ends"}
    return [
        (one, other)
        for made, read in gates(program)
        for one in made
        for other in read
        if starts[other] < ends[one]
    ]


def differs(draft: Draft, executable: NumpyExecutable, expected) -> bool:
    """True if a run gives other outputs or variables than the interpreter."""
    outputs, committed = expected
    variables = [None if v is None else v.copy() for v in draft.trial.variables]
    results = executable.run(draft.trial.inputs, variables, 0)
    return not (
        all(map(np.array_equal, results, outputs))
        and all(np.array_equal(variables[k], v) for k, v in committed.items())
    )


def calls(step: Step) -> bool:
    """True for the library calls of a draft."""
    return isinstance(step, Call)


def test_no_schedule_changes_a_result(workers: Workers) -> None:
    rng = np.random.default_rng(int(os.environ.get("GPUGRAD_STRESS_SEED", "0")))
    runs = gated = waits = steps = 0
    while runs < _SCHEDULES:
        draft = draw(rng, int(rng.integers(4, 40)))
        expected = draft.trial.expected()
        count = len(draft.trial.program.steps)
        for _ in range(_PROGRAMS_EACH):
            streams = random_streams(rng, draft.trial.program, int(rng.integers(2, 6)))
            program = draft.on(streams, bool(rng.integers(2)), verify=False)
            executable = NumpyExecutable(program, workers)
            for _ in range(_RUNS_EACH):
                draft.probe.quiet()
                dawdling(rng, draft.probe, count)
                assert not differs(draft, executable, expected), executable.source
                assert too_early(draft, program) == []
                runs += 1
                gated += sum(1 for made, read in gates(program) if made and read)
                waits += len(list(all_waits(program)))
                steps += count
    sys.stdout.write(  # shown by pytest -s
        f"{runs} schedules, {steps} steps, {waits} waits, {gated} gates with calls "
        "on both sides: no difference\n"
    )
    assert gated > runs // 10


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(trial=trials(), seed=st.integers(0, 2**32))
def test_random_kernels_on_threads(trial: Trial, seed: int, workers: Workers) -> None:
    """Folds, selects, casts and strided views, with the scratch that they take."""
    rng = np.random.default_rng(seed)
    outputs, committed = trial.expected()
    program = on_streams(trial.program, random_streams(rng, trial.program, 3))
    program = order_streams(program)
    check_program(program)
    settings = config.current()
    if seed % 2:  # tiles of a few elements, shared by threads of the pool
        settings = replace(settings, tile_bytes=64, share_ns=1, num_threads=2)
    executable = NumpyExecutable(program, workers, settings)
    for _ in range(3):
        variables = [None if v is None else v.copy() for v in trial.variables]
        results = executable.run(trial.inputs, variables, 0)
        for found, wanted in zip(results, outputs, strict=True):
            _equal(found, wanted, executable.source)
        for slot, wanted in committed.items():
            _equal(variables[slot], wanted, executable.source)


# --- planted bugs ---------------------------------------------------------------------


def late(probe: Probe, number: int, seconds: float = 4e-3) -> None:
    """Let one call begin late."""
    probe.quiet()
    probe.before = lambda other: time.sleep(seconds) if other == number else None


def test_a_dropped_wait_is_found(workers: Workers) -> None:
    rng = np.random.default_rng(1)
    tried = found = 0
    while tried < 60:
        draft = draw(rng, 20)
        expected = draft.trial.expected()
        program = draft.on(random_streams(rng, draft.trial.program, 4), verify=False)
        for number, other in all_waits(program):
            if not 0 <= other < number < len(program.steps):
                continue
            step = program.steps[other]
            if not (isinstance(step, Call) and program.steps[number].stream != GATE):
                continue
            executable = NumpyExecutable(without(program, number, other), workers)
            late(draft.probe, dict(step.attrs)["number"])
            tried += 1
            found += differs(draft, executable, expected)
    sys.stdout.write(f"{found} of {tried} dropped waits gave other results\n")
    assert found > 0.9 * tried


def test_a_barrier_that_does_not_wait_is_found(workers: Workers) -> None:
    rng = np.random.default_rng(2)
    tried = found = 0
    while tried < 40:
        draft = draw(rng, 20)
        program = draft.on(random_streams(rng, draft.trial.program, 4), verify=False)
        steps = program.steps
        waits = {
            number: earlier
            for number, earlier in program.waits.items()
            if number == len(steps) or steps[number].stream != GATE
        }
        # The end waited for some steps by way of the barriers.
        waits[len(steps)] = tuple(n for n, s in enumerate(steps) if s.stream > HOME)
        broken = replace(program, waits=waits)
        place = {dict(s.attrs)["number"]: n for n, s in enumerate(steps) if calls(s)}
        done = done_before(broken)
        loose = {
            one
            for made, read in gates(program)
            for one in made
            for other in read
            if not done[place[other]] >> (place[one] + 1) & 1
        }
        executable = NumpyExecutable(broken, workers)
        for number in loose:
            late(draft.probe, number)
            executable.run(draft.trial.inputs, list(draft.trial.variables), 0)
            tried += 1
            found += bool(too_early(draft, broken))
    sys.stdout.write(f"{found} of {tried} open barriers were seen\n")
    assert found > 0.9 * tried


# --- failure --------------------------------------------------------------------------


def failing(draft: Draft, workers: Workers, numbers: set[int]) -> NumpyExecutable:
    """Calls ``numbers`` fail, on streams of their own."""
    rng = np.random.default_rng(4)
    steps = draft.trial.program.steps
    program = draft.on(random_streams(rng, draft.trial.program, 4))

    def fail(number: int) -> None:
        time.sleep(float(rng.exponential(1e-4)))
        if number in numbers:
            raise ValueError(f"call {number}")

    draft.probe.before = fail
    assert len(program.steps) == len(steps)
    return NumpyExecutable(program, workers)


def test_the_first_failing_step_is_the_one_that_is_raised(workers: Workers) -> None:
    """As on one stream, whichever fails first by the clock; variables stay."""
    draft = draw(np.random.default_rng(8), 40)
    expected = draft.trial.expected()
    place = {
        dict(s.attrs)["number"]: n
        for n, s in enumerate(draft.trial.program.steps)
        if calls(s)
    }
    numbers = sorted(place, key=place.__getitem__)
    assert len(numbers) > 8
    for first in range(len(numbers)):
        executable = failing(draft, workers, set(numbers[first:]))
        for _ in range(5):
            variables = list(draft.trial.variables)
            with pytest.raises(StepError, match=f"call {numbers[first]}$") as caught:
                executable.run(draft.trial.inputs, variables, 0)
            # The node that the step came from before dead steps went.
            origin = draft.trial.program.origins[place[numbers[first]]]
            assert caught.value.origin == origin
            assert all(a is b for a, b in zip(variables, draft.trial.variables))
        draft.probe.quiet()
        assert not differs(draft, executable, expected)


def test_an_interrupt_waits_for_the_threads(workers: Workers) -> None:
    draft = draw(np.random.default_rng(8), 40)
    expected = draft.trial.expected()
    executable = failing(draft, workers, set())
    running = threading.Event()

    def interrupt(number: int) -> None:
        if threading.current_thread() is threading.main_thread():
            running.wait(5)
            raise KeyboardInterrupt
        running.set()
        time.sleep(2e-3)

    draft.probe.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        executable.run(draft.trial.inputs, list(draft.trial.variables), 0)
    starts = sum(what == "starts" for _, _, what in draft.probe.log)
    ends = sum(what == "ends" for _, _, what in draft.probe.log)
    assert starts == ends + 1  # nobody is at work but the one that was interrupted
    draft.probe.quiet()
    assert not differs(draft, executable, expected)


def test_programs_of_several_callers_share_the_threads(workers: Workers) -> None:
    rng = np.random.default_rng(6)
    drafts = [draw(rng, 25) for _ in range(4)]
    wrong: list[int] = []

    def repeat(draft: Draft, program: Program) -> None:
        executable = NumpyExecutable(program, workers)
        expected = draft.trial.expected()
        dawdling(np.random.default_rng(7), draft.probe, 30)
        wrong.extend(differs(draft, executable, expected) for _ in range(50))

    threads = []
    for draft in drafts:
        program = draft.on(random_streams(rng, draft.trial.program, 4))
        threads.append(threading.Thread(target=repeat, args=(draft, program)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(wrong) == 200 and not any(wrong)


def test_a_child_process_has_threads_of_its_own() -> None:
    workers = Workers()
    draft = draw(np.random.default_rng(8), 30)
    executable = failing(draft, workers, set())
    expected = draft.trial.expected()
    assert not differs(draft, executable, expected)
    with warnings.catch_warnings():
        # Python warns that a fork takes no threads along; that is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(int(differs(draft, executable, expected)))
    assert os.waitpid(child, 0)[1] == 0


def test_scratch_is_not_shared_by_streams() -> None:
    b = Builder()
    x = b.new(dtypes.float32, (600,), "input")
    made = [b.map(lambda e: scalar.exp(e) * scalar.sin(e) + e, x) for _ in range(2)]
    out = b.new(dtypes.float32, (600,), "output")
    b.store(out, scalar.add, *made)
    program = Program(tuple(b.steps), (x.buffer,), (), {}, (out,), ())
    program = order_streams(plan_memory(on_streams(program, [0, 1, 0])))
    module = NumpyExecutable(program, Workers())._module
    home = {n for n in module.namespace if re.fullmatch(r"s\d+", n)}
    other = {n for n in module.namespace if re.fullmatch(r"s1_\d+", n)}
    assert home and other
    for one in home:
        for two in other:
            arrays = module.namespace[one], module.namespace[two]
            assert not np.shares_memory(*arrays)
