"""Training steps on the GPU, each library in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import peers
from bench.driver import RELATIVE, Process, difference
from bench.gpu.machine import Budget
from bench.gpu.measure import Row
from bench.workloads import GPU_STEPS, Workload

PEERS = ("gpugrad", "torch", "torch-compile", "jax")
# gpugrad's NumPy backend: all others are compared with it, and it is not timed.
_REFERENCE = "numpy"
_ROUNDS = 11


def run_steps(
    part: str,
    budget: Budget,
    say: Callable[[str], None],
    workloads: Sequence[Workload] = GPU_STEPS,
    names: Sequence[str] = PEERS,
    device: str = "gpu",
) -> Iterator[Row]:
    """Every workload in every peer that is installed and sees the GPU.

    All peers of a workload set up at the same time, since most of that is compiling;
    then their batches are timed in turn.
    """
    for workload in workloads:
        if not budget.allows(part, workload.title):
            continue
        say(f"{part}: {workload.title}")
        with budget.timing(part):
            yield from _in_all_peers(part, workload, names, device, budget)


def _in_all_peers(
    part: str, workload: Workload, names: Sequence[str], device: str, budget: Budget
) -> Iterator[Row]:
    rows: list[Row] = []
    running: list[tuple[Row, Process]] = []
    with tempfile.TemporaryDirectory() as folder:
        started = []
        try:
            for name in (_REFERENCE, *names):
                peer, where = (name, device)
                if name == _REFERENCE:
                    peer, where = "gpugrad", "cpu"
                if peers.installed(peer):
                    file = Path(folder, f"{name}.npz")
                    process = Process(workload.name, peer, file, where)
                    started.append((name, process))
            for name, process in started:
                row = Row(part, workload.title, "float32", name)
                rows.append(row)
                try:
                    answer = process.answer(budget.left(part))
                except RuntimeError as error:
                    row.note = f"failed: {error}"[:160]
                    if budget.left(part) <= 0:
                        budget.cut.append(f"{part}: {workload.title}, {name}")
                        row.note = "cut: no time was left to set up"
                    continue
                if "skip" in answer:
                    row.note = f"not run: {answer['skip']}"
                    continue
                running.append((row, process))
            _time(running, budget, part)
            _compare(running)
        finally:
            for _, process in started:
                process.close()
    yield from (r for r in rows if r.library != _REFERENCE or r.note)


def _time(running: Sequence[tuple[Row, Process]], budget: Budget, part: str) -> None:
    seconds: dict[str, list[float]] = {row.library: [] for row, _ in running}
    for turn in range(_ROUNDS):
        if turn and budget.left(part) <= 0:
            break
        for row, process in running:
            if row.library != _REFERENCE:
                seconds[row.library].append(process.time())
    for row, _ in running:
        if seconds[row.library]:
            row.timed(seconds[row.library])


def _compare(running: Sequence[tuple[Row, Process]]) -> None:
    if not running:
        return
    first = running[0][1].results()
    for row, process in running[1:]:
        row.differs = difference(first, process.results())
        if not row.differs <= RELATIVE:
            row.note = f"result differs by {row.differs:.1e}"
