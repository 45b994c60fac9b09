"""Runs workloads in all peers, in turn, and compares what they compute."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.single import Single
from bench.workloads import Workload

# float32 sums of a few million terms in another order, through a few training steps.
RELATIVE = 2e-3


@dataclass
class Result:
    """One workload in one peer. Times are seconds a call (or a unit of it)."""

    workload: str
    title: str
    peer: str
    median: float = 0.0
    best: float = 0.0
    worst: float = 0.0
    rounds: int = 0
    setup_s: float = 0.0
    peak_kb: int = 0
    differs: float = 0.0
    note: str = ""
    seconds: list[float] = field(default_factory=list, repr=False)

    def finish(self, per: int) -> None:
        """Statistics over the batches."""
        times = sorted(s / per for s in self.seconds)
        self.rounds = len(times)
        self.median, self.best, self.worst = (
            statistics.median(times),
            times[0],
            times[-1],
        )

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return {k: v for k, v in asdict(self).items() if k != "seconds"}


class Process:
    """A worker. It only runs until its answer was read, and while one is awaited."""

    def __init__(
        self, workload: str, peer: str, file: Path, device: str = "cpu"
    ) -> None:
        self._file = file
        command = [sys.executable, "-m", "bench.worker", workload, peer, str(file)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in close)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | peers.ENVIRONMENT[device],
        )

    def answer(self, within_s: float | None = None) -> dict[str, Any]:
        """The next line; RuntimeError with the last words if it died.

        After ``within_s`` seconds it is killed.
        """
        assert self._process.stdout is not None
        timer = threading.Timer(max(within_s or 0.0, 0.0), self._process.kill)
        if within_s is not None:
            timer.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):
                    self._process.send_signal(signal.SIGSTOP)
                    found: dict[str, Any] = json.loads(line)
                    return found
        finally:
            timer.cancel()
        self._errors.seek(0)
        last = [line for line in self._errors.read().splitlines() if line.strip()]
        raise RuntimeError(last[-1] if last else "the process ended")

    def time(self) -> float:
        """Seconds a call in one more batch."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        seconds: float = self.answer()["seconds"]
        return seconds

    def results(self) -> list[np.ndarray]:
        """What the first calls gave."""
        with np.load(self._file) as file:
            return [file[key] for key in file.files]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def _why_not(workload: Workload | Single, peer: str) -> str | None:
    if not peers.installed(peer):
        return "not installed"
    if isinstance(workload, Single):
        return None if peer in workload.makers else "no such thing"
    return workload.except_for.get(peer)


def difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest difference relative to each result's largest element."""
    if len(ours) != len(theirs):
        return float("inf")
    worst = 0.0
    for a, b in zip(ours, theirs):
        if a.size != b.size:
            return float("inf")
        scale = max(float(np.max(np.abs(a), initial=0.0)), 1e-6)
        gap = np.abs(a.reshape(-1) - b.reshape(-1))
        worst = max(worst, float(np.max(gap, initial=0.0)) / scale)
    return worst


def measure(
    workload: Workload | Single,
    names: Sequence[str],
    rounds: int,
    say: Callable[[str], None],
) -> list[Result]:
    """All peers of one workload, batch by batch in turn."""
    found: list[Result] = []
    running: list[tuple[Result, Process]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for peer in names:
                result = Result(workload.name, workload.title, peer)
                why = _why_not(workload, peer)
                if why is not None:
                    continue
                say(f"{workload.title}: {peer} sets up")
                process = Process(workload.name, peer, Path(folder, f"{peer}.npz"))
                try:
                    answer = process.answer()
                except RuntimeError as error:
                    process.close()
                    result.note = f"failed: {error}"[:160]
                    found.append(result)
                    continue
                if "skip" in answer:
                    process.close()
                    continue
                result.setup_s, result.peak_kb = answer["setup_s"], answer["peak_kb"]
                running.append((result, process))
            for turn in range(rounds):
                say(f"{workload.title}: round {turn + 1} of {rounds}")
                for result, process in running:
                    result.seconds.append(process.time())
            _compare(running)
        finally:
            for _, process in running:
                process.close()
    per = workload.per if isinstance(workload, Single) else 1
    for result, _ in running:
        result.finish(per)
        found.append(result)
    return found


def _compare(running: Sequence[tuple[Result, Process]]) -> None:
    if not running:
        return
    ours = running[0][1].results()
    for result, process in running[1:]:
        result.differs = difference(ours, process.results())
        if result.differs > RELATIVE:
            result.note = f"result differs by {result.differs:.1e}"
