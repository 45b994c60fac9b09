"""Offsets of the temporary buffers in one arena, by live range."""

from __future__ import annotations

import bisect
from dataclasses import replace

from gpugrad.kir.program import Program

# Bytes. Cache lines on the CPU; the widest vector load and the pool's own
# granularity on the GPU.
ALIGNMENT = 512


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


def plan_memory(program: Program) -> Program:
    """Give every temp buffer an offset; buffers whose lives do not meet may share.

    Requires: steps in their final order, on their final streams.
    Ensures:  offsets are multiples of ALIGNMENT; two buffers that share bytes are
              never alive at the same step. Values that variables take live to the
              end. Strings live outside the arena.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    sizes: dict[int, int] = {}
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
                sizes[buffer.id] = -(-size // ALIGNMENT) * ALIGNMENT
            last[buffer.id] = index
    for commit in program.commits:
        last[commit.view.buffer.id] = len(program.steps)
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for number in sizes:
        starts.setdefault(first[number], []).append(number)
        ends.setdefault(last[number], []).append(number)
    arena = _Arena()
    offsets: dict[int, int] = {}
    for index in range(len(program.steps)):
        for number in starts.get(index, ()):
            offsets[number] = arena.take(sizes[number])
        for number in ends.get(index, ()):
            arena.give(offsets[number], sizes[number])
    return replace(program, offsets=offsets, arena_bytes=arena.end)
