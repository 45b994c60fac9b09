"""What the host enqueues for several streams, with streams that take notes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.cupy.executable import CupyExecutable
from gpugrad.backends.cupy.streams import Enqueuer
from gpugrad.compiler.events import order_streams
from gpugrad.compiler.memory import plan_memory
from gpugrad.compiler.streams import on_streams
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import GATE, Program
from gpugrad.kir.verify import check_program
from tests.backends.schedules import all_waits, draw, random_streams
from tests.cuda.cpu import compiler
from tests.cuda.fakes import FakeDevice, FakeEvent, FakeStream


class Notes:
    """A device that is only streams."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.events = 0

    def stream(self, number: int) -> FakeStream:
        name = "gate" if number == GATE else f"s{number}"
        return FakeStream(name, self.notes)

    def new_event(self) -> FakeEvent:
        self.events += 1
        return FakeEvent(self.events)

    def actions(self, program: Program) -> list:
        return [
            lambda bases, number=number: self.notes.append(f"step {number}")
            for number in range(len(program.steps))
        ]


def gated(streams: list[int]) -> Program:
    """0, 1 and 2 make gradients, 3 is the barrier, 4 and 5 read one each."""
    b = Builder()
    x = b.new(dtypes.float32, (8,), "input")
    made = [b.map(f, x) for f in (scalar.neg, scalar.abs_, scalar.exp)]
    b.barrier(made)
    outs = [b.new(dtypes.float32, (8,), "output") for _ in range(2)]
    b.store(outs[0], lambda v: v + v, made[0])
    b.store(outs[1], lambda v: v * v, made[1])
    program = Program(tuple(b.steps), (x.buffer,), (), {}, tuple(outs), ())
    program = order_streams(plan_memory(on_streams(program, streams)))
    check_program(program)
    return program


def test_a_barrier_is_a_wait_for_each_stream_before_and_behind_it() -> None:
    program, device = gated([0, 1, 2, 0, 1, 3]), Notes()
    Enqueuer(program, device, device.actions(program)).run([])
    assert device.notes == [
        "s0 records 1",  # the run starts
        "step 0",
        "s0 records 2",
        "s1 waits 1",
        "step 1",
        "s1 records 3",
        "s2 waits 1",
        "step 2",
        "s2 records 4",
        "gate waits 2",
        "gate waits 3",
        "gate waits 4",
        "step 3",
        "gate records 5",
        "s1 waits 5",
        "step 4",
        "s1 records 6",
        "s3 waits 5",
        "step 5",
        "s3 records 7",
        "s0 waits 6",  # the run ends
        "s0 waits 7",
    ]


def test_a_barrier_of_one_stream_is_free() -> None:
    program, device = gated([0, 0, 0, 0, 0, 0]), Notes()
    Enqueuer(program, device, device.actions(program)).run([])
    assert device.notes == [f"step {n}" for n in range(6)]
    program, device = gated([1, 1, 1, 0, 1, 1]), Notes()
    Enqueuer(program, device, device.actions(program)).run([])
    assert len([n for n in device.notes if "waits" in n]) == 2  # start and end


def test_events_are_made_once() -> None:
    program, device = gated([0, 1, 2, 0, 1, 3]), Notes()
    enqueuer = Enqueuer(program, device, device.actions(program))
    made = device.events
    for _ in range(100):
        enqueuer.run([])
    assert device.events == made == 7


def test_streams_without_waits_are_refused() -> None:
    b = Builder()
    x = b.new(dtypes.float32, (8,), "input")
    out = b.new(dtypes.float32, (8,), "output")
    b.store(out, scalar.neg, b.map(scalar.abs_, x))
    program = Program(tuple(b.steps), (x.buffer,), (), {}, (out,), ())
    program = on_streams(program, [1, 0])
    with pytest.raises(AssertionError, match="no waits yet"):
        Enqueuer(program, Notes(), [lambda bases: None] * 2)


def test_home_waits_for_all_streams_when_a_step_fails() -> None:
    program, device = gated([0, 1, 2, 0, 1, 3]), Notes()
    actions = device.actions(program)

    def fail(bases: list) -> None:
        raise RuntimeError("no")

    actions[4] = fail
    enqueuer = Enqueuer(program, device, actions)
    with pytest.raises(RuntimeError, match="no"):
        enqueuer.run([])
    assert enqueuer.number == 4
    joined = [n for n in device.notes if n.startswith("s0 waits")]
    assert len(joined) == 4  # streams 1 to 3 and the gate


# --- on the device's terms ------------------------------------------------------------


def replay(notes: list[str]) -> Iterator[tuple[str, set[str]]]:
    """Each step that was enqueued, with all that the device has done before it."""
    done: dict[str, set[str]] = {}  # by stream
    recorded: dict[str, set[str]] = {}
    here = ""
    for note in notes:
        words = note.split()
        if words[0] == "step":
            before = done.setdefault(here, set())
            yield words[1], set(before)
            before.add(words[1])
            continue
        stream, what, event = words
        mine = done.setdefault(stream, set())
        if what == "records":
            recorded[event] = set(mine)
        elif what == "waits":
            mine |= recorded[event]
        else:
            here = stream


@pytest.mark.parametrize("seed", range(20))
def test_the_device_keeps_every_order_that_the_program_asks_for(seed: int) -> None:
    """A device that knows only streams and events does each wait's step in time."""
    rng = np.random.default_rng(seed)
    draft = draw(rng, 25)
    program = draft.on(random_streams(rng, draft.trial.program, 4))
    device = Notes()

    def action(number: int, stream: int):
        name = "gate" if stream == GATE else f"s{stream}"

        def act(bases: list) -> None:
            device.notes.extend((f"{name} is here", f"step {number}"))

        return act

    actions = [action(n, s.stream) for n, s in enumerate(program.steps)]
    enqueuer = Enqueuer(program, device, actions)
    for _ in range(2):  # events of the first run are recorded again
        device.notes.clear()
        enqueuer.run([])
        before = {int(n): {int(d) for d in done} for n, done in replay(device.notes)}
        assert len(before) == len(program.steps)
        waits = [(n, o) for n, o in all_waits(program) if o >= 0 and n in before]
        assert all(other in before[number] for number, other in waits)


def test_a_program_on_several_streams(tmp_path) -> None:
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    device = FakeDevice(tmp_path)
    executable = CupyExecutable(gated([0, 1, 2, 0, 1, 3]), device)
    x = np.linspace(-1, 1, 8, dtype=np.float32)
    first, second = executable.run([x], [], 0)
    np.testing.assert_allclose(first, -2 * x, rtol=1e-6)
    np.testing.assert_allclose(second, x * x, rtol=1e-6)
    assert len([n for n in device.notes if "waits" in n]) == 9


def test_random_programs_on_several_streams(tmp_path) -> None:
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    device = FakeDevice(tmp_path)
    rng = np.random.default_rng(3)
    draft = draw(rng, 30)
    outputs, committed = draft.trial.expected()
    program = draft.on(random_streams(rng, draft.trial.program, 4))
    executable = CupyExecutable(program, device)
    for _ in range(2):
        variables = [None if v is None else v.copy() for v in draft.trial.variables]
        results = executable.run(draft.trial.inputs, variables, 0)
        assert all(map(np.array_equal, results, outputs))
        assert all(np.array_equal(variables[k], v) for k, v in committed.items())
