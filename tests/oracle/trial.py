"""One program in both libraries: agreement, or a difference shrunk to its core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import gpugrad.compat.v1 as gpugrad_v1
from gpugrad.compiler import pipeline
from gpugrad.runtime import plan
from tests.oracle.answer import answers
from tests.oracle.compare import Answers, Difference, differences, explained
from tests.oracle.program import Program
from tests.oracle.shrink import shrink
from tests.oracle.slopes import slopes

Answering = Callable[[Program], Answers]


@dataclass
class Outcome:
    """What came of a program. ``ill``: its conditioning explains the differences;
    ``refused``: it is no program where the answers are expected from.
    """

    program: Program
    differences: list[Difference]
    ill: bool = False
    refused: bool = False

    def report(self, expecting: Answering, found: Answering) -> str:
        """The differences, who is right, and a program that shows them."""
        lines = [f"# {d.key}: {d.what}"[:2000] for d in self.differences]
        for order in sorted({d.key.split()[0] for d in self.differences}):
            for who, answer in (("expected", expecting), ("found", found)):
                if order in ("first", "second"):
                    told = _told(self.program, answer, order)
                    lines.append(f"# {order}, {who}: {told}")
        return "\n".join([*lines, self.program.script()])


def ours(program: Program) -> Answers:
    """What gpugrad answers."""
    return answers(gpugrad_v1, program)


def unoptimized(program: Program) -> Answers:
    """What gpugrad answers when the compiler runs no pass."""
    with without_passes():
        return ours(program)


@contextmanager
def without_passes() -> Iterator[None]:
    """Programs compiled here go to the backend as lowering made them."""
    nothing = partial(pipeline.optimize, passes=())
    with mock.patch.object(plan, "optimize", nothing):
        yield


def against(expecting: Answering, program: Program, found: Answering = ours) -> Outcome:
    """Compare what two libraries answer."""
    expected = expecting(program)
    if "forward" in expected:
        return Outcome(program, [], refused=True)
    parted = differences(program, expected, found(program))
    ill = bool(parted) and explained(parted, program, expecting)
    return Outcome(program, parted, ill)


def smallest(
    outcome: Outcome, expecting: Answering, found: Answering = ours
) -> Outcome:
    """The same failure in as few lines as shrinking finds."""

    def fails(program: Program) -> bool:
        again = against(expecting, program, found)
        return bool(again.differences) and not again.ill

    known = expecting(outcome.program)
    values = {k: (a.dtype, a.arrays[0]) for k, a in known.items() if a.kind == "tensor"}
    return against(expecting, shrink(outcome.program, fails, values), found)


def _told(program: Program, answer: Answering, order: str) -> str:
    """A library's derivative against differences of its own answers."""
    try:
        pair = slopes(program, answer, order)
    except (KeyError, IndexError):
        pair = None
    if pair is None:
        return "no numeric derivative"
    return f"derivative {pair[0]:.9g}, numerically {pair[1]:.9g}"


def theirs(tf: Any) -> Answering:
    """What TensorFlow answers."""
    return partial(answers, tf)
