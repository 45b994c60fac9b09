"""Which stream each step runs on, and which streams a barrier joins."""

from __future__ import annotations

from dataclasses import replace

from gpugrad.kir.program import Barrier, Program

HOME = 0


def assign_streams(program: Program) -> Program:
    """Put every step on the home stream, and name the streams that barriers join.

    Requires: steps in an order that respects every dependency.
    Ensures:  Barrier.streams are the streams that write its members; one stream
              needs no events, so barriers over a single stream cost nothing.
    """
    if not any(type(step) is Barrier for step in program.steps):
        return program
    stream_of: dict[int, int] = {}
    steps = []
    for step in program.steps:
        if type(step) is Barrier:
            streams = {stream_of.get(m.buffer.id, HOME) for m in step.members}
            step = step._replace(streams=tuple(sorted(streams)))
        else:
            stream_of.update((v.buffer.id, step.stream) for v in step.writes)
        steps.append(step)
    return replace(program, steps=tuple(steps))
