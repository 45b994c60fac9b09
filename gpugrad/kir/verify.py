"""check_program: what every pass may rely on and has to leave behind."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import NoReturn

import numpy as np

from gpugrad import dtypes
from gpugrad.kir.in_place import may_take
from gpugrad.kir.order import order_problem
from gpugrad.kir.program import Barrier, Call, Group, Program, Step, Store
from gpugrad.kir.scalar import Expr, Index, Load, Reduce, children, postorder
from gpugrad.kir.space import Buffer, View

_WRITABLE = ("temp", "output")


def check_program(program: Program) -> None:
    """AssertionError, saying which step breaks which rule, unless all hold.

    - A buffer's number stands for one buffer. What is read was written by an earlier
      step, or comes from outside: a feed, a constant, a variable, the run's number.
    - Views lie within their buffers. Loads have the shape of their space. A step
      writes to temps and outputs only, each element once, and to nothing it reads.
    - Stored expressions have the dtype of what they are stored in. A store leaves out
      only axes that are reduced and along which its expression is constant.
    - Outputs are whole, written output buffers; commits are whole, written temps,
      constants or outputs, one a variable.
    - Buffers that are alive at one step do not share bytes of the arena, unless one
      takes the place of the other there and in_place.may_take() allows that.
    - Once the waits are placed: they and the streams order all that order.unordered()
      asks for.
    """
    _Checker(program).check()


class _Checker:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._buffers: dict[int, Buffer] = {}
        self._written: set[int] = set()
        self._place = "program"

    def _fail(self, text: str) -> NoReturn:
        raise AssertionError(f"{self._place}: {text}")

    def check(self) -> None:
        program = self._program
        self._check_outside()
        for number, step in enumerate(program.steps):
            self._place = f"step {number} ({type(step).__name__})"
            self._check_step(step)
        self._place = "program"
        if program.origins and len(program.origins) != len(program.steps):
            self._fail(f"{len(program.origins)} origins, {len(program.steps)} steps")
        self._check_results()
        if program.offsets:
            self._check_arena()
        self._place = "streams"
        problem = order_problem(program)
        if problem is not None:
            self._fail(problem)

    # --- what comes from outside ------------------------------------------------------

    def _check_outside(self) -> None:
        program = self._program
        self._know(program.inputs, "input")
        self._know([buffer for _, buffer in program.variables], "variable")
        slots = [slot for slot, _ in program.variables]
        if len(set(slots)) != len(slots):
            self._fail(f"a variable is read twice, in slots {slots}")
        if program.step is not None:
            self._know([program.step], "step")
            if program.step.dtype is not dtypes.int64 or program.step.size != 1:
                self._fail(f"the run's number {program.step} is not one int64")

    def _know(self, buffers: Sequence[Buffer], kind: str) -> None:
        for buffer in buffers:
            if buffer.kind != kind:
                self._fail(f"{buffer} is listed as {kind}")
            if buffer.id in self._buffers:
                self._fail(f"buffer {buffer.id} is listed twice")
            self._buffers[buffer.id] = buffer
            self._written.add(buffer.id)

    def _check_const(self, buffer: Buffer) -> None:
        array = self._program.consts.get(buffer.id)
        if array is None:
            self._fail(f"constant {buffer.id} has no array")
        if array.size != buffer.size or array.dtype != buffer.dtype.np_dtype:
            self._fail(
                f"constant {buffer.id} is {array.size} {array.dtype}, not "
                f"{buffer.size} {buffer.dtype.name}"
            )
        self._written.add(buffer.id)

    # --- views ------------------------------------------------------------------------

    def _check_view(self, view: View) -> None:
        buffer = view.buffer
        known = self._buffers.setdefault(buffer.id, buffer)
        if known != buffer:
            self._fail(f"buffer {buffer.id} is both {known} and {buffer}")
        if len(view.shape) != len(view.strides) or any(n < 0 for n in view.shape):
            self._fail(f"{view} has no proper shape and strides")
        if view.size:
            first, last = view.bounds
            if first < 0 or last >= buffer.size:
                self._fail(
                    f"view {_text(view)} reaches elements {first} to {last} of "
                    f"{buffer.size}"
                )

    def _check_read(self, view: View) -> None:
        self._check_view(view)
        buffer = view.buffer
        if buffer.kind == "const" and buffer.id not in self._written:
            self._check_const(buffer)
        if view.size and buffer.id not in self._written:
            self._fail(f"{buffer.kind} buffer {buffer.id} is read but not yet written")

    def _check_written(self, view: View) -> None:
        self._check_view(view)
        if view.buffer.kind not in _WRITABLE:
            self._fail(f"{view.buffer.kind} buffer {view.buffer.id} is written")
        repeats = any(n > 1 and s == 0 for n, s in zip(view.shape, view.strides))
        if view.size and repeats:
            self._fail(f"view {_text(view)} writes an element more than once")

    # --- steps ------------------------------------------------------------------------

    def _check_step(self, step: Step) -> None:
        for view in step.reads:
            self._check_read(view)
        for view in step.writes:
            self._check_written(view)
        if isinstance(step, Group):
            self._check_group(step)
        elif not isinstance(step, Call | Barrier):
            self._fail("is no step")
        for number, view in enumerate(step.writes):
            others = (*step.reads, *step.writes[:number])
            for other in others:
                if _overlap(view, other):
                    self._fail(
                        f"writes {_text(view)} over {_text(other)}, which it uses"
                    )
        self._written.update(v.buffer.id for v in step.writes)

    def _check_group(self, group: Group) -> None:
        if len(group.reduced) != len(group.extents):
            self._fail(f"{len(group.reduced)} flags for {len(group.extents)} axes")
        for number, load in enumerate(group.loads):
            if load.shape != group.extents:
                self._fail(f"load {number} has shape {load.shape}, not {group.extents}")
        for store in group.stores:
            self._check_expr(group, store.expr)
            self._check_store(group, store)

    def _check_expr(self, group: Group, expr: Expr) -> None:
        for node in postorder(expr):
            if type(node) is Load:
                if node.slot >= len(group.loads):
                    self._fail(f"{node!r} of {len(group.loads)} loads")
                if group.loads[node.slot].dtype is not node.dtype:
                    found = group.loads[node.slot].dtype.name
                    self._fail(f"{node!r} is {node.dtype.name}, its view {found}")
            elif type(node) is Index and node.axis >= len(group.extents):
                self._fail(f"{node!r} in a space of rank {len(group.extents)}")

    def _check_store(self, group: Group, store: Store) -> None:
        view, expr = store
        if view.dtype is not expr.dtype:
            self._fail(f"stores {expr.dtype.name} into {view.dtype.name}")
        if len(view.shape) != len(group.extents):
            self._fail(f"stores rank {len(view.shape)} of rank {len(group.extents)}")
        varying = _varying(group, expr)
        for axis, (have, extent) in enumerate(zip(view.shape, group.extents)):
            if have == extent:
                continue
            if have != 1 or not group.reduced[axis] or view.strides[axis] != 0:
                self._fail(
                    f"stores view {_text(view)} of space {group.extents}, reduced "
                    f"{group.reduced}"
                )
            if axis in varying:
                self._fail(f"stores one of {extent} values of {expr!r} on axis {axis}")

    # --- results ----------------------------------------------------------------------

    def _check_results(self) -> None:
        program = self._program
        for number, view in enumerate(program.outputs):
            self._place = f"output {number}"
            if view.buffer.kind != "output":
                self._fail(f"is a {view.buffer.kind} buffer")
            self._check_result(view)
        slots = set()
        for commit in program.commits:
            self._place = f"commit to slot {commit.slot}"
            if commit.slot in slots:
                self._fail("comes twice")
            slots.add(commit.slot)
            if commit.view.buffer.kind not in ("temp", "const", "output"):
                self._fail(f"of a {commit.view.buffer.kind} buffer, which may change")
            self._check_result(commit.view)

    def _check_result(self, view: View) -> None:
        self._check_read(view)
        if not view.is_whole:
            self._fail(f"{_text(view)} is not the whole buffer")

    # --- memory -----------------------------------------------------------------------

    def _check_arena(self) -> None:
        """Walk the steps with the live ranges in order of offset."""
        self._place = "arena"
        offsets = self._program.offsets
        first, last = self._lives()
        births: dict[int, list[int]] = {}
        deaths: dict[int, list[int]] = {}
        for number in first:
            buffer = self._buffers[number]
            if buffer.dtype is dtypes.string:
                continue
            if number not in offsets:
                self._fail(f"temp buffer {number} has no offset")
            end = offsets[number] + _bytes(buffer)
            if offsets[number] < 0 or end > self._program.arena_bytes:
                self._fail(f"temp buffer {number} ends at {end} of the arena")
            if offsets[number] % buffer.dtype.size:
                self._fail(f"temp buffer {number} is not aligned at {offsets[number]}")
            if buffer.size:
                births.setdefault(first[number], []).append(number)
                deaths.setdefault(last[number], []).append(number)
        live: list[tuple[int, int, int]] = []
        for index in range(len(self._program.steps) + 1):
            self._place = f"step {index}"
            for number in births.get(index, ()):
                self._enter(live, number, index, last)
            for number in deaths.get(index, ()):
                start = offsets[number]
                end = start + _bytes(self._buffers[number])
                live.pop(bisect.bisect_left(live, (start, end, number)))

    def _enter(
        self,
        live: list[tuple[int, int, int]],
        number: int,
        index: int,
        last: dict[int, int],
    ) -> None:
        program = self._program
        start = program.offsets[number]
        entry = (start, start + _bytes(self._buffers[number]), number)
        at = bisect.bisect_left(live, entry)
        # Those that are there share bytes in pairs at most.
        for neighbour in live[max(at - 2, 0) : at + 2]:
            if neighbour[0] < entry[1] and entry[0] < neighbour[1]:
                old = neighbour[2]
                if (
                    program.in_place.get(number) != old
                    or neighbour[0] != start
                    or last[old] != index
                    or not may_take(program.steps[index], old, number)
                ):
                    both = f"{old} and {number}"
                    self._fail(f"temp buffers {both} are alive and share bytes")
        live.insert(at, entry)

    def _lives(self) -> tuple[dict[int, int], dict[int, int]]:
        """The first and the last step that touch each temp that is written."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for index, step in enumerate(self._program.steps):
            for view in step.writes:
                if view.buffer.kind == "temp":
                    first.setdefault(view.buffer.id, index)
            for view in (*step.reads, *step.writes):
                last[view.buffer.id] = index
        for commit in self._program.commits:
            last[commit.view.buffer.id] = len(self._program.steps)
        return first, last


