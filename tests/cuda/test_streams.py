"""Events between streams, with streams that take notes instead of a GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.cupy.executable import CupyExecutable
from gpugrad.backends.cupy.streams import barrier, needed_waits
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import Barrier, Program
from tests.cuda.cpu import compiler
from tests.cuda.fakes import FakeDevice, FakeEvent, FakeStream


def test_a_barrier_is_two_waits_a_stream():
    notes: list[str] = []
    gate = FakeStream("gate", notes)
    streams = [FakeStream(name, notes) for name in ("a", "b", "c")]
    numbers = iter(range(100))
    barrier(gate, streams, lambda: FakeEvent(next(numbers)))
    assert notes == [
        "a records 0",
        "gate waits 0",
        "b records 1",
        "gate waits 1",
        "c records 2",
        "gate waits 2",
        "gate records 3",
        "a waits 3",
        "b waits 3",
        "c waits 3",
    ]


def two_streams() -> Program:
    """0 writes a, 1 writes b (stream 1), a barrier, then 1 reads a and 0 reads both."""
    builder = Builder()
    x = builder.new(dtypes.float32, (8,), "input")
    a = builder.map(scalar.neg, x)
    b = builder.map(scalar.abs_, x)
    builder.barrier([a, b])
    c = builder.map(lambda v: v * v, a)
    out = builder.new(dtypes.float32, (8,), "output")
    builder.store(out, scalar.add, b, c)
    streams = (0, 1, None, 1, 0)
    steps = tuple(
        step._replace(streams=(0, 1)) if s is None else step._replace(stream=s)
        for step, s in zip(builder.steps, streams)
    )
    offsets = {v.buffer.id: 512 * i for i, v in enumerate((a, b, c))}
    program = Program(steps, (x.buffer,), (), {}, (out,), ())
    return replace(program, offsets=offsets, arena_bytes=1536)


def test_one_stream_needs_no_events():
    program = two_streams()
    alone = tuple(
        s if isinstance(s, Barrier) else s._replace(stream=0) for s in program.steps
    )
    assert needed_waits(replace(program, steps=alone)) == {}


def test_each_read_across_streams_waits_for_its_writer():
    assert needed_waits(two_streams()) == {3: (0,), 4: (3,)}


def test_reuse_of_memory_waits_for_its_last_reader():
    """Where c takes the bytes of b, its writer waits until b is read, or written."""
    program = two_streams()
    (_, b, c) = program.offsets
    shared = {**program.offsets, c: program.offsets[b]}
    steps = (*program.steps[:2], program.steps[3]._replace(stream=0))
    waits = needed_waits(replace(program, steps=steps, offsets=shared))
    assert waits == {2: (1,)}


def test_a_program_on_two_streams(tmp_path):
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    device = FakeDevice(tmp_path)
    executable = CupyExecutable(two_streams(), device)
    x = np.linspace(-1, 1, 8, dtype=np.float32)
    (result,) = executable.run([x], [], 0)
    np.testing.assert_allclose(result, abs(x) + x * x, rtol=1e-6)
    notes = device.notes
    assert notes[:2] == ["s0 records 1", "s1 waits 1"]  # the other stream starts
    assert notes[-2:] == ["s1 records 7", "s0 waits 7"]  # and is done
    assert "gate records 5" in notes
    waits = [n for n in notes if "waits" in n]
    assert "s1 waits 2" in waits  # step 3 reads what step 0 wrote
    assert "s0 waits 6" in waits  # step 4 reads what step 3 wrote
