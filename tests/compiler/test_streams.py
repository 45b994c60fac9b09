"""Which streams steps get: where it pays, and where it does not."""

from __future__ import annotations

import pytest

from gpugrad import dtypes
from gpugrad.compiler import pipeline
from gpugrad.compiler.fuse import fuse
from gpugrad.compiler.join import join_groups
from gpugrad.compiler.streams import assign_streams, on_streams
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import GATE, HOME, Barrier, Program
from gpugrad.kir.space import View
from gpugrad.kir.target import ONE_STREAM, Target
from gpugrad.kir.verify import check_program

CPU = Target(streams=4)
GPU = Target(4, start=4e-6, bandwidth=3e12, flops=3e13, wait=2e-6, work_is_shared=True)


def optimize(program: Program, target: Target) -> Program:
    """All passes but those that would make one kernel of all steps."""
    merging = (fuse, join_groups)
    passes = tuple(p for p in pipeline.PASSES if p not in merging)
    return pipeline.optimize(program, passes, target)


def branches(size: int, count: int, length: int = 4, gate: bool = False) -> Program:
    """``count`` chains of ``length`` steps over one feed, and their sum."""
    b = Builder()
    x = b.new(dtypes.float32, (size,), "input")
    ends = []
    for number in range(count):
        value = x
        for _ in range(length):
            value = b.map(lambda e, k=number: scalar.tanh(e + float(k)), value)
        ends.append(value)
    if gate:
        b.barrier(ends)
    out = b.new(dtypes.float32, (size,), "output")
    b.store(out, lambda *e: sum(e[1:], e[0]), *ends)
    return close(b, x, out)


def close(b: Builder, x: View, out: View) -> Program:
    steps = tuple(b.steps)
    nodes = (None,) * len(steps)
    return Program(steps, (x.buffer,), (), b.consts, (out,), (), origins=nodes)


def used(program: Program) -> set[int]:
    return {s.stream for s in program.steps if not isinstance(s, Barrier)}


def test_one_stream_keeps_all_at_home() -> None:
    program = branches(1 << 20, 4)
    assert program.target is ONE_STREAM
    assert assign_streams(program) is program


@pytest.mark.parametrize("size", [1, 100, 1000])
def test_small_steps_stay_at_home_on_a_cpu(size: int) -> None:
    """A hand-over between threads costs more than they save."""
    assert used(optimize(branches(size, 4), target=CPU)) == {HOME}


def test_large_branches_spread_on_a_cpu() -> None:
    program = optimize(branches(1 << 20, 4), target=CPU)
    assert used(program) == {0, 1, 2, 3}
    # Each branch is a chain on one stream: it waits for the start, and once at the end.
    for stream in range(4):
        numbers = [n for n, s in enumerate(program.steps) if s.stream == stream]
        assert sum(n in program.waits for n in numbers[:4]) <= 1
    check_program(program)


def test_a_chain_stays_at_home() -> None:
    for target in (CPU, GPU):
        assert used(optimize(branches(1 << 20, 1, 16), target=target)) == {HOME}


def test_on_a_gpu_small_kernels_overlap_and_large_ones_do_not() -> None:
    assert used(optimize(branches(1000, 4, 8), target=GPU)) == {0, 1, 2, 3}
    assert used(optimize(branches(1 << 24, 4, 8), target=GPU)) == {HOME}


def test_never_more_streams_than_the_target_has() -> None:
    program = optimize(branches(1 << 20, 9), target=Target(streams=3))
    assert used(program) == {0, 1, 2}


def test_operations_count_as_well_as_bytes() -> None:
    def heavy(xp, outs, x):
        outs[0][...] = x

    for flops, streams in ((0, {HOME}), (10**9, {0, 1})):
        b = Builder()
        x = b.new(dtypes.float32, (8,), "input")
        ends = [
            b.call("work", heavy, [x], [(dtypes.float32, (8,))], flops=flops, seed=k)[0]
            for k in range(2)
        ]
        out = b.new(dtypes.float32, (8,), "output")
        b.store(out, scalar.add, *ends)
        program = close(b, x, out)
        assert used(optimize(program, target=CPU)) == streams


def test_calls_with_effects_stay_at_home() -> None:
    b = Builder()
    x = b.new(dtypes.float32, (1 << 20,), "input")
    result = (dtypes.float32, (1 << 20,))
    ends = [
        b.call("look", lambda xp, outs, a: None, [x], [result], pure=False)[0]
        for _ in range(4)
    ]
    out = b.new(dtypes.float32, (1 << 20,), "output")
    b.store(out, lambda *e: sum(e[1:], e[0]), *ends)
    program = close(b, x, out)
    assert used(optimize(program, target=CPU)) == {HOME}


def test_a_barrier_is_at_the_gate_if_several_streams_make_its_members() -> None:
    program = optimize(branches(1 << 20, 4, gate=True), target=CPU)
    (barrier,) = [s for s in program.steps if isinstance(s, Barrier)]
    assert barrier.stream == GATE
    alone = branches(8, 2, 1, gate=True)
    for streams, at in (([1, 1, 0, 0], 1), ([0, 0, 0, 1], 0), ([0, 2, 0, 0], GATE)):
        (barrier,) = [
            s for s in on_streams(alone, streams).steps if isinstance(s, Barrier)
        ]
        assert barrier.stream == at


def test_reuse_that_must_wait_is_avoided() -> None:
    """Two chains that share nothing share no bytes either."""
    program = optimize(branches(1 << 20, 2, 8), target=CPU)
    crossing = [
        (number, other)
        for number, earlier in program.waits.items()
        for other in earlier
        if other >= 0 and number < len(program.steps)
    ]
    assert len(crossing) == 1  # where the two meet
