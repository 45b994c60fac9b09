"""Order between streams: what waits for what, and the barrier of gate_gradients.

Streams and events are CuPy's, but nothing here imports it: a stream has record(event)
and wait_event(event). The order of the calls is tested; on a GPU it has not been run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gpugrad.kir.program import Barrier, Program, Step
from gpugrad.kir.space import View


def barrier(gate: Any, streams: Sequence[Any], new_event: Callable[[], Any]) -> None:
    """Hold every stream until all of them reach this point (gate_gradients).

    The host does not wait. Each stream signals one gate stream, which signals back: n
    streams cost 2n waits rather than n * (n - 1).
    """
    for stream in streams:
        gate.wait_event(stream.record(new_event()))
    opened = gate.record(new_event())
    for stream in streams:
        stream.wait_event(opened)


class _Touch(NamedTuple):
    """Bytes that a step reads or writes: of the arena, or of a buffer by number."""

    place: int  # -1 is the arena
    start: int
    end: int
    writes: bool


def _touches(step: Step, offsets: dict[int, int]) -> list[_Touch]:
    if isinstance(step, Barrier):
        return []

    def touch(view: View, writes: bool) -> _Touch:
        buffer = view.buffer
        size = buffer.size * buffer.dtype.size
        if buffer.id in offsets:
            start = offsets[buffer.id]
            return _Touch(-1, start, start + size, writes)
        return _Touch(buffer.id, 0, size, writes)

    return [
        *(touch(v, False) for v in step.reads),
        *(touch(v, True) for v in step.writes),
    ]


def _meet(one: list[_Touch], other: list[_Touch]) -> bool:
    return any(
        a.place == b.place
        and (a.writes or b.writes)
        and a.start < b.end
        and b.start < a.end
        for a in one
        for b in other
    )


def needed_waits(program: Program) -> dict[int, tuple[int, ...]]:
    """For each step the steps on other streams that must be done before it starts.

    Of each other stream the last such step is enough: a stream keeps its own order.
    Reuse of arena bytes counts as well as data.
    """
    steps = program.steps
    streams = sorted({s.stream for s in steps if not isinstance(s, Barrier)})
    if len(streams) < 2:
        return {}
    touches = [_touches(s, program.offsets) for s in steps]
    waits: dict[int, tuple[int, ...]] = {}
    for index, step in enumerate(steps):
        if isinstance(step, Barrier):
            continue
        found = []
        for stream in streams:
            if stream == step.stream:
                continue
            for earlier in range(index - 1, -1, -1):
                if steps[earlier].stream != stream or not touches[earlier]:
                    continue
                if _meet(touches[earlier], touches[index]):
                    found.append(earlier)
                    break
        if found:
            waits[index] = tuple(sorted(found))
    return waits
