"""gpugrad's own figures over time: pytest bench --benchmark-save=NAME."""

from __future__ import annotations

from typing import Any

import pytest

from bench.single import SINGLES, Single
from bench.worker import make
from bench.workloads import WORKLOADS, Workload

# Those that take more than a second a call are left to ``python -m bench``.
_SLOW = ("fan_in", "100000", "10000", "hessian")

ALL = [w for w in (*WORKLOADS, *SINGLES) if not any(s in w.name for s in _SLOW)]


@pytest.mark.parametrize("workload", ALL, ids=lambda w: w.name)
def test_gpugrad(benchmark: Any, workload: Workload | Single) -> None:
    benchmark.group = workload.title
    step = make(workload.name, "gpugrad")
    step()
    benchmark(step)
