"""What passes that move values to other buffers have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gpugrad.dtypes import DType, string
from gpugrad.kir.program import Barrier, Call, Group, Program, Step, Store
from gpugrad.kir.space import Buffer, View


class Uses:
    """Who writes and who reads each buffer.

    Barriers are no readers; ``held`` are the buffers of their members. ``kept`` are
    those that variables take.
    """

    def __init__(self, program: Program) -> None:
        self.kept = {c.view.buffer.id for c in program.commits}
        self.writers: dict[int, list[int]] = {}
        self.readers: dict[int, list[tuple[int, View]]] = {}
        self.held: set[int] = set()
        outside = [*program.inputs, *[b for _, b in program.variables]]
        for number, step in enumerate(program.steps):
            for view in step.writes:
                self.writers.setdefault(view.buffer.id, []).append(number)
            if type(step) is Barrier:
                self.held.update([m.buffer.id for m in step.members])
            else:
                for view in step.reads:
                    self.readers.setdefault(view.buffer.id, []).append((number, view))

        known = (self.kept, self.held, self.writers, self.readers)
        numbers = [b.id for b in outside] + [n for k in known for n in k]
        self._last = max(numbers, default=-1)

    def new(self, dtype: DType, size: int) -> Buffer:
        """A temp with a number that the program does not have."""
        self._last += 1
        return Buffer(self._last, dtype, size, "temp")

    def movable(self, buffer: Buffer) -> bool:
        """True for what may lie elsewhere: no variable takes it, nobody fetches it."""
        return (
            buffer.kind == "temp"
            and buffer.id not in self.kept
            and buffer.dtype is not string
        )

    def writer(self, view: View) -> int | None:
        """The only step that writes a temp, all of which ``view`` is, in order."""
        written = self.writers.get(view.buffer.id, ())
        if len(written) != 1 or not view.is_whole or not self.movable(view.buffer):
            return None
        return written[0]


def with_views(step: Step, change: Callable[[View], View]) -> Step:
    """``step`` with each of its views changed."""
    if type(step) is Group:
        return step._replace(
            loads=tuple([change(v) for v in step.loads]),
            stores=tuple([Store(change(s.view), s.expr) for s in step.stores]),
        )
    if type(step) is Call:
        return step._replace(
            args=tuple([change(v) for v in step.args]),
            outs=tuple([change(v) for v in step.outs]),
        )
    assert type(step) is Barrier
    return step._replace(members=tuple([change(v) for v in step.members]))


def with_members(program: Program, instead: dict[int, tuple[View, ...]]) -> Program:
    """With other members in the place of those buffers; no barrier of one member."""
    steps: list[Step] = []
    origins: list[Any] = []
    for number, step in enumerate(program.steps):
        if type(step) is Barrier:
            step = _with_members(step, instead)
            if len(step.members) < 2:
                continue
        steps.append(step)
        if program.origins:
            origins.append(program.origins[number])
    return replace(program, steps=tuple(steps), origins=tuple(origins))


def _with_members(barrier: Barrier, instead: dict[int, tuple[View, ...]]) -> Barrier:
    members: dict[View, None] = {}
    for member in barrier.members:
        others = instead.get(member.buffer.id, (member,))
        members.update({m: None for m in others if m.buffer.kind == "temp"})
    return barrier._replace(members=tuple(members))
