"""Constant folding: of shape arithmetic while lowering, then of all that is small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gpugrad.compiler.cse import renamed
from gpugrad.errors import OpError
from gpugrad.kir.builder import Builder
from gpugrad.kir.interpret import interpret
from gpugrad.kir.program import Barrier, Call, Commit, Program, Step
from gpugrad.kir.space import Buffer, View

# Elements. Shape arithmetic is far smaller; larger constants stay with the device.
LIMIT = 1024


def fold(builder: Builder, start: int, results: Sequence[View]) -> list[View]:
    """Run the steps from ``start`` now, and make their results constants.

    Requires: the steps read constants only, and nothing else reads what they write
              but ``results``.
    Ensures:  the builder has no steps from ``start`` on.
    """
    steps = builder.steps[start:]
    memory = {}
    for step in steps:
        for view in (*step.reads, *step.writes):
            buffer = view.buffer
            if buffer.kind == "const":
                memory[buffer.id] = builder.consts[buffer.id].reshape(-1)
            elif buffer.id not in memory:
                memory[buffer.id] = np.zeros(buffer.size, buffer.dtype.np_dtype)
    interpret(steps, memory)
    del builder.steps[start:], builder.origins[start:]
    folded = []
    for view in results:
        if view.buffer.kind != "const":
            data = memory[view.buffer.id]
            item = data.itemsize
            value = np.lib.stride_tricks.as_strided(
                data[view.offset :] if view.size else data[:0],
                view.shape,
                tuple(s * item for s in view.strides),
            )
            view = builder.literal(value, view.dtype)
        folded.append(view)
    return folded


def fold_constants(program: Program) -> Program:
    """Run what depends on constants alone now, if its results are small.

    Requires: each step's inputs are written before it.
    Ensures:  what reads the run's number, has effects or fails stays as it is, and so
              does what makes more than LIMIT elements out of as many.
    """
    written = Counter([v.buffer.id for s in program.steps for v in s.writes])
    consts = dict(program.consts)
    names: dict[int, Buffer] = {}
    steps, origins = [], []
    for step, origin in zip(program.steps, program.origins):
        if names and any(v.buffer.id in names for v in step.reads):
            step = renamed(step, names)
        if _is_small(step, consts) and all(
            v.buffer.kind == "temp" and written[v.buffer.id] == 1 for v in step.writes
        ):
            found = _computed(step, consts)
            if found is not None:
                consts.update(found)
                names |= {
                    v.buffer.id: v.buffer._replace(kind="const") for v in step.writes
                }
                continue
        steps.append(step)
        origins.append(origin)
    if not names:
        return program
    commits = tuple(Commit(c.slot, _as_const(c.view, names)) for c in program.commits)
    return replace(
        program,
        steps=tuple(steps),
        origins=tuple(origins),
        commits=commits,
        consts=consts,
    )


def _as_const(view: View, names: dict[int, Buffer]) -> View:
    return view._replace(buffer=names.get(view.buffer.id, view.buffer))


def _is_small(step: Step, consts: dict[int, np.ndarray]) -> bool:
    for view in step.reads:
        if view.buffer.id not in consts or view.buffer.size > LIMIT:
            return False
    if type(step) is Barrier or (type(step) is Call and not step.pure):
        return False
    return bool(step.writes) and all(
        v.buffer.size <= LIMIT and v.size <= LIMIT and v.dtype.is_scalar
        for v in (*step.reads, *step.writes)
    )


def _computed(
    step: Step, consts: dict[int, np.ndarray]
) -> dict[int, np.ndarray] | None:
    """The arrays that ``step`` writes; None if it fails, which it may when it runs."""
    memory = {v.buffer.id: consts[v.buffer.id].reshape(-1) for v in step.reads}
    for view in step.writes:
        buffer = view.buffer
        memory[buffer.id] = np.zeros(buffer.size, buffer.dtype.np_dtype)
    try:
        interpret([step], memory)
    except (OpError, ValueError, TypeError, ArithmeticError, LookupError):
        return None
    return {v.buffer.id: memory[v.buffer.id] for v in step.writes}
