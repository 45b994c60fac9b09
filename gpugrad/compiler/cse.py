"""Merge steps that compute the same, and results that are copied out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from gpugrad.compiler.rewrite import with_views
from gpugrad.kir.program import Call, Commit, Group, Program, Step
from gpugrad.kir.scalar import Load
from gpugrad.kir.space import Buffer, View


def _at(view: View, names: dict[int, Buffer]) -> View:
    buffer = names.get(view.buffer.id)
    return view if buffer is None else view._replace(buffer=buffer)


def renamed(step: Step, names: dict[int, Buffer]) -> Step:
    """``step`` over other buffers."""
    return with_views(step, lambda view: _at(view, names))


def _touches(step: Step, names: dict[int, Buffer]) -> bool:
    for view in step.reads:
        if view.buffer.id in names:
            return True
    for view in step.writes:  # noqa: SIM110 (half the time of any() on one view)
        if view.buffer.id in names:
            return True
    return False


def _key(step: Group | Call) -> Any:
    """What a step computes, without where it writes it."""
    if type(step) is Group:
        stores = tuple([(s.view[1:], s.expr) for s in step.stores])
        return step.extents, step.reduced, step.loads, stores
    assert type(step) is Call
    outs = tuple([(v.dtype, v[1:]) for v in step.outs])
    return step.name, step.impl, step.args, outs, step.attrs


def merge_equal_steps(program: Program) -> Program:
    """Compute once what several steps compute (common subexpressions).

    Requires: each step's inputs are written before it.
    Ensures:  no two pure steps with equal computations and equal inputs, unless one
              writes a part of a buffer only.
    """
    writers = Counter([v.buffer.id for s in program.steps for v in s.writes])
    names: dict[int, Buffer] = {}
    known: dict[Any, Step] = {}
    steps: list[Step] = []
    origins = []
    for step, origin in zip(program.steps, program.origins):
        if names and _touches(step, names):
            step = renamed(step, names)
        if type(step) is Group or (type(step) is Call and step.pure):
            writes = step.writes
            if all(
                writers[v.buffer.id] == 1 and v.buffer.kind == "temp" for v in writes
            ):
                earlier = known.setdefault(_key(step), step)
                if earlier is not step:
                    for mine, theirs in zip(writes, earlier.writes):
                        names[mine.buffer.id] = theirs.buffer
                    continue
        steps.append(step)
        origins.append(origin)
    if not names:
        return program
    return replace(
        program,
        steps=tuple(steps),
        origins=tuple(origins),
        commits=tuple(Commit(c.slot, _at(c.view, names)) for c in program.commits),
    )


def _copied_out(step: Step) -> Buffer | None:
    """The temp buffer that ``step`` copies whole into an output, if it does that."""
    if type(step) is not Group or len(step.loads) != 1 or len(step.stores) != 1:
        return None
    load, store = step.loads[0], step.stores[0]
    if store.view.buffer.kind != "output" or type(store.expr) is not Load:
        return None
    if load.buffer.kind == "temp" and load.is_whole and store.view.is_whole:
        return load.buffer
    return None


def write_outputs_directly(program: Program) -> Program:
    """Let the step that makes a fetched value write it where it leaves.

    Requires: outputs are made by copies, as lowering does.
    Ensures:  no copy of a whole temp buffer into an output, but for a value that
              leaves twice or that a variable takes.
    """
    taken = {c.view.buffer.id for c in program.commits}
    names: dict[int, Buffer] = {}
    copies = set()
    for index, step in enumerate(program.steps):
        source = _copied_out(step)
        if source is not None and source.id not in taken:
            taken.add(source.id)
            copies.add(index)
            names[source.id] = step.stores[0].view.buffer  # type: ignore[union-attr]
    if not names:
        return program
    kept = [i for i in range(len(program.steps)) if i not in copies]
    steps = [program.steps[i] for i in kept]
    return replace(
        program,
        steps=tuple(renamed(s, names) if _touches(s, names) else s for s in steps),
        origins=tuple(program.origins[i] for i in kept),
    )
