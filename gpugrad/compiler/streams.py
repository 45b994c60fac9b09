"""Which stream each step runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from gpugrad.compiler.cost import distinct_bytes
from gpugrad.compiler.events import Meetings
from gpugrad.kir.program import GATE, HOME, Barrier, Call, Group, Program, Step
from gpugrad.kir.scalar import Apply, Expr, Reduce, postorder

# Streams are worth their waits if they save this part of the time, by our estimate.
_WORTH = 0.1


def assign_streams(program: Program) -> Program:
    """Put independent chains of steps on streams of their own, where that pays.

    Requires: steps in an order that respects every dependency.
    Ensures:  every step has a stream below target.streams; a Barrier is on the stream
              that writes all its members, or on GATE. Calls with effects stay at home.
              All is at home where one stream is all there is, or about as fast.
    """
    target = program.target
    if target.streams < 2 or sum(type(s) is not Barrier for s in program.steps) < 3:
        return on_streams(program, [HOME] * len(program.steps))
    costs = _costs(program)
    most = (1 - _WORTH) * sum(start + work for start, work in costs)
    # What streams take turns at can tell before any order is looked at.
    shared = sum(work if target.work_is_shared else start for start, work in costs)
    if shared <= most:
        plan = _Timeline(program, costs)
        if max(shared, plan.end) + 2 * target.wait <= most:  # to fork and to join
            return on_streams(program, plan.streams)
    return on_streams(program, [HOME] * len(program.steps))


def on_streams(program: Program, streams: Sequence[int]) -> Program:
    """The program with its steps on these streams, and its barriers where they belong.

    The entries of ``streams`` for barriers are not looked at.
    """
    if not any(streams) and all(s.stream == HOME for s in program.steps):
        return program
    writers: dict[int, set[int]] = {}
    steps: list[Step] = []
    for step, stream in zip(program.steps, streams, strict=True):
        if type(step) is Barrier:
            found: set[int] = set()
            for member in step.members:
                found |= writers.get(member.buffer.id, set())
            stream = GATE if len(found) > 1 else min(found, default=HOME)
        for view in step.writes:
            writers.setdefault(view.buffer.id, set()).add(stream)
        steps.append(step._replace(stream=stream))
    return replace(program, steps=tuple(steps))


def _costs(program: Program) -> list[tuple[float, float]]:
    """The seconds that each step takes to start, and for its bytes and operations."""
    target = program.target
    functions: dict[tuple[Expr, ...], int] = {}
    costs = []
    for step in program.steps:
        if type(step) is Barrier:
            costs.append((0.0, 0.0))
            continue
        if type(step) is Call:
            operations = step.flops
        else:
            assert type(step) is Group
            exprs = tuple([store.expr for store in step.stores])
            count = functions.get(exprs)
            if count is None:
                found = [
                    type(n) is Apply or type(n) is Reduce for n in postorder(*exprs)
                ]
                count = functions[exprs] = sum(found)
            operations = prod(step.extents) * count
        moved = distinct_bytes(step.reads) + distinct_bytes(step.writes)
        work = max(moved / target.bandwidth, operations / target.flops)
        costs.append((target.start, work))
    return costs


class _Timeline:
    """List scheduling: each step, in order, where it would be done first.

    ``streams``: of each step. ``end``: when the last step is done, in seconds.
    """

    def __init__(self, program: Program, costs: Sequence[tuple[float, float]]) -> None:
        self._target = target = program.target
        self._free = [0.0] * target.streams
        self.streams: list[int] = []
        self._done: list[float] = []
        meetings = Meetings(program)
        for number, step in enumerate(program.steps):
            before = meetings.add(number, step)
            if type(step) is Barrier:
                self.streams.append(HOME)
                self._done.append(max((self._done[b] for b in before), default=0.0))
                continue
            stream, done = self._best(step, before, sum(costs[number]))
            self.streams.append(stream)
            self._done.append(done)
            self._free[stream] = done
        self.end = max(self._done)

    def _best(self, step: Step, before: set[int], seconds: float) -> tuple[int, float]:
        target = self._target
        best: tuple[float, int, int] | None = None
        homes = type(step) is Call and not step.pure
        for stream in range(1 if homes else target.streams):
            ready = self._free[stream]
            near = 0
            for other in before:
                there = self.streams[other]
                late = 0.0 if there == stream else target.wait
                near += there != stream
                ready = max(ready, self._done[other] + late)
            done = ready + seconds
            # Of equally good ones the one with the fewest waits, then the first.
            if best is None or (done, near, stream) < best:
                best = (done, near, stream)
        assert best is not None
        done, _, stream = best
        return stream, done
