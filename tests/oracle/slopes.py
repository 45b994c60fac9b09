"""Who is right: a library's derivatives against differences of its own answers.

The second derivatives are those of the squared length of the first ones, the first
those of the sum of ys; both sums are taken here from a library's own answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.oracle.compare import EPS, Answers
from tests.oracle.program import Input, Program

STEP = 1e-5


def slopes(
    program: Program, answer: Callable[[Program], Answers], order: str
) -> tuple[float, float] | None:
    """(analytic, numeric) along one direction of all float inputs among xs; None where
    that cannot be told: coarse dtypes, given grad_ys, whole numbers as inputs.
    """
    moving = [
        i
        for i in program.inputs
        if i.name in program.xs and EPS.get(i.dtype) == EPS["float64"]
    ]
    if not moving or (order == "first" and "grad_ys" in str(program.options)):
        return None
    rng = np.random.default_rng(1)
    steps = {}
    for item in moving:
        step = rng.uniform(-1, 1, item.extents)
        if item.dtype == "complex128":
            step = step + 1j * rng.uniform(-1, 1, item.extents)
        steps[item.name] = step
    still = answer(program)
    analytic = 0.0
    for number, name in enumerate(program.xs):
        got = still.get(f"{order} {number}")
        if name in steps and got is not None and got.kind == "tensor":
            analytic += float(np.sum(np.real(np.conj(got.arrays[0]) * steps[name])))
    ahead = _total(program, answer(_moved(program, steps, STEP)), order)
    behind = _total(program, answer(_moved(program, steps, -STEP)), order)
    return analytic, (ahead - behind) / (2 * STEP)


def _total(program: Program, found: Answers, order: str) -> float:
    """What is differentiated."""
    if order == "first":
        return float(sum(np.sum(np.real(found[y].arrays[0])) for y in program.ys))
    total = 0.0
    for key, answer in found.items():
        if key.startswith("first") and answer.kind in ("tensor", "slices"):
            total += float(np.sum(np.abs(answer.arrays[0].astype(complex)) ** 2))
    return total


def _moved(program: Program, steps: dict[str, np.ndarray], by: float) -> Program:
    def moved(item: Input) -> Input:
        if item.name not in steps:
            return item
        value = np.array(item.value) + by * steps[item.name]
        return replace(item, value=value.tolist())

    return replace(program, inputs=tuple(map(moved, program.inputs)))
