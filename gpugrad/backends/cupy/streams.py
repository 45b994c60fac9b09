"""Enqueues the steps of a Program on their streams, with the waits that it lists.

Streams and events are CuPy's, but nothing here imports it: a stream has record(event)
and wait_event(event). The order of the calls is tested; on a GPU it has not been run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gpugrad.kir.program import HOME, START, Program

Action = Callable[[list[Any]], None]


class Streams(Protocol):
    """What this needs of a device."""

    def stream(self, number: int) -> Any:
        """Stream ``number``; HOME and GATE have one as well."""
        ...

    def new_event(self) -> Any:
        """An event without timing."""
        ...


class Enqueuer:
    """Runs ``actions``, one a step, in order. Its events are made once.

    A barrier (gate_gradients) is a step without work on the gate stream: n streams
    signal it and m wait for it, rather than each for each. The host never waits.
    """

    def __init__(
        self, program: Program, device: Streams, actions: Sequence[Action]
    ) -> None:
        steps, waits = program.steps, program.waits
        others = sorted({s.stream for s in steps} - {HOME})
        if waits is None and others:
            raise AssertionError("the streams of this Program have no waits yet")
        waits = waits or {}
        signals = sorted({number for earlier in waits.values() for number in earlier})
        # An event may be recorded again while an earlier run still waits for it: a
        # wait is for the last record before it.
        events = {number: device.new_event() for number in signals}
        self._device = device
        self._actions = tuple(actions)
        self._others = [device.stream(number) for number in others]
        self._started = events.get(START)
        self._joins = [events[w] for w in waits.get(len(steps), ())]
        self._turns = [
            (
                action,
                device.stream(step.stream),
                [events[w] for w in waits.get(number, ())],
                events.get(number),
            )
            for number, (step, action) in enumerate(zip(steps, actions, strict=True))
        ]
        self.number = 0  # of the step that is being enqueued

    def run(self, bases: list[Any]) -> None:
        """Enqueue all steps. What an action raises leaves no stream ahead of home."""
        if not self._others:
            for self.number, action in enumerate(self._actions):  # noqa: B020
                action(bases)
            return
        home = self._device.stream(HOME)
        if self._started is not None:
            home.record(self._started)
        try:
            for self.number, turn in enumerate(self._turns):  # noqa: B020
                action, stream, waits, signal = turn
                for event in waits:
                    stream.wait_event(event)
                action(bases)
                if signal is not None:
                    stream.record(signal)
        except BaseException:
            for stream in self._others:
                home.wait_event(stream.record(self._device.new_event()))
            raise
        for event in self._joins:
            home.wait_event(event)
