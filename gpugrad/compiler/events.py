"""Which steps wait for steps on other streams: as few waits as order everything."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from gpugrad.kir.order import reads_member, span, touches
from gpugrad.kir.program import GATE, HOME, START, Barrier, Call, Program, Step
from gpugrad.kir.space import View


class _Piece(NamedTuple):
    """Bytes with one history: who wrote them last, and who has read them since."""

    start: int
    end: int
    writer: int | None
    readers: tuple[int, ...]


class _Bytes:
    """The bytes of one place, in pieces that do not overlap, sorted."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []

    def touch(self, start: int, end: int, number: int | None, writes: bool) -> set[int]:
        """The steps that ``number`` comes after; None looks and leaves no trace."""
        pieces = self._pieces
        first = bisect.bisect_right(pieces, start, key=lambda p: p.end)
        last = bisect.bisect_left(pieces, end, key=lambda p: p.start)
        inside = pieces[first:last]
        found = {p.writer for p in inside if p.writer is not None}
        if writes:
            found.update(r for p in inside for r in p.readers)
        if number is None:
            return found
        made: list[_Piece] = []
        if inside and inside[0].start < start:
            made.append(inside[0]._replace(end=start))
        if writes:
            made.append(_Piece(start, end, number, ()))
        else:
            at = start
            for piece in inside:
                if piece.start > at:  # read, and never written
                    made.append(_Piece(at, piece.start, None, (number,)))
                low, high = max(piece.start, start), min(piece.end, end)
                readers = (*piece.readers, number)
                made.append(_Piece(low, high, piece.writer, readers))
                at = high
            if at < end:
                made.append(_Piece(at, end, None, (number,)))
        if inside and inside[-1].end > end:
            made.append(inside[-1]._replace(start=end))
        pieces[first:last] = made
        return found


class Meetings:
    """Walks the steps of a Program: what each has to come after.

    Where one of those comes after another already, only the later one is named.
    """

    def __init__(self, program: Program) -> None:
        self._offsets = program.offsets
        self._places: dict[int, _Bytes] = {}
        self._barriers: dict[int, list[tuple[int, Barrier]]] = {}
        self._effect: int | None = None

    def add(self, number: int, step: Step) -> set[int]:
        """The earlier steps that step ``number`` comes after. Steps come in order."""
        found: set[int] = set()
        # What a barrier holds back may be a member of the next one: that waits as well.
        for view in step.reads:
            for other, barrier in self._barriers.get(view.buffer.id, ()):
                if reads_member(step, barrier):
                    found.add(other)
        if isinstance(step, Barrier):
            for member in step.members:
                found |= self._writers(member)
                self._barriers.setdefault(member.buffer.id, []).append((number, step))
            return found
        for touch in touches(step, self._offsets):
            place = self._places.setdefault(touch.place, _Bytes())
            found |= place.touch(touch.start, touch.end, number, touch.writes)
        if isinstance(step, Call) and not step.pure:
            if self._effect is not None:
                found.add(self._effect)
            self._effect = number
        found.discard(number)
        return found

    def _writers(self, view: View) -> set[int]:
        if 0 in view.shape:
            return set()
        start, end = span(view)
        offset = self._offsets.get(view.buffer.id)
        place = self._places.get(view.buffer.id if offset is None else -1)
        if place is None:
            return set()
        offset = offset or 0
        return place.touch(offset + start, offset + end, None, False)


class Known(NamedTuple):
    """What is done at some moment: of each stream its last step so far (START - 1 if
    none), and the barriers on GATE as bits, for those keep no order.
    """

    last: tuple[int, ...]
    gates: int

    def has(self, number: int, stream: int) -> bool:
        """True when step ``number`` of ``stream`` is done."""
        if stream == GATE:
            return bool(self.gates >> number & 1)
        return self.last[stream] >= number

    def joined(self, other: Known) -> Known:
        """What is done when both moments have passed."""
        last = tuple(map(max, self.last, other.last))
        return Known(last, self.gates | other.gates)

    def after(self, number: int, stream: int) -> Known:
        """What is done after a step that started here."""
        if stream == GATE:
            return Known(self.last, self.gates | 1 << number)
        last = (*self.last[:stream], number, *self.last[stream + 1 :])
        return Known(last, self.gates)


class Order(NamedTuple):
    """``waits`` as in Program, and what is done when each step starts."""

    waits: dict[int, tuple[int, ...]]
    known: list[Known]


def order_of(program: Program) -> Order:
    """The waits that the steps need on their streams, and what follows from them."""
    steps = program.steps
    count = 1 + max((s.stream for s in steps), default=HOME)
    nothing = Known((START - 1,) * max(count, 1), 0)
    meetings = Meetings(program)
    waits: dict[int, tuple[int, ...]] = {}
    known: list[Known] = []
    after: list[Known] = []
    started = nothing.after(START, HOME)
    now = {HOME: started}  # what is done on each stream so far

    def settle(number: int, here: Known, wanted: Iterable[int]) -> Known:
        # Later steps first: what they waited for themselves needs no wait.
        taken = []
        for other in sorted(wanted, reverse=True):
            stream = HOME if other == START else steps[other].stream
            if not here.has(other, stream):
                taken.append(other)
                here = here.joined(started if other == START else after[other])
        if taken:
            waits[number] = tuple(reversed(taken))
        return here

    for number, step in enumerate(steps):
        stream = step.stream
        here = nothing if stream == GATE else now.get(stream, nothing)
        here = settle(number, here, (*meetings.add(number, step), START))
        known.append(here)
        after.append(here.after(number, stream))
        if stream != GATE:
            now[stream] = after[-1]
    settle(len(steps), now[HOME], range(len(steps)))
    return Order(waits, known)


def order_streams(program: Program) -> Program:
    """Place the waits between streams.

    Requires: steps on their streams, buffers at their offsets.
    Ensures:  kir.order.unordered() finds nothing, and would without any one wait.
    """
    if not any(s.stream for s in program.steps):
        return replace(program, waits={})
    return replace(program, waits=order_of(program).waits)
