"""Sums of products of matrices.

A recurrent layer multiplies by the same weights at each of its steps, and the gradient
of those is a sum of as many small products. They are one large product, of the
matrices side by side: ``A1 @ B1 + A2 @ B2`` is ``[A1 A2] @ [B1; B2]``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple

from gpugrad.compiler.cluster import merged_origin
from gpugrad.compiler.pieces import Homes, OfPieces
from gpugrad.compiler.relate import bytes_of
from gpugrad.compiler.rewrite import Uses, with_members
from gpugrad.kir import scalar
from gpugrad.kir.program import Call, Group, Program, Step, Store
from gpugrad.kir.scalar import Apply, Expr, Load
from gpugrad.kir.space import Shape, View, contiguous_strides, whole

# Terms a kernel: each may then compute its own.
_TERMS: Final = 8


def join_products(program: Program) -> Program:
    """Make a sum of products one product, if the factors can lie side by side.

    Requires: sums are groups of their own, which fuse() would change.
    Ensures:  the same outputs and commits, but for the order of sums. The factors that
              the product is made of take no more memory than its terms did. A barrier
              that held back a term holds back its factors.
    """
    uses = Uses(program)
    if not any(type(s) is Call and s.labels for s in program.steps):
        return program
    joining = _Joining(program, uses)
    for number, step in enumerate(program.steps):
        if _is_sum(step) and not joining.is_part(number):
            joining.sum(number)
    return joining.result()


def _is_sum(step: Step) -> bool:
    """True for a group that adds whole arrays, each once."""
    if type(step) is not Group or len(step.stores) != 1 or len(step.loads) < 2:
        return False
    store = step.stores[0]
    if not store.view.is_whole or True in step.reduced:
        return False
    if any(not v.is_contiguous or 0 in v.shape for v in step.loads):
        return False
    slots = _slots(store.expr)
    return len(slots) == len(set(slots)) == len(step.loads)


def _slots(expr: Expr) -> list[int]:
    """The loads that ``expr`` adds up, from the first to the last; [] if it is more."""
    slots: list[int] = []
    stack = [expr]
    while stack:
        node = stack.pop()
        if type(node) is Load:
            slots.append(node.slot)
        elif type(node) is Apply and node.op is scalar.add:
            stack += reversed(node.args)
        else:
            return []
    return slots


class _Term(NamedTuple):
    """Part of a sum, and the product that it is, if it is one that may go."""

    view: View
    product: int | None


class _Joining:
    def __init__(self, program: Program, uses: Uses) -> None:
        self._program = program
        self._uses = uses
        self._new: dict[int, list[Step]] = {}
        # What a step's origin is to be instead.
        self._origins: dict[int, Any] = {}
        # By the buffer of a product that is gone: its factors.
        self._gone: dict[int, tuple[View, ...]] = {}
        # What place_pieces() will do: two sums may want the same factors.
        self._homes = Homes(uses)

    def is_part(self, number: int) -> bool:
        """True for a sum that only another sum reads, all of it."""
        step = self._program.steps[number]
        (view,) = step.writes
        readers = self._uses.readers.get(view.buffer.id, ())
        if self._uses.writer(view) is None or view.buffer.id in self._uses.held:
            return False
        if len(readers) != 1:
            return False
        reader, read = readers[0]
        return read.is_whole and _is_sum(self._program.steps[reader])

    def sum(self, number: int) -> None:
        """Look at a whole sum, with those that are part of it."""
        terms, parts = self._terms(number)
        alike: dict[Any, list[_Term]] = {}
        for term in terms:
            if term.product is not None:
                alike.setdefault(self._key(term.product), []).append(term)
        made: list[Step] = []
        for same in alike.values():
            call = self._joined([t.product for t in same if t.product is not None])
            if call is None:
                continue
            made.append(call)
            gone = set(same)
            place = terms.index(same[0])
            terms = [t for t in terms if t not in gone]
            terms.insert(place, _Term(call.outs[0], None))
        if made:
            self._replace(number, parts, made, terms)

    def _terms(self, number: int) -> tuple[list[_Term], list[int]]:
        """The terms of a sum in order, and the sums that are part of it."""
        steps, uses = self._program.steps, self._uses
        terms: list[_Term] = []
        parts: list[int] = []
        stack: list[View] = [steps[number].writes[0]]
        sums = {steps[number].writes[0].buffer.id: number}
        while stack:
            view = stack.pop()
            found = sums.get(view.buffer.id)
            if found is None:
                writer = uses.writer(view)
                if (
                    writer is not None
                    and _is_sum(steps[writer])
                    and self.is_part(writer)
                ):
                    parts.append(writer)
                    found = writer
                else:
                    terms.append(_Term(view, self._product(view, writer)))
                    continue
            group = steps[found]
            assert type(group) is Group
            order = _slots(group.stores[0].expr)
            stack += [group.loads[slot] for slot in reversed(order)]
        return terms, parts

    def _product(self, view: View, writer: int | None) -> int | None:
        """The number of the call that makes ``view`` for this sum alone."""
        if writer is None or len(self._uses.readers[view.buffer.id]) != 1:
            return None
        call = self._program.steps[writer]
        if type(call) is not Call or not call.labels or not call.pure:
            return None
        return writer if call.outs[0].is_whole else None

    def _key(self, number: int) -> Any:
        """What products have in common that may be joined."""
        call = self._call(number)
        args = tuple([(a.shape, a.strides, a.dtype) for a in call.args])
        return call.name, call.impl, call.attrs, call.labels, call.outs[0].dtype, args

    def _call(self, number: int) -> Call:
        call = self._program.steps[number]
        assert type(call) is Call
        return call

    def _joined(self, numbers: list[int]) -> Call | None:
        """One call for several; None if there is one, or the factors lie wrongly."""
        calls = [self._call(n) for n in numbers]
        first = calls[0]
        axes = _summed_axes(first)
        if len(calls) == 1 or axes is None or first.outs[0].size == 0:
            return None
        lists = [tuple([c.args[i] for c in calls]) for i in range(len(first.args))]
        terms = sum([bytes_of(c.outs[0]) for c in calls])
        if self._homes.place(lists, axes, terms) is None:
            return None
        out = self._uses.new(first.outs[0].dtype, first.outs[0].size)
        origin = None
        for number, call in zip(numbers, calls):
            self._new[number] = []
            self._gone[call.outs[0].buffer.id] = call.args
            if self._program.origins:
                origin = merged_origin(origin, self._program.origins[number], True)
        self._origins[out.id] = origin
        return first._replace(
            name=f"sum_of_{first.name}",
            impl=OfPieces(first.name, first.impl, axes, len(calls)),
            args=tuple([v for pieces in lists for v in pieces]),
            outs=(whole(out, first.outs[0].shape),),
            flops=sum([c.flops for c in calls]),
            labels=(),
        )

    def _replace(
        self, number: int, parts: list[int], made: list[Step], terms: list[_Term]
    ) -> None:
        """The joined products, and the sum of what is left, in the place of a sum."""
        for part in parts:
            self._new[part] = []
        group = self._program.steps[number]
        assert type(group) is Group
        (store,) = group.stores
        if len(terms) == 1:
            # The product is the sum: it goes where that went.
            (call,) = made
            assert type(call) is Call
            self._origins[store.view.buffer.id] = self._origins[call.outs[0].buffer.id]
            target = whole(store.view.buffer, call.outs[0].shape)
            self._new[number] = [call._replace(outs=(target,))]
            return
        total, *rest = [t.view for t in terms]
        steps = list(made)
        while rest:
            views, rest = [total, *rest[:_TERMS]], rest[_TERMS:]
            expr: Expr = Load(0, total.dtype)
            for slot in range(1, len(views)):
                expr = expr + Load(slot, total.dtype)
            total = store.view
            if rest:
                total = whole(self._uses.new(total.dtype, total.size), total.shape)
            loads = tuple([_as(v, group.extents) for v in views])
            step = group._replace(loads=loads, stores=(Store(total, expr),))
            steps.append(step)
        self._new[number] = steps

    def result(self) -> Program:
        """The program with fewer products."""
        program = self._program
        if not self._gone:
            return program
        steps: list[Step] = []
        origins: list[Any] = []
        for number, step in enumerate(program.steps):
            for new in self._new.get(number, [step]):
                steps.append(new)
                if program.origins:
                    origin = program.origins[number]
                    if type(new) is Call and type(new.impl) is OfPieces:
                        origin = self._origins.get(new.outs[0].buffer.id, origin)
                    origins.append(origin)
        joined = replace(program, steps=tuple(steps), origins=tuple(origins))
        return with_members(joined, self._gone)


def _as(view: View, shape: Shape) -> View:
    """All points of a contiguous view, in another shape."""
    return View(view.buffer, shape, contiguous_strides(shape), view.offset)


def _summed_axes(call: Call) -> tuple[int, ...] | None:
    """Of each argument the axis that a call sums over; None unless all have it."""
    *given, result = call.labels
    for letter in given[0]:
        if letter not in result and all(letter in labels for labels in given):
            return tuple([labels.index(letter) for labels in given])
    return None
