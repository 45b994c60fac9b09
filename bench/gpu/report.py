"""The GPU's table, file and chart."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import report
from bench.gpu.measure import Row
from bench.report import duration

WIDTH = 160


def _rate(row: Row) -> str:
    if not row.median:
        return ""
    if row.flops:
        return f"{row.flops / row.median / 1e12:.3g} TFLOP/s"
    return f"{row.bytes / row.median / 1e9:,.0f} GB/s" if row.bytes else ""


def table(part: str, rows: Sequence[Row]) -> Table:
    """One part: a line for each measurement."""
    shown = Table(title=part)
    shown.add_column("what")
    for column in ("dtype", "library"):
        shown.add_column(column)
    for column in ("median", "rate", "of ceiling", "times gpugrad's"):
        shown.add_column(column, justify="right")
    shown.add_column("note")
    own = {(r.name, r.dtype): r for r in rows if r.library == "gpugrad"}
    for row in rows:
        ours = own.get((row.name, row.dtype))
        relative = ""
        if ours is not None and ours is not row and ours.median and row.median:
            relative = f"{row.median / ours.median:.2f}"
        ceiling = "" if row.of_ceiling is None else f"{row.of_ceiling:.0%}"
        time = duration(row.median) if row.median else "none"
        cells = (row.name, row.dtype, row.library, time, _rate(row), ceiling, relative)
        shown.add_row(*cells, row.note)
    return shown


def show(
    facts: dict[str, Any], rows: Sequence[Row], cut: Sequence[str], console: Console
) -> None:
    """The device, every part's table, and what was cut."""
    console.print(json.dumps(facts), soft_wrap=True)
    for part in dict.fromkeys(r.part for r in rows):
        console.print(table(part, [r for r in rows if r.part == part]))
    for line in cut:
        console.print(f"cut, for want of time: {line}")


def keep(
    facts: dict[str, Any], rows: Sequence[Row], cut: Sequence[str], name: str
) -> list[Path]:
    """JSON, table and chart in bench/results, instead of those that were there."""
    report.RESULTS.mkdir(exist_ok=True)
    facts = {"date": datetime.date.today().isoformat(), **facts}
    path, text, picture = (
        report.RESULTS / f"{name}.{kind}" for kind in ("json", "txt", "png")
    )
    whole = {"machine": facts, "rows": [r.as_json() for r in rows], "cut": list(cut)}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    with text.open("w", encoding="utf-8") as file:
        show(facts, rows, cut, Console(file=file, width=WIDTH))
    chart(facts, rows, picture)
    return [path, text, picture]


def chart(facts: dict[str, Any], rows: Sequence[Row], path: Path) -> None:
    """Of its ceiling, what each kernel reaches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [r for r in rows if r.of_ceiling is not None]
    lines = list(dict.fromkeys(f"{r.name}, {r.dtype}" for r in shown))
    figure, axes = pyplot.subplots(figsize=(10, 0.22 * len(lines) + 1.6))
    for library in dict.fromkeys(r.library for r in shown):
        mine = [r for r in shown if r.library == library]
        axes.plot(
            [r.of_ceiling for r in mine],
            [lines.index(f"{r.name}, {r.dtype}") for r in mine],
            "o", label=library, markersize=4,
        )  # fmt: skip
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlim(left=0)
    axes.set_yticks(range(len(lines)), lines, fontsize=6)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("part of what a copy (or a matrix product) reaches in this run")
    axes.set_title(f"{facts['device']}, {facts['date']}", fontsize=9)
    if shown:
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