def _bytes(buffer: Buffer) -> int:
    return buffer.size * buffer.dtype.size


def _text(view: View) -> str:
    return (
        f"{view.buffer.id}[{view.offset}; shape {view.shape}, strides {view.strides}]"
    )


def _overlap(a: View, b: View) -> bool:
    """True when the views have an element in common."""
    if a.buffer.id != b.buffer.id or not a.size or not b.size:
        return False
    (first_a, last_a), (first_b, last_b) = a.bounds, b.bounds
    if last_a < first_b or last_b < first_a:
        return False
    # Interleaved views, such as every other column each: NumPy decides exactly.
    base = np.empty(a.buffer.size, np.uint8)
    one = np.ndarray(a.shape, np.uint8, base, a.offset, a.strides)
    other = np.ndarray(b.shape, np.uint8, base, b.offset, b.strides)
    return bool(np.shares_memory(one, other))


def _varying(group: Group, expr: Expr) -> set[int]:
    """The axes along which an expression is not constant."""
    axes: set[int] = set()
    for node in _outside_folds(expr):
        if type(node) is Index:
            axes.add(node.axis)
        elif type(node) is Load:
            strides = group.loads[node.slot].strides
            axes.update(i for i, s in enumerate(strides) if s)
    return axes


def _outside_folds(expr: Expr) -> Iterator[Expr]:
    """The sub-expressions that are not within a Reduce."""
    seen: set[Expr] = set()
    stack = [expr]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        if type(node) is not Reduce:
            stack.extend(children(node))
