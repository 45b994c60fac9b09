"""Waits between streams: enough, and not one too many."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad import dtypes
from gpugrad.compiler.events import order_streams
from gpugrad.compiler.lower import Bound, lower_stage
from gpugrad.compiler.pipeline import optimize
from gpugrad.compiler.schedule import schedule
from gpugrad.compiler.streams import on_streams
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.order import order_problem
from gpugrad.kir.program import GATE, Barrier, Program
from gpugrad.kir.verify import check_program
from tests.backends.schedules import all_waits, draw, random_streams, without


def needless(program: Program) -> list[tuple[int, int]]:
    """The waits that the verifier does not miss."""
    assert order_problem(program) is None
    return [
        (number, other)
        for number, other in all_waits(program)
        if order_problem(without(program, number, other)) is None
    ]


def test_every_single_wait_is_needed() -> None:
    """Of random programs on random streams; arenas with reuse that waits, or not."""
    waits = programs = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        draft = draw(rng, int(rng.integers(5, 40)))
        streams = random_streams(rng, draft.trial.program, int(rng.integers(2, 6)))
        for share in (False, True):
            program = draft.on(streams, share)
            assert needless(program) == []
            programs += 1
            waits += len(list(all_waits(program)))
    sys.stdout.write(f"{waits} waits of {programs} programs: each is missed\n")
    assert waits > 10 * programs


def gradients_of_a_network(gated: bool) -> Program:
    """What a session would run for the gradients of a residual network."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [8, 8])
        weights = [tf.placeholder(tf.float32, [8, 8]) for _ in range(4)]
        value = x
        for w in weights:
            value = value + tf.nn.softmax(tf.matmul(value, w) * tf.exp(w))
        loss = tf.reduce_sum(value * value)
        grads = tf.gradients(loss, [x, *weights], gate_gradients=gated)
        plan = schedule(grads, [], [x, *weights])
    bound = {n: Bound(dtypes.float32, (8, 8)) for n in plan.inputs}
    return optimize(lower_stage(plan, 0, bound, lambda op: None).program)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("gated", [False, True])
def test_gradients_of_a_network_on_any_streams(gated: bool) -> None:
    program = gradients_of_a_network(gated)
    assert any(isinstance(s, Barrier) for s in program.steps) == gated
    rng = np.random.default_rng(0)
    for _ in range(10):
        spread = on_streams(program, random_streams(rng, program, 4))
        spread = order_streams(spread)
        check_program(spread)
        assert needless(spread) == []


# --- what the verifier refuses --------------------------------------------------------


def simple(streams: list[int]) -> Program:
    """0 and 1 make values, 2 is a barrier, 3 adds them."""
    b = Builder()
    x = b.new(dtypes.float32, (4,), "input")
    made = [b.map(f, x) for f in (scalar.exp, scalar.sin)]
    b.barrier(made)
    out = b.new(dtypes.float32, (4,), "output")
    b.store(out, scalar.add, *made)
    program = Program(tuple(b.steps), (x.buffer,), (), {}, (out,), ())
    return order_streams(on_streams(program, streams))


@pytest.mark.parametrize(
    ("waits", "problem"),
    [
        ({9: (0,)}, "waits are given for step 9 of 4"),
        ({1: (3,)}, "step 1 waits for step 3"),
        ({3: (-2,)}, "step 3 waits for step -2"),
        ({3: (0,)}, "step 3 waits for step 0 of its own stream"),
        ({}, "nothing orders"),
    ],
)
def test_waits_that_are_wrong(waits, problem: str) -> None:
    program = replace(simple([0, 1, 0, 0]), waits=waits)
    with pytest.raises(AssertionError, match=problem):
        check_program(program)


def test_streams_that_there_are_not() -> None:
    program = simple([0, 1, 0, 0])
    assert program.steps[2].stream == GATE
    for number, stream in ((0, GATE), (2, -2), (1, -5)):
        steps = list(program.steps)
        steps[number] = steps[number]._replace(stream=stream)
        with pytest.raises(AssertionError, match=f"is on stream {stream}"):
            check_program(replace(program, steps=tuple(steps)))


def test_reuse_of_bytes_is_seen() -> None:
    """The verifier looks at bytes of the arena, not at the names of buffers."""
    b = Builder()
    x = b.new(dtypes.float32, (4,), "input")
    first, second = b.map(scalar.exp, x), b.map(scalar.sin, x)
    outs = [b.new(dtypes.float32, (4,), "output") for _ in range(2)]
    b.store(outs[0], scalar.neg, first)
    b.store(outs[1], scalar.neg, second)
    order = [b.steps[k] for k in (0, 2, 1, 3)]
    program = Program(tuple(order), (x.buffer,), (), {}, tuple(outs), ())
    program = on_streams(program, [0, 0, 1, 1])
    apart = {first.buffer.id: 0, second.buffer.id: 512}
    program = order_streams(replace(program, offsets=apart, arena_bytes=1024))
    check_program(program)
    shared = dict.fromkeys(apart, 0)
    with pytest.raises(AssertionError, match="bytes 0 to 16 of the arena"):
        check_program(replace(program, offsets=shared))
    check_program(order_streams(replace(program, offsets=shared)))
