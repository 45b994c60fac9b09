"""python -m bench: every workload, in gpugrad and in every peer that is installed.

On the CPU; with --gpu instead kernels and training steps on a GPU (bench/gpu).
"""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Sequence

from rich.console import Console

from bench import report
from bench.driver import Result, measure
from bench.peers import PEERS, installed
from bench.single import SINGLES
from bench.workloads import WORKLOADS


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "workloads", nargs="*", default=["*"], help="names or patterns (default: all)"
    )
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument(
        "--peers", default=",".join(PEERS), help="comma-separated names"
    )
    parser.add_argument("--rounds", type=int, default=11, help="batches of each peer")
    parser.add_argument("--name", help="of the files in bench/results (cpu or gpu)")
    parser.add_argument(
        "--gpu", action="store_true", help="measure a GPU, within eight minutes"
    )
    parser.add_argument(
        "--summary",
        action="store_true",
        help="afterwards, put a table into bench/README.md",
    )
    parser.add_argument("--dry", action="store_true", help="keep no files")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """1 if a peer failed or computed something else, 2 without a GPU."""
    options = _arguments(argv)
    if options.gpu:
        from bench.gpu.command import run

        return run(options.name or "gpu", options.dry)
    console = Console()
    wide = Console(width=max(console.width, report.WIDTH))
    chosen = [
        w
        for w in (*WORKLOADS, *SINGLES)
        if any(fnmatch.fnmatch(w.name, p) for p in options.workloads)
    ]
    if options.list:
        console.print(*[f"{w.name:32s}{w.title}" for w in chosen], sep="\n")
        return 0
    names = [n for n in options.peers.split(",") if n in PEERS and installed(n)]
    results: list[Result] = []
    with console.status("") as status:
        for workload in chosen:
            found = measure(workload, names, options.rounds, status.update)
            results += found
            console.print(report.line(found))
    report.show(results, wide)
    if not options.dry:
        for path in report.keep(results, options.name or "cpu"):
            console.print(f"kept {path}")
    if options.summary:
        _summarise(options.name or "cpu")
    return int(any(r.note for r in results))


def _summarise(name: str) -> None:
    from bench.peers.graph import traffic

    moved = {}
    for workload in WORKLOADS:
        found = traffic(workload)
        if found is not None:
            moved[workload.name] = (found, workload.least_bytes)
    report.write_summary(report.RESULTS.parent / "README.md", name, moved)


if __name__ == "__main__":
    raise SystemExit(main())
