"""What the function of a kernel has around its loops: arguments, memory, pointers.

Registers: rax and rdx are for everyone, rcx is the place in a row, rsp points at the
frame; the others point into views while there are enough.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable
from typing import Final, NamedTuple

from gpugrad.backends.numpy.x86.assembler import (
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    RAX,
    RBP,
    RBX,
    RDI,
    RDX,
    RSI,
    RSP,
    WIDEST,
    Assembler,
    Far,
    Mem,
)  # fmt: skip
from gpugrad.backends.numpy.x86.stages import Accumulator, Refused, Stages
from gpugrad.kir.scalar import Expr
from gpugrad.kir.space import Buffer, View

# Where pointers live while there are enough; the rest is in the frame.
_POINTERS: Final = (R8, R9, R10, R11, RSI, RDI, RBX, R12, R13, R14, R15)
_SAVED: Final = (RBX, R12, R13, R14, R15)
# Offsets within CPython's objects: of an array's data. (PyArrayObject_fields)
_DATA: Final = object.__basicsize__
_INT32: Final = range(-(1 << 31), 1 << 31)

# Where a buffer is: an address for good, or the number of the argument that has it.
Places = Callable[[Buffer], tuple[str, int]]


class Portions(NamedTuple):
    """Addresses of a table of (start, stop, number), and of how many are taken."""

    table: int
    counter: int
    length: int


class Pointer:
    """Walks along a view; ``steps``: bytes along each axis."""

    def __init__(self, steps: tuple[int, ...], place: int | Mem) -> None:
        if any(s not in _INT32 for s in steps):
            raise Refused("strides over 2 GB")
        self.steps, self.place = steps, place

    def at(self, index: int | None, scale: int = 1, offset: int = 0) -> Mem | Far:
        """The element under the pointer, or that ``index`` further."""
        if isinstance(self.place, int):
            return Mem(self.place, offset, index, scale)
        return Far(self.place, offset, index, scale)


class Surroundings(NamedTuple):
    """What a kernel has to know besides its group.

    ``partial``: for each fold that adds up in memory, the array for it. ``portions``:
    ranges of axis 0; each call takes one after the other until there are none, and so
    threads that call at the same time share the work. ``in_place``: a store may go
    where the same point of a load is read. ``unlock``: the addresses of C functions
    that let go of Python's lock and take it again, for kernels that run long.
    ``width``: bytes of a vector.
    """

    places: Places
    partial: dict[Expr, Accumulator]
    portions: Portions | None
    in_place: bool
    unlock: tuple[int, int] | None
    width: int


class Frame:
    """Writes a function around loops, which a subclass writes."""

    def __init__(self, plan: Stages, around: Surroundings) -> None:
        self._plan, self._around = plan, around
        self._last = len(plan.group.extents) - 1
        self._ranged = around.portions is not None
        self._asm = Assembler(around.width)
        self._frame = 0
        self._labels = 0
        # Where the data of each argument is; pointers by view, and by fold.
        self._arguments: dict[int, Mem] = {}
        self._views: dict[View, Pointer] = {}
        self._folds: dict[Expr, Pointer] = {}

    @abstractmethod
    def _nest(self, axis: int) -> None:
        """The loops from ``axis`` on."""

    # --- memory -----------------------------------------------------------------------

    def _room(self, size: int) -> Mem:
        """New memory in the frame."""
        place = Mem(RSP, self._frame)
        self._frame += -(-size // WIDEST) * WIDEST
        return place

    def _vector_room(self) -> Mem:
        return self._room(WIDEST)

    def _new_label(self) -> str:
        self._labels += 1
        return f".{self._labels}"

    # --- the function -----------------------------------------------------------------

    def finish(self) -> tuple[bytes, list[str]]:
        """The code, and its text."""
        asm = self._asm
        for reg in (*_SAVED, RBP):
            asm.push(reg)
        asm.load(RBP, RSP)
        frame = asm.reserve()
        asm.raw(b"\x48\x83\xe4\xc0", "and rsp, -64")
        self._receive()
        portions = self._around.portions
        if portions is None:
            self._point_all()
            self._nest(0)
        else:
            again, out = self._new_label(), self._new_label()
            asm.label(again)
            self._take_portion(portions, out)
            self._point_all()
            self._nest(0)
            asm.jump("jmp", again)
            asm.label(out)
        if self._around.unlock is not None:
            asm.raw(b"\xc5\xf8\x77", "vzeroupper")
            asm.load(RDI, self._thread)
            asm.call(self._around.unlock[1])
        self._return()
        asm.fill(frame, self._frame + WIDEST)
        return asm.finish(), asm.text

    def _return(self) -> None:
        """None, as every function that has nothing to say."""
        asm = self._asm
        asm.number(RAX, id(None))
        if sys.version_info < (3, 12):  # where it still counts references
            asm.raw(b"\x48\xff\x00", "inc qword [rax]")
        asm.load(RSP, RBP)
        for reg in (RBP, *reversed(_SAVED)):
            asm.pop(reg)
        asm.raw(b"\xc5\xf8\x77", "vzeroupper")
        asm.raw(b"\xc3", "ret")

    def _receive(self) -> None:
        """Read the arguments; from then on Python's objects are not touched."""
        asm = self._asm
        for view in self._all_views():
            kind, number = self._around.places(view.buffer)
            if kind == "argument" and number not in self._arguments:
                slot = self._arguments[number] = self._room(8)
                asm.load(RAX, Mem(RSI, 8 * number))
                asm.load(RAX, Mem(RAX, _DATA))
                asm.store(slot, RAX)
        if self._around.unlock is not None:
            self._thread = self._room(8)
            asm.call(self._around.unlock[0])
            asm.store(self._thread, RAX)

    def _all_views(self) -> list[View]:
        return [*self._plan.loads, *[s.view for s in self._plan.written]]

    def _take_portion(self, portions: Portions, none: str) -> None:
        """The next portion that no thread has taken; to the label if there is none."""
        asm = self._asm
        self._range = self._room(24)
        asm.number(RAX, 1)
        asm.number(RDX, portions.counter)
        asm.raw(b"\xf0\x48\x0f\xc1\x02", "lock xadd [rdx], rax")
        asm.compare(RAX, portions.length)
        asm.jump("jge", none)
        asm.times(RAX, RAX, 24)
        asm.number(RDX, portions.table)
        asm.add_to(RAX, RDX)
        for part in (0, 8, 16):
            asm.load(RDX, Mem(RAX, part))
            asm.store(self._range._replace(offset=self._range.offset + part), RDX)

    def _point_all(self) -> None:
        """Point at the beginning of every view."""
        asm = self._asm
        free = list(reversed(_POINTERS))
        for view in self._all_views():
            if view in self._views:
                continue
            kind, number = self._around.places(view.buffer)
            size = view.dtype.itemsize
            steps = tuple(
                [0 if n == 1 else s * size for n, s in zip(view.shape, view.strides)]
            )
            if kind == "argument":
                asm.load(RAX, self._arguments[number])
                self._advance(RAX, view.offset * size)
            else:
                asm.number(RAX, number + view.offset * size)
            self._views[view] = self._point(steps, free)
        for node, place in self._around.partial.items():
            asm.number(RAX, place.address)
            if self._ranged and place.portion:
                asm.times(RDX, self._bound(2), place.portion)
                asm.add_to(RAX, RDX)
            self._folds[node] = self._point(place.strides, free)

    def _point(self, steps: tuple[int, ...], free: list[int]) -> Pointer:
        """A pointer that starts at rax."""
        asm = self._asm
        pointer = Pointer(steps, free.pop() if free else self._room(8))
        if self._ranged and self._last > 0 and steps[0]:
            asm.times(RDX, self._bound(0), steps[0])
            asm.add_to(RAX, RDX)
        if isinstance(pointer.place, int):
            asm.load(pointer.place, RAX)
        else:
            asm.store(pointer.place, RAX)
        return pointer

    def _advance(self, place: int | Mem, step: int) -> None:
        if not step:
            return
        if step in _INT32:
            self._asm.add(place, step)
            return
        raise Refused("offsets over 2 GB")

    def _bound(self, part: int) -> Mem:
        """The first index of the range, the last, or the number of the portion."""
        return self._range._replace(offset=self._range.offset + 8 * part)
