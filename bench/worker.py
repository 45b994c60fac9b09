"""One workload in one peer, in a process of its own: python -m bench.worker W P FILE.

It builds and warms up, writes the results of its first calls to FILE, and then times a
batch of calls for every line that it is sent. Between lines the driver stops it, so
that no thread of one peer spins while another is timed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.peers import Step
from bench.single import SINGLES, Single
from bench.workloads import GPU_STEPS, WORKLOADS, Workload

# Seconds that a batch takes at the least: far above the clock's and the loop's cost.
BATCH_S = 0.05
CHECKED_CALLS = 3

ALL: dict[str, Workload | Single] = {
    w.name: w for w in (*WORKLOADS, *GPU_STEPS, *SINGLES)
}


def make(name: str, peer: str) -> Step:
    """The workload's step in a peer."""
    workload = ALL[name]
    if isinstance(workload, Single):
        return workload.makers[peer]()
    return peers.maker(peer)(workload)


def as_array(value: Any) -> np.ndarray:
    """A result of any peer as a NumPy array; sparse gradients densely."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value, dtype=np.float64)


def status_kb(field: str) -> int:
    """A line of /proc/self/status in kilobytes; 0 where there is none."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def peak_kb_of(step: Step) -> int:
    """The peak of resident memory during one more call."""
    with contextlib.suppress(OSError):  # or else the peak so far, with compilation
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    step()
    return status_kb("VmHWM")


def batch(step: Step, calls: int, timed: bool) -> float:
    """Seconds a call."""
    if timed:
        return sum(step()[0] for _ in range(calls)) / calls
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def main(name: str, peer: str, file: str) -> None:
    """See the module."""
    workload = ALL[name]
    timed = isinstance(workload, Single) and workload.timed
    started = time.perf_counter()
    try:
        step = make(name, peer)
    except LookupError as error:
        print(json.dumps({"skip": str(error)}), flush=True)
        return
    before = status_kb("VmRSS")
    first = []
    for _ in range(1 if timed else CHECKED_CALLS):
        result: Any = step()
        result = result[1] if timed else result
        first += [as_array(value) for value in result]
    setup = time.perf_counter() - started
    np.savez(file, *first)
    once = max(batch(step, 1, timed), 1e-7)
    calls = max(1, round(BATCH_S / once))
    if calls > 1:
        once = batch(step, calls, timed)
        calls = max(1, round(BATCH_S / once))
    memory = peak_kb_of(step) - before
    print(json.dumps({"setup_s": setup, "peak_kb": memory, "calls": calls}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": batch(step, calls, timed)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
