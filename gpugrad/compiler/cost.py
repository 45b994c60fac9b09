"""What a Program costs: bytes from memory and back."""

from __future__ import annotations

from collections.abc import Iterable

from gpugrad.kir.program import Barrier, Group, Program
from gpugrad.kir.space import View


def distinct_bytes(views: Iterable[View]) -> int:
    """The bytes of all views; what repeats along an axis counts once."""
    total = 0
    for view in set(views):
        points = view.buffer.dtype.itemsize
        for extent, stride in zip(view.shape, view.strides):
            if stride or not extent:
                points *= extent
        total += points
    return total


def bytes_moved(program: Program) -> int:
    """Bytes that the steps read and write, if nothing stays in caches between them."""
    return sum(
        distinct_bytes(step.reads) + distinct_bytes(step.writes)
        for step in program.steps
        if not isinstance(step, Barrier)
    )


def least_bytes(program: Program) -> int:
    """What would move if all Groups were one kernel, next to the library calls.

    It would read once what comes from outside or from a call, and write once what
    leaves or what a call reads.
    """
    made: set[int] = set()
    taken = {c.view.buffer.id for c in program.commits}
    for step in program.steps:
        if isinstance(step, Group):
            made.update(v.buffer.id for v in step.writes)
        else:
            taken.update(v.buffer.id for v in step.reads)
    total = 0
    sizes: dict[int, int] = {}
    for step in program.steps:
        if isinstance(step, Group):
            for view in step.writes:
                if view.buffer.id in taken or view.buffer.kind == "output":
                    total += distinct_bytes([view])
            for view in step.reads:
                if view.buffer.id not in made:
                    whole = view.buffer.size * view.buffer.dtype.itemsize
                    found = sizes.get(view.buffer.id, 0) + distinct_bytes([view])
                    sizes[view.buffer.id] = min(whole, found)
        elif not isinstance(step, Barrier):
            total += distinct_bytes(step.reads) + distinct_bytes(step.writes)
    return total + sum(sizes.values())
