"""Tables, JSON and a chart of measurements."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.driver import Result
from bench.peers import PEERS

WIDTH = 200
RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Where and with what the figures were made."""
    versions = {}
    for package in (
        "numpy",
        "tensorflow",
        "tensorflow-cpu",
        "jax",
        "torch",
        "autograd",
    ):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    from gpugrad.backends.numpy.backend import NumpyBackend

    return {
        "date": datetime.date.today().isoformat(),
        "processor": NumpyBackend().device_name,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "versions": versions,
    }


def duration(seconds: float) -> str:
    """With a unit and three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def by_workload(results: Sequence[Result]) -> dict[str, dict[str, Result]]:
    """Results by workload and peer, in the order in which they came."""
    found: dict[str, dict[str, Result]] = {}
    for result in results:
        found.setdefault(result.workload, {})[result.peer] = result
    return found


def _cell(result: Result, own: Result | None) -> str:
    if not result.rounds:
        return "failed"
    text = duration(result.median)
    if own is not None and own.rounds and result is not own:
        text += f" ({result.median / own.median:.2f})"
    return text + (" !" if result.note else "")


def line(results: Sequence[Result]) -> str:
    """One workload: its title, and under it every peer's cell."""
    own = next((r for r in results if r.peer == "gpugrad"), None)
    cells = [f"{r.peer} {_cell(r, own)}" for r in results]
    return "\n    ".join([results[0].title if results else "", ", ".join(cells)])


def table(results: Sequence[Result]) -> Table:
    """Medians, and in brackets each peer's time as a multiple of gpugrad's."""
    shown = Table(title="median time a call (peer / gpugrad)")
    names = [n for n in PEERS if any(r.peer == n for r in results)]
    shown.add_column("workload")
    for name in names:
        shown.add_column(name, justify="right")
    for row in by_workload(results).values():
        own = row.get("gpugrad")
        cells = []
        cells += [_cell(row[n], own) if n in row else "" for n in names]
        shown.add_row(next(iter(row.values())).title, *cells)
    return shown


def memory_table(results: Sequence[Result]) -> Table:
    """Peak memory of a call beyond what the imported library takes, in megabytes."""
    shown = Table(title="peak memory of a call beyond the library's own, MB")
    names = [n for n in PEERS if any(r.peer == n for r in results)]
    shown.add_column("workload")
    for name in names:
        shown.add_column(name, justify="right")
    for row in by_workload(results).values():
        cells = [f"{row[n].peak_kb / 1024:.0f}" if n in row else "" for n in names]
        shown.add_row(next(iter(row.values())).title, *cells)
    return shown


BEGIN, END = "<!-- the last run -->", "<!-- end of the last run -->"


def summary(rows: Sequence[dict[str, Any]], moved: dict[str, tuple[int, int]]) -> str:
    """A Markdown table of kept rows: best peer, ratio, bytes moved and least possible.

    ``moved``: by workload, in bytes.
    """
    lines = [
        "| workload | gpugrad | best peer | peer / gpugrad | MB moved | least |",
        "|---|---:|---|---:|---:|---:|",
    ]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["workload"], {})[row["peer"]] = row
    for name, peers in found.items():
        own = peers.pop("gpugrad", None)
        if own is None or not own["rounds"]:
            continue
        done = [r for r in peers.values() if r["rounds"] and not r["differs"] > 2e-3]
        best = min(done, key=lambda r: r["median"], default=None)
        cells = [own["title"], duration(own["median"])]
        if best is None:
            cells += ["", ""]
        else:
            ratio = best["median"] / own["median"]
            cells += [f"{best['peer']} {duration(best['median'])}", f"{ratio:.2f}"]
        cells += [f"{n / 1e6:.4g}" for n in moved.get(name, ())] or ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_summary(readme: Path, name: str, moved: dict[str, tuple[int, int]]) -> None:
    """Put the summary of the kept run ``name`` between the marks of a README."""
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    here = rows[-1]["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in here["versions"].items())
    heading = (
        f"{here['date']}: {here['processor']}, {here['cores']} cores, Python "
        f"{here['python']}, {versions}. Medians; above 1, gpugrad is faster than the "
        "best peer."
    )
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    table = f"{BEGIN}\n\n{heading}\n\n{summary(rows, moved)}\n\n{END}"
    readme.write_text(before + table + after, encoding="utf-8")


def show(results: Sequence[Result], console: Console) -> None:
    """Both tables, and every note."""
    console.print(table(results))
    wide = [r for r in results if r.workload.startswith("fan_in")]
    if wide:
        console.print(memory_table(wide))
    for result in results:
        if result.note:
            console.print(f"! {result.title}: {result.peer}: {result.note}")


def keep(results: Sequence[Result], name: str) -> list[Path]:
    """JSON, table and chart under bench/results; rows of earlier runs that were not
    measured again stay, each with the machine it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    here = machine()
    new = [{**r.as_json(), "machine": here} for r in results]
    measured = {(r.workload, r.peer) for r in results}
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        new = [r for r in old if (r["workload"], r["peer"]) not in measured] + new
    path.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")
    text = RESULTS / f"{name}.txt"
    with text.open("w", encoding="utf-8") as file:
        console = Console(file=file, width=WIDTH)
        console.print(json.dumps(here))
        show(results, console)
    picture = RESULTS / f"{name}.png"
    chart(results, picture, here)
    return [path, text, picture]


def chart(results: Sequence[Result], path: Path, here: dict[str, Any]) -> None:
    """Each peer's time as a multiple of gpugrad's, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = {
        name: row
        for name, row in by_workload(results).items()
        if "gpugrad" in row and row["gpugrad"].rounds and len(row) > 1
    }
    if not rows:
        return
    names = [n for n in PEERS if n != "gpugrad" and any(n in r for r in rows.values())]
    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(rows) + 1.6))
    for name in names:
        xs, ys = [], []
        for y, row in enumerate(rows.values()):
            result = row.get(name)
            if result is not None and result.rounds:
                xs.append(result.median / row["gpugrad"].median)
                ys.append(y)
        axes.plot(xs, ys, "o", label=name, markersize=6)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(
        range(len(rows)), [next(iter(r.values())).title for r in rows.values()]
    )
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("time / gpugrad's time (right of the line: gpugrad is faster)")
    axes.set_title(
        f"{here['processor']}, {here['cores']} cores, {here['date']}", fontsize=9
    )
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.3, -0.08), ncols=len(names), fontsize=8
    )
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
