"""Prints, for every group of benchmarks, the ratio of each peer to gpugrad."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """A table: group, gpugrad's median, each peer's median, peer / gpugrad."""
    session = getattr(config, "_benchmarksession", None)
    rows: dict[str, dict[str, float]] = defaultdict(dict)
    for bench in getattr(session, "benchmarks", ()):
        if bench.stats and bench.extra_info.get("library"):
            per = bench.extra_info.get("per", 1)
            rows[bench.group][bench.extra_info["library"]] = bench.stats.median / per
    if not rows:
        return
    terminalreporter.section("medians in microseconds; ratio = peer / gpugrad")
    for group, times in rows.items():
        own = times.pop("gpugrad", None)
        if own is None:
            continue
        line = f"{group:44s} gpugrad {own * 1e6:10.2f}"
        for library, time in sorted(times.items()):
            line += f" | {library} {time * 1e6:10.2f} ({time / own:6.2f}x)"
        terminalreporter.write_line(line)
