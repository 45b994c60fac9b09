"""Each pass alone, on small programs written by hand: equal programs are ``==``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gpugrad import dtypes
from gpugrad.compiler.cse import merge_equal_steps, write_outputs_directly
from gpugrad.compiler.dce import drop_dead_steps
from gpugrad.compiler.memory import ALIGNMENT, Lives, plan_memory
from gpugrad.compiler.pipeline import optimize
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import Barrier, Commit, Group, Program, Store
from gpugrad.kir.scalar import Load
from gpugrad.kir.space import View
from gpugrad.kir.verify import check_program

F32 = dtypes.float32


def close(b: Builder, inputs: list[View], results: list[View], **rest) -> Program:
    """A program whose results are copied out, as lowering does it."""
    outputs = []
    for view in results:
        out = b.new(view.dtype, view.shape, "output")
        store = Store(out, Load(0, view.dtype))
        b.append(Group(view.shape, (False,) * view.rank, (view,), (store,)))
        outputs.append(out)
    return Program(
        steps=tuple(b.steps),
        inputs=tuple(v.buffer for v in inputs),
        variables=(),
        consts=b.consts,
        outputs=tuple(outputs),
        origins=tuple(b.origins),
        **{"commits": (), **rest},
    )


def test_dead_steps_go() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    wanted = b.map(scalar.tanh, x)
    b.map(scalar.exp, b.map(scalar.sin, x))
    program = drop_dead_steps(close(b, [x], [wanted]))
    assert len(program.steps) == 2
    assert len(program.origins) == 2
    check_program(program)


def test_calls_with_effects_stay() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    b.call("look", lambda xp, outs, a: None, [x], [], pure=False)
    program = drop_dead_steps(close(b, [x], [b.map(scalar.exp, x)]))
    assert [type(s).__name__ for s in program.steps] == ["Call", "Group", "Group"]


def test_equal_steps_merge_through_their_readers() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    first = b.map(scalar.tanh, b.map(scalar.exp, x))
    second = b.map(scalar.tanh, b.map(scalar.exp, x))
    program = merge_equal_steps(close(b, [x], [b.map(scalar.add, first, second)]))
    assert len(program.steps) == 4  # exp, tanh, add, copy out
    check_program(program)


def test_different_literals_do_not_merge() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    plus = b.map(lambda e: e * 0.0, x)
    minus = b.map(lambda e: e * -0.0, x)
    program = merge_equal_steps(close(b, [x], [plus, minus]))
    assert len(program.steps) == 4


def test_partial_writes_do_not_merge() -> None:
    b = Builder()
    x = b.new(F32, (2,), "input")
    halves = []
    for _ in range(2):
        out = b.new(F32, (4,))
        b.copy(x, out.slice((0,), (2,)))
        b.store_value(out.slice((2,), (2,)), 0.0)
        halves.append(out)
    program = merge_equal_steps(close(b, [x], halves))
    assert len(program.steps) == 6


def test_impure_calls_do_not_merge() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")

    def impl(xp, outs, a):
        outs[0][...] = a

    one = b.call("draw", impl, [x], [(F32, (4,))], pure=False)[0]
    two = b.call("draw", impl, [x], [(F32, (4,))], pure=False)[0]
    program = merge_equal_steps(close(b, [x], [one, two]))
    assert len(program.steps) == 4


def test_results_are_written_where_they_leave() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    y = b.map(scalar.exp, x)
    program = write_outputs_directly(close(b, [x], [y]))
    (step,) = program.steps
    assert step.writes[0].buffer.kind == "output"
    check_program(program)


def test_a_value_that_leaves_twice_is_copied_once() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    y = b.map(scalar.exp, x)
    program = write_outputs_directly(close(b, [x], [y, y]))
    assert len(program.steps) == 2
    check_program(program)


def test_a_value_that_a_variable_takes_is_copied() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    y = b.map(scalar.exp, x)
    program = write_outputs_directly(close(b, [x], [y], commits=(Commit(0, y),)))
    assert len(program.steps) == 2
    check_program(program)


def test_a_barrier_over_dead_members_goes() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    y, z = b.map(scalar.exp, x), b.map(scalar.sin, x)
    b.barrier([y, z])
    program = drop_dead_steps(close(b, [x], [y]))
    assert not any(isinstance(s, Barrier) for s in program.steps)


def test_memory_is_reused_along_a_chain() -> None:
    b = Builder()
    x = b.new(F32, (1024,), "input")
    y = x
    for _ in range(50):
        y = b.map(scalar.tanh, y)
        y = y.transpose((1, 0)) if y.rank == 2 else y.reshape((32, 32)) or y
    program = plan_memory(close(b, [x], [y]))
    assert program.arena_bytes == 2 * 4096
    check_program(program)


def test_live_values_do_not_share() -> None:
    """Random programs: two buffers that are alive together never overlap."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        b = Builder()
        x = b.new(F32, (64,), "input")
        values = [x]
        for _ in range(30):
            one, two = rng.integers(0, len(values), 2)
            size = int(rng.integers(1, 2000))
            value = b.map(scalar.add, values[one], values[two])
            if rng.random() < 0.3:
                value = b.reduce("sum", value, (0,), keepdims=True)
                value = b.map(scalar.exp, value.broadcast((64,)))
            values.append(value)
            b.fill(1.0, F32, (size,))
        program = plan_memory(close(b, [x], [values[-1], values[10]]))
        assert all(offset % ALIGNMENT == 0 for offset in program.offsets.values())
        check_program(program)


