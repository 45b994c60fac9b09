"""Offsets of the temporary buffers in one arena, by live range."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import replace

from gpugrad.compiler.events import order_of
from gpugrad.kir.in_place import may_take, owners
from gpugrad.kir.program import START, Barrier, Group, Program

# Bytes. Cache lines on the CPU; the widest vector load and the pool's own
# granularity on the GPU.
ALIGNMENT = 512
# Up to so many buffers the arena is packed again, at a cost that grows as the square.
_FEW_BUFFERS = 400
# What comes first then: large ones, what takes much for long, long ones.
_ORDERS: tuple[Callable[[int, int], int], ...] = (
    lambda size, life: size,
    lambda size, life: size * life,
    lambda size, life: life,
)
# By how much several streams may enlarge the arena.
_GROWTH = 2

# The last step of each stream that has to do with some bytes, or that is done.
Touched = tuple[int, ...]


class _Arena:
    """Free ranges by size; neighbours merge when they are given back."""

    def __init__(self) -> None:
        self.end = 0
        self._sizes: list[tuple[int, int]] = []  # (size, start), sorted
        self._by_start: dict[int, int] = {}
        self._by_end: dict[int, int] = {}

    def take(self, size: int) -> int:
        """The start of the tightest free range that fits, else at the end."""
        index = bisect.bisect_left(self._sizes, (size, -1))
        if index == len(self._sizes):
            start = self.end
            self.end += size
            return start
        found, start = self._sizes.pop(index)
        del self._by_start[start], self._by_end[start + found]
        if found > size:
            self._put(start + size, found - size)
        return start

    def give(self, start: int, size: int) -> None:
        """Return a range."""
        before = self._by_end.get(start)
        if before is not None:
            length = start - before
            self._forget(before, length)
            start, size = before, size + length
        length_after = self._by_start.get(start + size)
        if length_after is not None:
            self._forget(start + size, length_after)
            size += length_after
        if start + size == self.end:
            self.end_free(start)
        else:
            self._put(start, size)

    def end_free(self, start: int) -> None:
        """Keep the free tail as a range; the arena never shrinks."""
        self._put(start, self.end - start)

    def _put(self, start: int, size: int) -> None:
        bisect.insort(self._sizes, (size, start))
        self._by_start[start] = size
        self._by_end[start + size] = start

    def _forget(self, start: int, size: int) -> None:
        self._sizes.pop(bisect.bisect_left(self._sizes, (size, start)))
        del self._by_start[start], self._by_end[start + size]


class _Shared:
    """The arena of several streams: free ranges, and who touched them last.

    A range is for a buffer whose writers come after all of those anyway. Reuse that
    would have to wait is worse than more memory.
    """

    def __init__(self) -> None:
        self.end = 0
        # (start, size, touched), sorted
        self._free: list[tuple[int, int, Touched]] = []

    def take(self, size: int, known: Sequence[Touched]) -> int:
        """The start of the tightest free range that fits all ``known`` moments."""
        fitting = [
            (length, index)
            for index, (_, length, touched) in enumerate(self._free)
            if length >= size
            and all(t <= k for moment in known for t, k in zip(touched, moment))
        ]
        if not fitting:
            self.end += size
            return self.end - size
        length, index = min(fitting)
        start, _, touched = self._free.pop(index)
        if length > size:
            self._free.insert(index, (start + size, length - size, touched))
        return start

    def give(self, start: int, size: int, touched: Touched) -> None:
        """Return a range. Neighbours with equal histories merge."""
        at = bisect.bisect_left(self._free, (start,))
        if at < len(self._free):
            next_start, next_size, history = self._free[at]
            if next_start == start + size and history == touched:
                size += next_size
                del self._free[at]
        if at > 0:
            before, length, history = self._free[at - 1]
            if before + length == start and history == touched:
                start, size, at = before, size + length, at - 1
                del self._free[at]
        self._free.insert(at, (start, size, touched))


def plan_memory(program: Program) -> Program:
    """Give every temp buffer an offset; buffers whose lives do not meet may share.

    Requires: steps in their final order, on their final streams.
    Ensures:  offsets are multiples of ALIGNMENT; two buffers that share bytes are
              never alive at the same step, but for those of ``in_place``. Values that
              variables take live to the end. Strings live outside the arena. On
              several streams a buffer takes bytes that it need not wait for, unless
              that doubles the arena, and none takes another's in place.
    """
    lives = Lives(program)
    steps = len(program.steps)
    if any(s.stream for s in program.steps):
        offsets, end = _in_turn(steps, lives)
        apart, apart_end = _without_waits(program, lives)
        if apart_end <= _GROWTH * end:
            offsets, end = apart, apart_end
        return replace(program, offsets=offsets, arena_bytes=end, in_place={})
    in_place = _takeovers(program, lives)
    owner = owners(in_place)
    shared = Lives(program, owner) if in_place else lives
    offsets, end = _best(steps, shared)
    if in_place and end > shared.peak:
        apart, apart_end = _best(steps, lives)
        if apart_end < end:
            offsets, end, owner, in_place = apart, apart_end, {}, {}
    offsets |= {number: offsets[first] for number, first in owner.items()}
    return replace(program, offsets=offsets, arena_bytes=end, in_place=in_place)


def _takeovers(program: Program, lives: Lives) -> dict[int, int]:
    """By buffer, the one that dies where it is made, and whose memory it may take."""
    found: dict[int, int] = {}
    for number, step in enumerate(program.steps):
        if type(step) is not Group:
            continue
        dying = [
            v.buffer.id
            for v in step.loads
            if v.buffer.kind == "temp" and lives.last[v.buffer.id] == number
        ]
        for store in step.stores if dying else ():
            new = store.view.buffer.id
            if lives.first.get(new) != number:
                continue
            old = next((o for o in dying if may_take(step, o, new)), None)
            if old is not None:
                found[new] = old
                dying.remove(old)
    return found


def _in_turn(steps: int, lives: Lives) -> tuple[dict[int, int], int]:
    """Offsets, and the arena's end, if each buffer takes what is free in its turn."""
    arena = _Arena()
    offsets: dict[int, int] = {}
    for index in range(steps):
        for number in lives.starts.get(index, ()):
            offsets[number] = arena.take(lives.sizes[number])
        for number in lives.ends.get(index, ()):
            arena.give(offsets[number], lives.sizes[number])
    return offsets, arena.end


