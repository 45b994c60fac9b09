"""Groups that write a result over what they read.

A backend that runs such a group reads all that it needs of a point before it writes
there, and may not promise to its compiler that the two arrays lie apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpugrad.dtypes import string
from gpugrad.kir.program import Group, Step
from gpugrad.kir.scalar import Apply, Load, Reduce, postorder
from gpugrad.kir.space import Buffer


def may_take(step: Step, old: int, new: int) -> bool:
    """True if ``step`` may write buffer ``new`` into the memory of ``old``.

    Each point then reads one element of the one and writes the same of the other: both
    are whole, in one order, and named once. No fold reads what other points wrote, and
    nothing stores ``old`` as it is, which might come too late.
    """
    if type(step) is not Group:
        return False
    reads = [v for v in step.loads if v.buffer.id == old]
    stores = [s for s in step.stores if s.view.buffer.id == new]
    if len(reads) != 1 or len(stores) != 1 or type(stores[0].expr) is not Apply:
        return False
    (read,), view = reads, stores[0].view
    if not _alike(read.buffer, view.buffer) or read[1:] != view[1:]:
        return False
    if view.size != view.buffer.size or not view.size:
        return False
    if any(n > 1 and s == 0 for n, s in zip(view.shape, view.strides)):
        return False
    roots = [s.expr for s in step.stores]
    if any(type(e) is Load and step.loads[e.slot].buffer.id == old for e in roots):
        return False
    if True not in step.reduced:
        return True
    return not any(type(node) is Reduce for node in postorder(*roots))


def _alike(old: Buffer, new: Buffer) -> bool:
    return (
        old.kind == new.kind == "temp"
        and old.dtype is new.dtype
        and old.dtype is not string
        and old.size == new.size
    )


def taken(group: Group, in_place: dict[int, int]) -> Iterator[tuple[int, int]]:
    """(load, store) for each load over which a store of ``group`` goes."""
    for number, store in enumerate(group.stores) if in_place else ():
        old = in_place.get(store.view.buffer.id)
        if old is not None:
            for slot, view in enumerate(group.loads):
                if view.buffer.id == old:
                    yield slot, number


def owners(in_place: dict[int, int]) -> dict[int, int]:
    """By buffer that takes over memory, the first that had it."""
    found: dict[int, int] = {}
    for new in in_place:
        first = new
        while first in in_place:
            first = in_place[first]
        found[new] = first
    return found
