"""Groups of a Program as calls of machine code: which, in what portions and passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from gpugrad.backends.numpy.axes import merged, permuted
from gpugrad.backends.numpy.pool import pool
from gpugrad.backends.numpy.storage import aligned_bytes
from gpugrad.backends.numpy.tiling import split_folds
from gpugrad.backends.numpy.x86.assembler import WIDEST
from gpugrad.backends.numpy.x86.frame import Portions, Surroundings
from gpugrad.backends.numpy.x86.kernel import Kernel
from gpugrad.backends.numpy.x86.native import unlocking
from gpugrad.backends.numpy.x86.stages import WEIGHT, Accumulator, Refused
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import Apply, Expr, Reduce, postorder
from gpugrad.kir.space import Buffer, View

# The address of a buffer that never moves; None for one of the run.
Locate = Callable[[Buffer], int | None]

# Nanoseconds: an instruction on a vector of 8; work that is worth letting go of
# Python's lock, and work that is worth sharing.
_STEP_NS: Final = 0.4
_UNLOCK_NS: Final = 20_000
SHARE_NS: Final = 500_000
# Portions of a fold that is shared. It does not depend on the number of threads, so
# neither do the results.
_PORTIONS: Final = 16
# A fold over a row as long as this is shared, if there are few rows.
_LONG_ROW: Final = 1 << 16
# Elements; portions of a vector begin at multiples of it.
_ALIGNED: Final = 64


class Piece(NamedTuple):
    """One kernel: its group, and the folds of it that add up in memory."""

    group: Group
    adds: int


class Sums(NamedTuple):
    """Partial folds: ``array`` [portion, kept...], for the store of ``node``."""

    node: Reduce
    target: View
    array: np.ndarray


class Machined(NamedTuple):
    """A kernel that has been written, and how to call it."""

    code: bytes
    text: list[str]
    summary: str
    arguments: tuple[Buffer, ...]
    sums: tuple[Sums, ...]
    portions: np.ndarray | None
    counter: np.ndarray


def machined(
    group: Group,
    locate: Locate,
    numbers: Iterator[int],
    share_ns: int,
    width: int,
    same: dict[int, int] | None = None,
) -> list[Machined]:
    """The kernels of a group; Refused if one of them cannot be written.

    ``numbers`` are for the buffers between passes. Work of ``share_ns`` is shared.
    ``width``: bytes of a vector. ``same``: by buffer of the run, that buffer whose
    memory it takes.
    """
    if prod(group.extents) == 0 or not group.stores:
        raise Refused("nothing to do")
    pieces = _pieces(_ready(group), numbers)
    same = same or {}
    return [_written(piece, locate, share_ns, width, same) for piece in pieces]


# --- passes ---------------------------------------------------------------------------


def _ready(group: Group) -> Group:
    """With few axes, at least one, and the last such that vectors lie along it."""
    group = merged(group)
    if not group.extents:
        views = [View(v.buffer, (1,), (0,), v.offset) for v in group.loads]
        stores = [
            Store(View(s.view.buffer, (1,), (0,), s.view.offset), s.expr)
            for s in group.stores
        ]
        return Group((1,), (False,), tuple(views), tuple(stores), group.stream)
    last = len(group.extents) - 1
    for axis in reversed(range(last + 1)):
        if all(
            v.shape[axis] == 1 or v.strides[axis] in (0, 1)
            for v in (*group.loads, *[s.view for s in group.stores])
        ):
            if axis == last:
                return group
            order = (*[a for a in range(last + 1) if a != axis], axis)
            return permuted(group, order)
    raise Refused("views that lie along different axes")


def _pieces(group: Group, numbers: Iterator[int]) -> list[Piece]:
    folds = any(type(n) is Reduce for n in postorder(*[s.expr for s in group.stores]))
    if not folds:
        return [Piece(group, 0)]
    *outer, last = group.reduced
    rows = prod(group.extents[:-1])
    if last and not any(outer) and (rows >= _PORTIONS or group.extents[-1] < _LONG_ROW):
        return [Piece(group, 0)]
    return [Piece(_ready(part), adds) for part, adds in split_folds(group, numbers)]


# --- one kernel -----------------------------------------------------------------------


def _written(
    piece: Piece, locate: Locate, share_ns: int, width: int, same: dict[int, int]
) -> Machined:
    group = piece.group
    work = _work_ns(group)
    sums: list[Sums] = []
    partial: dict[Expr, Accumulator] = {}
    # A fold whose result the same kernel reads is not shared.
    shareable = piece.adds > 0 or not group.reduced[0]
    portions = _portions(group) if shareable and work >= share_ns else None
    counter = np.zeros(1, np.int64)
    shared, count = None, 1
    if portions is not None:
        count = len(portions)
        table = int(portions.ctypes.data)
        shared = Portions(table, int(counter.ctypes.data), count)
    meet = bool(piece.adds) and group.reduced[0]
    for store in group.stores[len(group.stores) - piece.adds :]:
        assert type(store.expr) is Reduce
        array, place = _accumulator(group, store.expr, count if meet else 1)
        sums.append(Sums(store.expr, store.view, array))
        partial[store.expr] = place
    arguments: dict[Buffer, int] = {}

    def places(buffer: Buffer) -> tuple[str, int]:
        address = locate(buffer)
        if address is not None:
            return "memory", address
        return "argument", arguments.setdefault(buffer, len(arguments))

    unlock = unlocking() if work >= _UNLOCK_NS else None
    in_place = _in_place(group, locate, same)
    around = Surroundings(places, partial, shared, in_place, unlock, width)
    code, text = Kernel(group, around).finish()
    axes = " ".join(
        f"{n}{'r' if r else ''}" for n, r in zip(group.extents, group.reduced)
    )
    summary = f"[{axes}], {len(code)} bytes, portions: {count}"
    kept = tuple(arguments), tuple(sums)
    return Machined(code, text, summary, *kept, portions, counter)


def _in_place(group: Group, locate: Locate, same: dict[int, int]) -> bool:
    """True when a store goes into memory that the group reads."""
    read = {view.buffer.id for view in group.loads}
    if any(same.get(s.view.buffer.id) in read for s in group.stores):
        return True

    def memory(views: list[View]) -> list[tuple[int, int]]:
        found = []
        for buffer in {v.buffer for v in views}:
            start = locate(buffer)
            if start is not None:
                found.append((start, start + buffer.size * buffer.dtype.itemsize))
        return found

    loads = memory(list(group.loads))
    return any(
        low < end and start < high
        for low, high in memory([s.view for s in group.stores])
        for start, end in loads
    )


def _work_ns(group: Group) -> float:
    steps = len(group.loads) + len(group.stores)
    for node in postorder(*[s.expr for s in group.stores]):
        steps += WEIGHT.get(node.op.name, 1) if type(node) is Apply else 0
    return prod(group.extents) * steps * _STEP_NS / 8


def _portions(group: Group) -> np.ndarray | None:
    """Ranges of axis 0 that threads may take; none where it is too short."""
    extent = group.extents[0]
    unit = _ALIGNED if len(group.extents) == 1 else 1
    count = min(_PORTIONS, extent // unit)
    if count < 2:
        return None
    step = -(-extent // count // unit) * unit
    table = [
        (low, min(low + step, extent), number)
        for number, low in enumerate(range(0, extent, step))
    ]
    return np.array(table, np.int64)


def _accumulator(
    group: Group, node: Reduce, portions: int
) -> tuple[np.ndarray, Accumulator]:
    """An array for the partial folds; rows of it are padded to whole vectors."""
    kept = [1 if r else n for n, r in zip(group.extents, group.reduced)]
    dtype = np.dtype(np.float64) if node.kind == "sum" else node.dtype.np_dtype
    assert dtype is not None
    lanes = WIDEST // min(4, dtype.itemsize)
    padded = [
        *kept[:-1],
        kept[-1] if group.reduced[-1] else -(-kept[-1] // lanes) * lanes,
    ]
    size = prod(padded) * dtype.itemsize
    flat = aligned_bytes(portions * size).view(dtype)
    array = flat.reshape(portions, *padded)[..., : kept[-1]]
    strides = tuple([0 if r else s for r, s in zip(group.reduced, array.strides[1:])])
    step = size if portions > 1 else 0
    return array, Accumulator(int(flat.ctypes.data), step, strides)


class Shared:
    """A kernel that several threads call, each of which takes portions."""

    __slots__ = ("_counter", "_function", "_table", "_threads")

    def __init__(
        self, function: Callable[..., None], kernel: Machined, threads: int
    ) -> None:
        self._function, self._threads = function, threads
        self._counter, self._table = kernel.counter, kernel.portions

    def __call__(self, *arrays: np.ndarray) -> None:
        self._counter[0] = 0
        if self._threads == 1:
            self._function(*arrays)
            return

        def work(thread: int, portion: Any) -> None:
            self._function(*arrays)

        pool(self._threads).run(work, range(self._threads))