def _best(steps: int, lives: Lives) -> tuple[dict[int, int], int]:
    """Offsets, and the arena's end, by the best of several orders."""
    offsets, end = _in_turn(steps, lives)
    if len(offsets) <= _FEW_BUFFERS:
        for order in _ORDERS:
            if end == lives.peak:
                break
            packed, packed_end = _packed(lives, order)
            if packed_end < end:
                offsets, end = packed, packed_end
    return offsets, end


class Lives:
    """Sizes of the temps, and by step the buffers whose lives start or end there.

    ``owner``: by buffer another one in whose memory it lies: here, in whose life.
    """

    def __init__(self, program: Program, owner: dict[int, int] | None = None) -> None:
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        for index, step in enumerate(program.steps):
            for view in step.reads:
                last[view.buffer.id] = index
            for view in step.writes:
                buffer = view.buffer
                if buffer.kind == "temp" and buffer.id not in first:
                    first[buffer.id] = index
                    if buffer.dtype.name == "string":
                        continue
                    size = max(buffer.size, 1) * buffer.dtype.size
                    self.sizes[buffer.id] = -(-size // ALIGNMENT) * ALIGNMENT
                last[buffer.id] = index
        for commit in program.commits:
            last[commit.view.buffer.id] = len(program.steps)
        for number, other in (owner or {}).items():
            del self.sizes[number]
            last[other] = max(last[other], last[number])
        self.first, self.last = first, last
        self.starts: dict[int, list[int]] = {}
        self.ends: dict[int, list[int]] = {}
        for number in self.sizes:
            self.starts.setdefault(first[number], []).append(number)
            self.ends.setdefault(last[number], []).append(number)

    @property
    def peak(self) -> int:
        """Bytes that are alive at one step: no arena is smaller."""
        live = peak = 0
        for index in sorted(self.starts.keys() | self.ends.keys()):
            live += sum([self.sizes[n] for n in self.starts.get(index, ())])
            peak = max(peak, live)
            live -= sum([self.sizes[n] for n in self.ends.get(index, ())])
        return peak


def _packed(
    lives: Lives, order: Callable[[int, int], int]
) -> tuple[dict[int, int], int]:
    """Offsets, and the arena's end: each buffer in the tightest gap there is.

    Buffers in the order of the steps leave gaps that later, larger ones do not fit. So
    those come first for which ``order``, of bytes and steps of life, is greatest.
    """
    sizes, first, last = lives.sizes, lives.first, lives.last
    offsets: dict[int, int] = {}

    def rank(number: int) -> tuple[int, int]:
        life = last[number] - first[number] + 1
        return -order(sizes[number], life), first[number]

    for number in sorted(sizes, key=rank):
        size, birth, death = sizes[number], first[number], last[number]
        taken = sorted(
            [
                (start, start + sizes[other])
                for other, start in offsets.items()
                if first[other] <= death and birth <= last[other]
            ]
        )
        best = at = 0
        room = None
        for start, end in taken:
            if start - at >= size and (room is None or start - at < room):
                best, room = at, start - at
            at = max(at, end)
        offsets[number] = at if room is None else best
    return offsets, max([offsets[n] + sizes[n] for n in offsets], default=0)


def _without_waits(program: Program, lives: Lives) -> tuple[dict[int, int], int]:
    """Offsets, and the arena's end, if reuse follows the order that there is."""
    known = order_of(replace(program, offsets={})).known
    users: dict[int, dict[int, int]] = {}  # by buffer the last step on each stream
    writers: dict[int, list[Touched]] = {}
    streams = max(s.stream for s in program.steps) + 1
    for index, step in enumerate(program.steps):
        if type(step) is Barrier:
            continue
        for view in (*step.reads, *step.writes):
            users.setdefault(view.buffer.id, {})[step.stream] = index
        # A stream's own earlier steps are done, whatever it knows of them.
        moment = known[index].after(index, step.stream).last
        for view in step.writes:
            writers.setdefault(view.buffer.id, []).append(moment)
    arena = _Shared()
    offsets: dict[int, int] = {}
    for index in range(len(program.steps)):
        for number in lives.starts.get(index, ()):
            offsets[number] = arena.take(lives.sizes[number], writers[number])
        for number in lives.ends.get(index, ()):
            by = users[number]
            touched = tuple([by.get(stream, START - 1) for stream in range(streams)])
            arena.give(offsets[number], lives.sizes[number], touched)
    return offsets, arena.end
