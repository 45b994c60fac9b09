"""Streams on the CPU: each is a worker thread with a queue, stream 0 is the caller.

The steps of a Program go to their streams in pieces between waits, as the same
generated code that one stream runs; a signal is a threading.Event. Off unless
Config.streams asks for it: two threads help where steps are long (NumPy lets go of the
interpreter inside large operations), and schedules are tested on them.

They do not help products. Two of 512 x 512 took 2.6 ms one after the other on the two
threads of OpenBLAS; on a thread each 2.4, and 5.0 soon after any product on two: for 25
ms OpenBLAS's own thread waits for more in a loop, and keeps the second core. Of 256 x
256 they took 0.37 ms, 0.41 and 0.51; of 128 x 128 73 us, 103 and 119.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from gpugrad.kir.program import GATE, HOME, START, Program

Job = Callable[[], None]


class Workers:
    """Threads that run jobs, one thread a stream; made when first needed.

    Safe to use from several threads: the jobs of one run enter all queues together,
    so no two runs wait for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: list[SimpleQueue[Job]] = []
        self._process = os.getpid()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let thread ``i`` run ``jobs[i]``."""
        with self._lock:
            if self._process != os.getpid():  # threads do not survive a fork
                self._queues, self._process = [], os.getpid()
            while len(self._queues) < len(jobs):
                queue: SimpleQueue[Job] = SimpleQueue()
                name = f"gpugrad stream {len(self._queues) + 1}"
                threading.Thread(
                    target=_serve, args=(queue,), name=name, daemon=True
                ).start()
                self._queues.append(queue)
            for queue, job in zip(self._queues, jobs):
                queue.put(job)


def _serve(queue: SimpleQueue[Job]) -> None:
    np.seterr(all="ignore")  # overflow and NaN are data; this is the thread's own
    while True:
        job = queue.get()
        job()
        del job  # with the arrays that it refers to


class _Piece:
    """Steps of one stream that run without waiting in between."""

    __slots__ = ("calls", "first", "signal", "steps", "waits")

    def __init__(self, steps: list[int], waits: list[threading.Event]) -> None:
        self.steps = steps
        self.first = steps[0]
        self.waits = waits
        self.signal: threading.Event | None = None
        # (function, place of its arguments) of each part of the generated code.
        self.calls: list[tuple[Callable[..., None], int]] = []


class Dispatcher:
    """Runs the parts of a Program's code on its streams, and waits for them all.

    If steps fail, the error of the first of them in the Program is raised, as on one
    stream: what comes before it is still run. One run at a time.
    """

    def __init__(self, program: Program, workers: Workers) -> None:
        if program.waits is None:
            raise AssertionError("the streams of this Program have no waits yet")
        self._workers = workers
        self._count = len(program.steps)
        self._lock = threading.Lock()
        before = _ungated(program)
        signals = {number for earlier in before for number in earlier}
        self._events = {number: threading.Event() for number in sorted(signals)}
        self._pieces = self._cut(program, before)
        self.segments = [piece.steps for piece in self._pieces]
        self._joins = [self._events[number] for number in before[-1]]
        self._streams: list[list[_Piece]] = [
            [] for _ in range(1 + max(s.stream for s in program.steps))
        ]
        for piece in self._pieces:
            self._streams[program.steps[piece.first].stream].append(piece)
        self._ended = [threading.Event() for _ in self._streams]
        self._limit = self._count
        self._error: BaseException | None = None

    def _cut(self, program: Program, before: Sequence[Sequence[int]]) -> list[_Piece]:
        """Pieces: a wait begins one, a signal ends it."""
        pieces: list[_Piece] = []
        current: dict[int, _Piece] = {}
        for number, step in enumerate(program.steps):
            stream = step.stream
            if stream == GATE:
                continue
            if before[number] or stream not in current:
                waits = [self._events[other] for other in before[number]]
                current[stream] = _Piece([number], waits)
                pieces.append(current[stream])
            else:
                current[stream].steps.append(number)
            if number in self._events:
                current.pop(stream).signal = self._events[number]
        return pieces

    def bind(
        self,
        functions: dict[str, Any],
        piece_of_part: Sequence[int],
        failed_step: Callable[[BaseException], int | None],
    ) -> None:
        """Take the generated functions; which piece each is of; what step failed."""
        self._failed_step = failed_step
        for part, piece in enumerate(piece_of_part):
            self._pieces[piece].calls.append((functions[f"part{part}"], part))

    # --- running ------------------------------------------------------------------

    def __call__(self, *arguments: tuple[Any, ...]) -> None:
        """Run all parts with ``arguments``, one tuple a part."""
        for event in self._events.values():
            event.clear()
        for event in self._ended:
            event.clear()
        self._limit, self._error = self._count, None
        self._workers.submit(
            [
                partial(self._play, stream, arguments)
                for stream in range(HOME + 1, len(self._streams))
            ]
        )
        try:
            self._play(HOME, arguments)
            for event in self._joins:
                event.wait()
        except BaseException:  # an interrupt: nothing more starts
            self._limit = START
            raise
        finally:
            if self._limit < self._count:
                self._wait_for_workers()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame

    def _play(self, stream: int, arguments: tuple[tuple[Any, ...], ...]) -> None:
        pieces = self._streams[stream]
        done = 0
        try:
            for piece in pieces:
                for event in piece.waits:
                    event.wait()
                if piece.first >= self._limit:
                    break
                try:
                    for function, part in piece.calls:
                        function(*arguments[part])
                except BaseException as error:  # noqa: BLE001 (raised by __call__)
                    self._fail(error, piece)
                    break
                if piece.signal is not None:
                    piece.signal.set()
                done += 1
        finally:
            # Whoever waits for what will not come finds that it must not start.
            for piece in pieces[done:]:
                if piece.signal is not None:
                    piece.signal.set()
            self._ended[stream].set()

    def _fail(self, error: BaseException, piece: _Piece) -> None:
        number = self._failed_step(error)
        with self._lock:
            if (piece.first if number is None else number) < self._limit:
                self._limit = piece.first if number is None else number
                self._error = error

    def _wait_for_workers(self) -> None:
        """They use the arrays of the next run."""
        for event in self._ended[HOME + 1 :]:
            while not event.is_set():
                with contextlib.suppress(KeyboardInterrupt):
                    event.wait()


def _ungated(program: Program) -> list[list[int]]:
    """What each step and the end waits for, with barriers on GATE looked through.

    They do nothing themselves, so their waits are waited for by who waits for them.
    """
    waits = program.waits or {}
    found: list[list[int]] = []
    for number in range(len(program.steps) + 1):
        through: set[int] = set()
        for other in waits.get(number, ()):
            if other == START:
                continue  # the jobs are queued after it
            if program.steps[other].stream == GATE:
                through.update(found[other])
            else:
                through.add(other)
        found.append(sorted(through))
    # Only real steps look at theirs.
    for number, step in enumerate(program.steps):
        if step.stream == GATE:
            found[number] = []
        else:
            found[number] = [
                w for w in found[number] if program.steps[w].stream != step.stream
            ]
    return found
