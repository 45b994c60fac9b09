"""Which new values of variables can be computed right in the variables' memory.

A run that fails must leave all variables as they were. So the new values are mostly
computed beside the old ones, and copied at the end. But where the last steps compute
them, and none of these can fail, there is nothing to wait for.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from gpugrad.backends.numpy.calls import direct, needs_no_copy
from gpugrad.dtypes import string
from gpugrad.kir import meaning
from gpugrad.kir.program import Call, Commit, Group, Program, Store
from gpugrad.kir.scalar import (
    Apply,
    Expr,
    Load,
    cast_op,
    children,
    postorder,
    select,
)
from gpugrad.kir.space import Buffer


class Tail(NamedTuple):
    """The last steps of a program, which write variables where they are.

    ``commits``: by the buffer of the new value. ``first``: the first step that writes
    one; before it, the calls number ``checks`` must be asked whether they will refuse.
    """

    commits: dict[int, Commit]
    first: int
    checks: tuple[int, ...]


def computed_in_place(program: Program) -> Tail:
    """The commits that need no copy: all, or none.

    All or nothing: the copy of another value could run out of memory after the first
    variable has changed.
    """
    nothing = Tail({}, 0, ())
    if not program.commits:
        return nothing
    old = dict(program.variables)
    wanted = {c.view.buffer.id: c for c in program.commits}
    writes = Counter(v.buffer.id for step in program.steps for v in step.writes)
    if len(wanted) != len(program.commits) or any(writes[n] > 1 for n in wanted):
        return nothing
    found: dict[int, Commit] = {}
    checks: list[int] = []
    read_later: set[int] = set()
    first = len(program.steps)
    for number in reversed(range(len(program.steps))):
        step = program.steps[number]
        if type(step) is Group and _cannot_fail(step):
            stores = {store.view: store for store in step.stores}
        elif type(step) is Call and step.in_place is not None and len(step.outs) == 1:
            stores = {}
            checks.append(number)
        elif type(step) is Call and direct(step) is not None and needs_no_copy(step):
            if not wanted.keys().isdisjoint(v.buffer.id for v in step.outs):
                return nothing
            read_later.update(view.buffer.id for view in step.args)
            continue
        else:
            break
        for view in step.writes:
            commit = wanted.get(view.buffer.id)
            variable = old.get(commit.slot) if commit else None
            if type(step) is Call:
                if commit is None or variable is None or not _may_be(step, variable):
                    return nothing
            elif commit is None:
                continue
            elif variable is None or not _fits(step, stores[view], variable):  # type: ignore[arg-type]
                return nothing
            if variable.dtype is not view.dtype or variable.id in read_later:
                return nothing
            found[view.buffer.id] = commit
            first = number
        read_later.update(view.buffer.id for view in step.reads)
    if len(found) != len(wanted):
        return nothing
    # What calls are asked about must be there before anything is changed.
    written = {v.buffer.id for step in program.steps[first:] for v in step.writes}
    for number in checks:
        call = program.steps[number]
        assert type(call) is Call
        assert call.in_place is not None
        others = [v for i, v in enumerate(call.args) if i != call.in_place.argument]
        if any(v.buffer.id in written for v in others):
            return nothing
    return Tail(found, first, tuple(checks))


def _may_be(call: Call, variable: Buffer) -> bool:
    """True if the call's result may be the variable, which it reads once, whole."""
    assert call.in_place is not None
    mine = [i for i, v in enumerate(call.args) if v.buffer.id == variable.id]
    view = call.args[call.in_place.argument]
    return mine == [call.in_place.argument] and view.is_whole and call.outs[0].is_whole


def _cannot_fail(group: Group) -> bool:
    """True if every call is a plain ufunc on numbers that refuses no value."""
    for node in postorder(*[s.expr for s in group.stores]):
        if node.dtype is string:
            return False
        if type(node) is Apply and node.op is not cast_op and node.op is not select:
            first = node.args[0].dtype
            if not isinstance(meaning.function(node.op, first), np.ufunc):
                return False
            if node.op.name == "pow" and first.is_integer:
                return False
    return True


def _fits(group: Group, store: Store, variable: Buffer) -> bool:
    """True if the group may write ``store`` over ``variable``, which it may read.

    It reads each element where it writes it, and not after it.
    """
    if not store.view.is_whole:
        return False
    slots = {i for i, v in enumerate(group.loads) if v.buffer.id == variable.id}
    if not slots:
        return True
    for slot in slots:
        view = group.loads[slot]
        steps = zip(group.extents, view.strides, store.view.strides)
        if view.offset != store.view.offset or any(
            n != 1 and a != b for n, a, b in steps
        ):
            return False

    def reads(expr: Expr) -> bool:
        return type(expr) is Load and expr.slot in slots

    written = False
    for node in postorder(*[s.expr for s in group.stores]):
        chosen = type(node) is Apply and node.op is select and node is store.expr
        if (written or chosen) and any(reads(child) for child in children(node)):
            return False
        written = written or node is store.expr
    return type(store.expr) is Apply and not any(reads(s.expr) for s in group.stores)