def test_the_arena_is_hardly_larger_than_what_is_alive() -> None:
    """Buffers of random sizes that live for a few steps: no arena is under 1."""
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(30):
        b = Builder()
        x = b.new(F32, (1,), "input")
        values = [x]
        for _ in range(40):
            size = int(rng.integers(1, 1 << 14))
            read = [values[-1 - i] for i in rng.integers(0, min(6, len(values)), 2)]
            scalars = [v.slice((0,), (1,)).broadcast((size,)) for v in read]
            values.append(b.map(scalar.add, *scalars))
        program = plan_memory(close(b, [x], values[-3:]))
        check_program(program)
        ratios.append(program.arena_bytes / Lives(program).peak)
    assert np.mean(ratios) < 1.1


def test_a_large_value_does_not_wait_behind_a_small_one() -> None:
    """In the order of the steps the last one would not fit where the others were."""
    b = Builder()
    x = b.new(F32, (1,), "input")

    def next_one(value: View, size: int) -> View:
        return b.map(scalar.neg, value.slice((0,), (1,)).broadcast((size,)))

    small = next_one(x, 1 << 10)
    middle = next_one(small, 1 << 11)
    small = next_one(middle, 1 << 10)
    large = next_one(small, 3 << 10)
    program = plan_memory(close(b, [x], [next_one(large, 1)]))
    check_program(program)
    assert program.arena_bytes == Lives(program).peak == 4 * (4 << 10)


def test_a_shared_byte_is_found() -> None:
    """The check above can fail."""
    b = Builder()
    x = b.new(F32, (64,), "input")
    y, z = b.map(scalar.exp, x), b.map(scalar.sin, x)
    program = plan_memory(close(b, [x], [b.map(scalar.add, y, z)]))
    offsets = dict.fromkeys(program.offsets, 0)
    broken = replace(program, offsets=offsets)
    try:
        check_program(broken)
    except AssertionError:
        return
    raise AssertionError("overlapping lives were not found")


def test_programs_are_values() -> None:
    def make() -> Program:
        b = Builder()
        x = b.new(F32, (4,), "input")
        return optimize(close(b, [x], [b.map(scalar.tanh, b.map(scalar.exp, x))]))

    assert make() == make()
