"""Arguments in pieces: written side by side, so that one call reads them as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gpugrad.compiler.rewrite import Uses, with_views
from gpugrad.kir.program import Call, Program
from gpugrad.kir.space import Buffer, View

# Bytes, where the program before took more.
_ANY: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class OfPieces:
    """A call whose arguments are in ``pieces`` pieces each, side by side along an axis.

    ``axes``: that of each argument. All pieces of the first come first.
    """

    name: str
    impl: Callable[..., None]
    axes: tuple[int, ...]
    pieces: int

    def __call__(self, xp: Any, outs: Any, *given: Any, **attrs: Any) -> None:
        """The call as it is, where place_pieces() did not put the pieces together."""
        parts = self.split(given)
        args = [xp.concatenate(part, axis) for part, axis in zip(parts, self.axes)]
        self.impl(xp, outs, *args, **attrs)

    def split(self, given: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The pieces of each argument."""
        n = self.pieces
        return [tuple(given[i : i + n]) for i in range(0, len(given), n)]


class Homes:
    """The buffers that become parts of larger ones."""

    def __init__(self, uses: Uses) -> None:
        self._uses = uses
        # By buffer: what it becomes a part of, and from where on.
        self._moved: dict[int, tuple[Buffer, int]] = {}

    def moved(self, view: View) -> View:
        """The view where its buffer is now."""
        found = self._moved.get(view.buffer.id)
        if found is None:
            return view
        return View(found[0], view.shape, view.strides, view.offset + found[1])

    def __contains__(self, view: View) -> bool:
        return view.buffer.id in self._moved

    def place(
        self, lists: Sequence[tuple[View, ...]], axes: Sequence[int], most: int
    ) -> tuple[View, ...] | None:
        """Arguments whose pieces are ``lists``; None if those cannot lie side by side.

        Either they do already, as the steps of a sequence that is fed; or each is a
        buffer of its own, of one size, and those take no more than ``most`` bytes.
        """
        lists = self._in_order([tuple(map(self.moved, p)) for p in lists], axes)
        count = len(lists[0])
        args: list[View] = []
        placed: dict[int, tuple[Buffer, int]] = {}
        for pieces, axis in zip(lists, axes):
            first = pieces[0]
            step = first.strides[axis] * first.shape[axis]
            if step == 0 or any(v[1:3] != first[1:3] for v in pieces):
                return None
            if first.buffer.id not in placed and not _is_one(pieces):
                if not self._are_free(pieces, step):
                    return None
                home = self._uses.new(first.dtype, step * count)
                most -= home.size * home.dtype.itemsize
                for place, view in enumerate(pieces):
                    placed.setdefault(view.buffer.id, (home, place * step))
            where = [placed.get(v.buffer.id, (v.buffer, 0)) for v in pieces]
            starts = [v.offset + start for v, (_, start) in zip(pieces, where)]
            if len({home.id for home, _ in where}) > 1 or any(
                start != starts[0] + i * step for i, start in enumerate(starts)
            ):
                return None
            shape = list(first.shape)
            shape[axis] *= count
            args.append(View(where[0][0], tuple(shape), first.strides, starts[0]))
        if most < 0:
            return None
        self._moved |= placed
        return tuple(args)

    @staticmethod
    def _in_order(
        lists: list[tuple[View, ...]], axes: Sequence[int]
    ) -> list[tuple[View, ...]]:
        """In the order of those pieces that lie in one buffer already."""
        for pieces, axis in zip(lists, axes):
            if _is_one(pieces):
                sign = 1 if pieces[0].strides[axis] > 0 else -1
                starts = [sign * v.offset for v in pieces]
                order = sorted(range(len(starts)), key=starts.__getitem__)
                return [tuple([p[i] for i in order]) for p in lists]
        return lists

    def _are_free(self, pieces: tuple[View, ...], step: int) -> bool:
        """True for buffers that are all along an axis, and may lie elsewhere."""
        return len({v.buffer.id for v in pieces}) == len(pieces) and all(
            v.buffer.size == step and self._uses.movable(v.buffer) for v in pieces
        )


def _is_one(pieces: tuple[View, ...]) -> bool:
    return all(v.buffer.id == pieces[0].buffer.id for v in pieces)


def place_pieces(program: Program) -> Program:
    """Let the pieces of an argument be written side by side, where one call reads them.

    Requires: nothing looks any more at which buffers have one writer (fuse() does).
    Ensures:  the same outputs and commits, and no call of pieces that
              join_products() made.
    """
    if not any(type(s) is Call and type(s.impl) is OfPieces for s in program.steps):
        return program
    homes = Homes(Uses(program))
    steps = list(program.steps)
    for number, step in enumerate(steps):
        if type(step) is Call and type(step.impl) is OfPieces:
            one = step.impl
            args = homes.place(one.split(step.args), one.axes, _ANY)
            if args is not None:
                steps[number] = step._replace(name=one.name, impl=one.impl, args=args)
    return replace(
        program,
        steps=tuple(
            [
                with_views(step, homes.moved)
                if any(v in homes for v in (*step.reads, *step.writes))
                else step
                for step in steps
            ]
        ),
    )
