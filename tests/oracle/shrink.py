"""Makes a failing program small: fewer lines, inputs and options, the same failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from tests.oracle.program import Program, as_input

# Values of a program's names and their dtypes.
Values = dict[str, tuple[str, np.ndarray]]


def shrink(
    program: Program, fails: Callable[[Program], bool], values: Values
) -> Program:
    """The smallest program found that still fails, one change at a time."""
    while True:
        for smaller in _smaller(program, values):
            less = _size(smaller) < _size(program)
            if less and smaller.ys and smaller.xs and fails(smaller):
                program = smaller
                break
        else:
            return program


def _size(program: Program) -> tuple[int, int, int, int]:
    """What each change makes less of; so shrinking comes to an end."""
    vague = sum(item.shape != item.extents for item in program.inputs)
    asked = len(program.ys) + len(program.xs) + len(program.options)
    return len(program.lines), len(program.inputs), asked, vague


def _smaller(program: Program, values: Values) -> Iterator[Program]:
    """Programs with one thing less, the largest cuts first."""
    for number in range(len(program.ys) if len(program.ys) > 1 else 0):
        kept = program.ys[number]
        yield replace(program, ys=(kept,), options=_without_seeds(program)).pruned()
    for option in program.options:
        rest = tuple(o for o in program.options if o != option)
        yield replace(program, options=rest)
    for number in range(len(program.xs) if len(program.xs) > 1 else 0):
        rest = program.xs[:number] + program.xs[number + 1 :]
        yield replace(program, xs=rest).pruned()
    # A line becomes a fed value, so that what came before it can go.
    for number, line in reversed(list(enumerate(program.lines))):
        if set(line.targets) & set(program.ys):
            continue
        lines = program.lines[:number] + program.lines[number + 1 :]
        made = tuple(as_input(t, *values[t]) for t in line.targets if t in values)
        fed = replace(program, lines=lines, inputs=program.inputs + made)
        yield fed.pruned()
        yield replace(fed, xs=tuple(item.name for item in made)).pruned()
    # What a line made becomes the y, so that what comes after it can go.
    for line in program.lines:
        if not set(line.targets) & set(program.ys):
            yield replace(program, ys=line.targets[:1], options=()).pruned()
    for number, item in enumerate(program.inputs):
        if item.kind == "placeholder" and item.shape != item.extents:
            plain = replace(item, shape=item.extents)
            inputs = (*program.inputs[:number], plain, *program.inputs[number + 1 :])
            yield replace(program, inputs=inputs)


def _without_seeds(program: Program) -> tuple[str, ...]:
    return tuple(o for o in program.options if not o.startswith("grad_ys"))
