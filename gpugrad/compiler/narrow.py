"""Products of which a part is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from gpugrad.compiler.relate import Map, locate
from gpugrad.compiler.rewrite import Uses, with_members, with_views
from gpugrad.kir.program import Call, Program
from gpugrad.kir.space import Shape, View, whole


def narrow_products(program: Program) -> Program:
    """Compute the rows and columns of a product that are read, no others.

    The gradient of what two parts were put together for, if one of them needs none.

    Requires: nothing.
    Ensures:  the same outputs and commits.
    """
    if not any(type(s) is Call and s.labels for s in program.steps):
        return program
    uses = Uses(program)
    steps = list(program.steps)
    narrowed: dict[int, tuple[View, View, Shape]] = {}

    def change(view: View) -> View:
        found = narrowed.get(view.buffer.id)
        if found is None:
            return view
        old, now, low = found
        place = locate(view, old)
        assert type(place) is Map
        start = tuple([a - b for a, b in zip(place.start, low)])
        return place._replace(start=start).view(now, view.shape)

    # The last first: what reads less of its arguments lets those be less.
    for number in range(len(steps) - 1, -1, -1):
        step = steps[number]
        if type(step) is not Call or not step.labels or not step.pure:
            continue
        (out,) = step.outs
        if uses.writer(out) != number:
            continue
        readers = {n for n, _ in uses.readers.get(out.buffer.id, ())}
        views = [v for n in readers for v in steps[n].reads if v.buffer == out.buffer]
        box = _box(views, out)
        if box is None or box == [(0, extent) for extent in out.shape]:
            continue
        steps[number] = smaller = _cut(step, box, uses)
        low = tuple([first for first, _ in box])
        narrowed[out.buffer.id] = out, smaller.outs[0], low
        for reader in readers:
            steps[reader] = with_views(steps[reader], change)
    if not narrowed:
        return program
    whole_of: dict[int, tuple[View, ...]]
    whole_of = {k: (now,) for k, (_, now, _) in narrowed.items()}
    return with_members(replace(program, steps=tuple(steps)), whole_of)


def _box(views: Sequence[View], out: View) -> list[tuple[int, int]] | None:
    """The first and the last place, and one, along each axis that ``views`` reach."""
    low, high = list(out.shape), [0] * out.rank
    for view in views:
        place = locate(view, out)
        if type(place) is not Map or view.size == 0:
            return None
        for axis, start in enumerate(place.start):
            moves = [
                along[1] * (extent - 1)
                for along, extent in zip(place.axes, view.shape)
                if along is not None and along[0] == axis
            ]
            low[axis] = min(low[axis], start + sum([m for m in moves if m < 0]))
            high[axis] = max(high[axis], start + sum([m for m in moves if m > 0]) + 1)
    return list(zip(low, high)) if views else None


def _cut(call: Call, box: list[tuple[int, int]], uses: Uses) -> Call:
    """The part of a product that lies in ``box``, in a buffer of its own."""
    *given, result = call.labels
    (out,) = call.outs
    ranges = dict(zip(result, box))
    args = []
    for view, letters in zip(call.args, given):
        whole_axes = [(0, n) for n in view.shape]
        parts = [ranges.get(letter, r) for letter, r in zip(letters, whole_axes)]
        starts = tuple([first for first, _ in parts])
        args.append(view.slice(starts, tuple([end - first for first, end in parts])))
    shape = tuple([end - first for first, end in box])
    target = whole(uses.new(out.dtype, prod(shape)), shape)
    flops = call.flops * target.size // out.size
    return call._replace(args=tuple(args), outs=(target,), flops=flops)
