"""Random Programs for several streams: forks, joins, parts, reuse, barriers, effects.

Everything is int64 and wraps around, so any order that is wrong shows in the bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.compiler.dce import drop_dead_steps
from gpugrad.compiler.events import order_streams
from gpugrad.compiler.memory import plan_memory
from gpugrad.compiler.streams import on_streams
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.order import reads_member
from gpugrad.kir.program import Barrier, Commit, Program
from gpugrad.kir.space import View
from gpugrad.kir.verify import check_program
from tests.backends.programs import Trial

SIZE = 8
_FORMS = ("map", "map", "call", "call", "call", "parts", "patch", "fold", "gate")


class Probe:
    """What the library calls of a Program do: mix numbers, dawdle, and keep a log.

    ``log`` holds (moment, call, "starts" or "ends"): moments count over all threads.
    ``before`` runs ahead of each call, ``between`` in the middle of it.
    """

    def __init__(self) -> None:
        self.before: Callable[[int], None] = lambda number: None
        self.between: Callable[[int], None] = lambda number: None
        self.log: list[tuple[int, int, str]] = []
        self._moments = itertools.count()

    def __call__(self, xp: Any, outs: Sequence[Any], *args: Any, number: int) -> None:
        self.log.append((next(self._moments), number, "starts"))
        self.before(number)
        for place, out in enumerate(outs):
            total = np.full(out.shape, 7 * number + place, np.int64)
            for arg in args:
                total = total * 31 + arg
            out[...] = total
            self.between(number)
        self.log.append((next(self._moments), number, "ends"))

    def quiet(self) -> None:
        """No delays and an empty log."""
        self.__init__()  # type: ignore[misc]


@dataclass
class Draft:
    """A random Program on one stream, as lowering would leave it."""

    trial: Trial
    probe: Probe

    def on(
        self, streams: Sequence[int], share: bool = True, verify: bool = True
    ) -> Program:
        """The Program on these streams, planned and ordered."""
        program = on_streams(self.trial.program, streams)
        program = plan_memory(program)
        if share:
            program = reusing(program)
        program = order_streams(program)
        if verify:
            check_program(program)
        return program


def reusing(program: Program) -> Program:
    """With the offsets of one stream: reuse that several streams have to wait for."""
    alone = plan_memory(on_streams(program, [0] * len(program.steps)))
    return replace(
        program,
        offsets=alone.offsets,
        arena_bytes=alone.arena_bytes,
        in_place=alone.in_place,
    )


def draw(rng: np.random.Generator, length: int) -> Draft:
    """A Program of about ``length`` steps, with the inputs to run it on."""
    probe = Probe()
    b = Builder()
    feeds = [b.new(dtypes.int64, (SIZE,), "input") for _ in range(2)]
    held = b.new(dtypes.int64, (SIZE,), "variable")
    b.variables[2] = held.buffer
    values = [*feeds, held]
    temps: list[View] = []
    numbers = itertools.count()

    def some(most: int) -> list[View]:
        # Recent values more often: chains, not stars.
        chosen = [
            values[-1 - min(int(rng.exponential(3.0)), len(values) - 1)]
            for _ in range(rng.integers(1, most + 1))
        ]
        return chosen

    def made(view: View) -> None:
        values.append(view)
        temps.append(view)

    while len(b.steps) < length:
        form = rng.choice(_FORMS)
        if form == "map":
            made(b.map(lambda *e: sum(e[1:], e[0]) * 3, *some(3)))
        elif form == "fold":
            total = b.reduce("sum", some(1)[0], (0,), keepdims=True)
            made(b.map(scalar.add, total.broadcast((SIZE,)), some(1)[0]))
        elif form == "call":
            outs = [(dtypes.int64, (SIZE,))] * int(rng.integers(1, 3))
            pure = bool(rng.random() < 0.9)
            number = next(numbers)
            for out in b.call("mix", probe, some(3), outs, pure, number=number):
                made(out)
        elif form == "parts":
            whole = b.new(dtypes.int64, (SIZE,))
            cut = int(rng.integers(1, SIZE))
            for start, end in ((0, cut), (cut, SIZE)):
                source = some(1)[0].slice((start,), (end - start,))
                b.store(
                    whole.slice((start,), (end - start,)), lambda e: e * 5 + 1, source
                )
            made(whole)
        elif form == "patch" and temps:
            target = temps[int(rng.integers(len(temps)))]
            source = next(
                (v for v in some(3) if v.buffer.id != target.buffer.id), feeds[0]
            )
            b.copy(source.slice((0,), (2,)), target.slice((3,), (2,)))
        elif form == "gate" and len(temps) > 1:
            count = min(len(temps), int(rng.integers(2, 5)))
            members = [temps[-1 - k] for k in range(count)]
            b.barrier(members)
            for member in members[: int(rng.integers(3))]:  # some that read it
                reader = [(dtypes.int64, (SIZE,))]
                made(b.call("mix", probe, [member], reader, number=next(numbers))[0])
    outputs = [b.new(dtypes.int64, (SIZE,), "output") for _ in range(3)]
    for out in outputs:
        b.copy(temps[-1 - min(int(rng.exponential(4.0)), len(temps) - 1)], out)
    commits = [Commit(k, temps[int(rng.integers(len(temps)))]) for k in range(3)]
    program = Program(
        steps=tuple(b.steps),
        inputs=tuple(v.buffer for v in feeds),
        variables=tuple(b.variables.items()),
        consts=b.consts,
        outputs=tuple(outputs),
        commits=tuple(commits),
        origins=tuple(f"node {k}" for k in range(len(b.steps))),
    )
    program = drop_dead_steps(program)
    check_program(program)
    arrays = [rng.integers(-9, 9, SIZE) for _ in range(3)]
    trial = Trial(program, arrays[:2], [None, None, arrays[2]])
    return Draft(trial, probe)


def random_streams(rng: np.random.Generator, program: Program, count: int) -> list[int]:
    """A stream for each step; calls with effects may be anywhere as well."""
    return [int(s) for s in rng.integers(0, count, len(program.steps))]


def without(program: Program, number: int, other: int) -> Program:
    """The Program without one of its waits."""
    waits = dict(program.waits or {})
    waits[number] = tuple(w for w in waits[number] if w != other)
    return replace(program, waits=waits)


def all_waits(program: Program) -> Iterator[tuple[int, int]]:
    """Every (step, step that it waits for)."""
    for number, earlier in (program.waits or {}).items():
        for other in earlier:
            yield number, other


def gates(program: Program) -> Iterator[tuple[set[int], set[int]]]:
    """For each barrier the calls that make its members, and those that read them."""

    def number(step: Any) -> int | None:
        return dict(step.attrs).get("number") if hasattr(step, "attrs") else None

    for place, barrier in enumerate(program.steps):
        if not isinstance(barrier, Barrier):
            continue
        members = {m.buffer.id for m in barrier.members}
        made = {
            number(s)
            for s in program.steps[:place]
            if any(v.buffer.id in members for v in s.writes)
        }
        read = {
            number(s) for s in program.steps[place + 1 :] if reads_member(s, barrier)
        }
        yield made - {None}, read - {None}
