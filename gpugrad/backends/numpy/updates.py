"""Which new values of variables can be computed right in the variables' memory.

A run that fails must leave all variables as they were. So the new values are mostly
computed beside the old ones, and copied at the end. But where the last steps compute
them, and none of these can fail, there is nothing to wait for.
"""

from __future__ import annotations

from collections import Counter

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


def computed_in_place(program: Program) -> dict[int, Commit]:
    """The commits, by the buffer of their value, if all can be done without a copy.

    All or nothing: the copy of another value could run out of memory after the first
    variable has changed.
    """
    old = dict(program.variables)
    wanted = {c.view.buffer.id: c for c in program.commits}
    writes = Counter(v.buffer.id for step in program.steps for v in step.writes)
    if len(wanted) != len(program.commits) or any(writes[n] > 1 for n in wanted):
        return {}
    found: dict[int, Commit] = {}
    read_later: set[int] = set()
    for step in reversed(program.steps):
        if type(step) is Call and direct(step) is not None and needs_no_copy(step):
            if not wanted.keys().isdisjoint(v.buffer.id for v in step.outs):
                return {}
            read_later.update(view.buffer.id for view in step.args)
            continue
        if type(step) is not Group or not _cannot_fail(step):
            break
        for store in step.stores:
            commit = wanted.get(store.view.buffer.id)
            if commit is None:
                continue
            variable = old.get(commit.slot)
            if variable is None or variable.dtype is not store.view.dtype:
                return {}
            if variable.id in read_later or not _fits(step, store, variable):
                return {}
            found[store.view.buffer.id] = commit
        read_later.update(view.buffer.id for view in step.reads)
    return found if len(found) == len(wanted) else {}


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
