"""The run of `python -m bench --gpu`: parts in order, files after each."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console

from bench.gpu import cases, report
from bench.gpu.machine import Budget, Gpu, NoGpu
from bench.gpu.measure import Ceilings, Row, run_part
from bench.gpu.steps import run_steps

# Seconds for each part, in all less than LIMIT_S: a part also ends with the case that
# it is at.
PARTS = (
    ("ceilings", 20.0),
    ("elementwise", 50.0),
    ("rows", 60.0),
    ("reductions", 40.0),
    ("library calls", 70.0),
    ("training steps", 190.0),
)
LIMIT_S = 480
CASES: dict[str, Callable[[], Iterable[cases.Case]]] = {
    "elementwise": cases.elementwise,
    "rows": cases.rows,
    "reductions": cases.reductions,
    "library calls": cases.calls,
}


def run(name: str = "gpu", dry: bool = False, machine: Any = None) -> int:
    """0 if all results are right; 1 if one is not or failed; 2 without a GPU."""
    console = Console()
    budget = Budget(PARTS)
    try:
        machine = machine or Gpu()
    except NoGpu as error:
        print(f"python -m bench --gpu needs a GPU: {error}", file=sys.stderr)
        return 2
    # Something that hangs shows where, and does not keep the machine.
    faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=sys.__stderr__)
    try:
        return _run(name, dry, machine, budget, console)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _run(name: str, dry: bool, machine: Any, budget: Budget, console: Console) -> int:
    facts, rows = machine.facts(), list[Row]()
    ceilings = Ceilings(machine)
    wide = Console(width=max(console.width, report.WIDTH))
    with console.status("") as status:
        for part, _ in budget.seconds:
            if part == "ceilings":
                found: Iterable[Row] = ceilings.rows()
            elif part == "training steps":
                machine.backend.free_memory()
                found = run_steps(part, budget, status.update)
            else:
                found = run_part(
                    part, CASES[part](), machine, ceilings, budget, status.update
                )
            new = list(found)
            rows += new
            console.print(f"{part}: {len(new)} rows, {budget.left(part):.0f} s left")
            if not dry:  # what comes later may hang
                report.keep(facts, rows, budget.cut, name)
    report.show(facts, rows, budget.cut, wide)
    return int(any(r.note and not r.note.startswith(("not run", "cut")) for r in rows))
