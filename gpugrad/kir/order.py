"""Order between streams: what steps touch, and the proof that waits order all of it.

A Program on several streams is right if whatever meets in memory is ordered by what
each stream keeps and by ``Program.waits``. The compiler places the waits; here they
are checked, by brute force and sharing nothing with it but touches().
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from gpugrad.kir.program import GATE, HOME, START, Barrier, Call, Program, Step
from gpugrad.kir.space import View

# Where bytes of the arena are, in the place of a buffer's number.
ARENA = -1


class Touch(NamedTuple):
    """Bytes from ``start`` to ``end`` of the arena or of a buffer, read or written."""

    place: int
    start: int
    end: int
    writes: bool

    def meets(self, other: Touch) -> bool:
        """True when the order of the two matters."""
        return (
            self.place == other.place
            and (self.writes or other.writes)
            and self.start < other.end
            and other.start < self.end
        )


def span(view: View) -> tuple[int, int]:
    """The bytes of its buffer between which the view lies; it must have elements."""
    first, last = view.bounds
    size = view.dtype.size
    return first * size, (last + 1) * size


def touches(step: Step, offsets: dict[int, int]) -> list[Touch]:
    """All memory that a step reads and writes. A barrier touches none."""
    if isinstance(step, Barrier):
        return []
    found = []
    for views, writes in ((step.reads, False), (step.writes, True)):
        for view in views:
            if 0 in view.shape or view.buffer.kind == "const":
                continue
            start, end = span(view)
            offset = offsets.get(view.buffer.id)
            if offset is None:
                found.append(Touch(view.buffer.id, start, end, writes))
            else:
                found.append(Touch(ARENA, offset + start, offset + end, writes))
    return found


def reads_member(step: Step, barrier: Barrier) -> bool:
    """True when ``step`` reads part of what the barrier holds back."""
    for member in barrier.members:
        for view in step.reads:
            if view.buffer.id == member.buffer.id and _overlap(view, member):
                return True
    return False


def _overlap(one: View, other: View) -> bool:
    if 0 in one.shape or 0 in other.shape:
        return False
    (a, b), (c, d) = span(one), span(other)
    return a < d and c < b


class Unordered(NamedTuple):
    """A pair of numbers whose order nothing ensures, and why it matters."""

    before: int
    after: int
    why: str


def unordered(program: Program) -> Iterator[Unordered]:
    """Every pair that has to be ordered and is not.

    A run starts before all steps and ends after them. Of two steps that touch the same
    bytes, one of them writing, the first comes first: data, reuse of the arena, parts
    of one output. A barrier comes after all that wrote its members, and before what
    reads one of them later. Calls that are not pure come in the order of the Program.
    """
    done = done_before(program)
    for before, after, why in _wanted(program):
        if not done[after] >> (before + 1) & 1:
            yield Unordered(before, after, why)


def done_before(program: Program) -> list[int]:
    """For each step and the end, a bit (from START on) for all that is done before."""
    waits = program.waits or {}
    last: dict[int, int] = {HOME: START}
    reach: list[int] = []
    for number, stream in enumerate([*(s.stream for s in program.steps), HOME]):
        parents = list(waits.get(number, ()))
        if stream != GATE and stream in last:
            parents.append(last[stream])
        bits = 0
        for parent in parents:
            bits |= 1 << (parent + 1)
            if parent != START:
                bits |= reach[parent]
        reach.append(bits)
        if stream != GATE:
            last[stream] = number
    return reach


def _wanted(program: Program) -> Iterator[Unordered]:
    steps = program.steps
    for number in range(len(steps)):
        yield Unordered(START, number, "the run starts before it")
        yield Unordered(number, len(steps), "the run ends after it")
    yield from _meetings([touches(s, program.offsets) for s in steps])
    for number, barrier in enumerate(steps):
        if isinstance(barrier, Barrier):
            yield from _gating(steps, number, barrier)
    effects = [n for n, s in enumerate(steps) if isinstance(s, Call) and not s.pure]
    for before, after in pairwise(effects):
        yield Unordered(before, after, "both are calls with effects")


def _meetings(touched: Sequence[list[Touch]]) -> Iterator[Unordered]:
    by_place: dict[int, list[tuple[Touch, int]]] = {}
    for number, found in enumerate(touched):
        for touch in found:
            by_place.setdefault(touch.place, []).append((touch, number))
    for entries in by_place.values():
        for (one, before), (other, after) in combinations(entries, 2):
            if before != after and one.meets(other):
                kind = ("read", "write")
                what = f"{kind[other.writes]} after {kind[one.writes]}"
                place = "the arena" if one.place == ARENA else f"buffer {one.place}"
                start, end = max(one.start, other.start), min(one.end, other.end)
                why = f"{what} of bytes {start} to {end} of {place}"
                yield Unordered(before, after, why)


def _gating(
    steps: Sequence[Step], number: int, barrier: Barrier
) -> Iterator[Unordered]:
    for other, step in enumerate(steps):
        if other > number and reads_member(step, barrier):
            yield Unordered(number, other, "it reads what the barrier holds back")
        elif other < number and any(
            v.buffer.id == m.buffer.id and _overlap(v, m)
            for v in step.writes
            for m in barrier.members
        ):
            yield Unordered(other, number, "it writes a member of the barrier")


def order_problem(program: Program) -> str | None:
    """The first thing wrong with streams and waits, or None."""
    steps, waits = program.steps, program.waits or {}
    streams = [s.stream for s in steps]
    for number, step in enumerate(steps):
        if step.stream < HOME and not (
            step.stream == GATE and isinstance(step, Barrier)
        ):
            return f"step {number} is on stream {step.stream}"
    for number, earlier in waits.items():
        if not 0 <= number <= len(steps):
            return f"waits are given for step {number} of {len(steps)}"
        here = streams[number] if number < len(steps) else HOME
        for other in earlier:
            if not START <= other < number:
                return f"step {number} waits for step {other}"
            there = streams[other] if other != START else HOME
            if there == here and here != GATE:
                return f"step {number} waits for step {other} of its own stream"
    if program.waits is None or not any(streams):
        return None  # not placed yet; or one stream, which keeps all order
    for pair in unordered(program):
        ends = {START: "the start", len(steps): "the end"}
        before = ends.get(pair.before, f"step {pair.before}")
        after = ends.get(pair.after, f"step {pair.after}")
        return f"nothing orders {before} before {after}: {pair.why}"
    return None
