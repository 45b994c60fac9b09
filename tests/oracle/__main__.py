"""Random programs here and in TensorFlow: python -m tests.oracle --help."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from typing import Any

# Programs that one child works through: TensorFlow's memory grows with each graph.
_TURN = 200
# What a child says before each program, and of it.
_BEGINS, _COUNTS = "begins ", "counts "


def main() -> int:
    """Draw, compare, shrink, print; 1 when anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--programs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1, help="of the first program")
    parser.add_argument(
        "--passes",
        type=int,
        default=3,
        help="every how many programs run without compiler passes as well; 0: none",
    )
    parser.add_argument(
        "--record", action="store_true", help="keep TensorFlow's answers for the tests"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    seeds = range(args.seed, args.seed + args.programs)
    if args.child or args.record:
        (record if args.record else trials)(seeds, args.passes)
        return 0
    began = time.perf_counter()
    tally = supervise(args.seed, args.seed + args.programs, args.passes)
    print(", ".join(f"{n} {what}" for what, n in sorted(tally.items())), end=", ")
    print(f"{time.perf_counter() - began:.0f} s")
    return 1 if any(what.startswith("differ") for what in tally) else 0


def supervise(seed: int, stop: int, passes: int) -> Counter[str]:
    """Run the trials in a process of their own: some programs abort TensorFlow's."""
    tally: Counter[str] = Counter()
    while seed < stop:
        count = min(stop - seed, _TURN)
        options = ["--seed", seed, "--programs", count, "--passes", passes]
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.oracle", "--child", *map(str, options)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(_BEGINS):
                seed = int(line.removeprefix(_BEGINS)) + 1
            elif line.startswith(_COUNTS):
                tally[line.removeprefix(_COUNTS).strip()] += 1
            else:
                print(line, end="", flush=True)
        if child.wait() > 0:
            raise SystemExit(child.returncode)
        if child.returncode < 0:
            print(f"# seed {seed - 1}: TensorFlow died (signal {-child.returncode})")
            tally["aborted TensorFlow"] += 1
    return tally


def trials(seeds: range, passes: int) -> None:
    """The programs of these seeds, one after another."""
    tf = tensorflow()
    from tests.oracle.draw import draw
    from tests.oracle.rows import ROWS
    from tests.oracle.trial import ours, theirs, unoptimized

    expecting = theirs(tf)
    for seed in seeds:
        print(f"{_BEGINS}{seed}", flush=True)
        program = draw(tf, seed, ROWS)
        print(f"{_COUNTS}programs", flush=True)
        try_one(f"# seed {seed}: differ", program, expecting, ours)
        if passes and seed % passes == 0:
            label = f"# seed {seed}: differ without passes"
            try_one(label, program, unoptimized, ours)


def record(seeds: range, passes: int) -> None:
    """Keep the programs of these seeds, with TensorFlow's answers."""
    tf = tensorflow()
    from tests.oracle.draw import draw
    from tests.oracle.record import RECORDED, save
    from tests.oracle.rows import ROWS
    from tests.oracle.trial import theirs

    count = save([draw(tf, seed, ROWS) for seed in seeds], theirs(tf))
    print(f"{count} programs, {RECORDED.stat().st_size} bytes in {RECORDED}")


def try_one(label: str, program: Any, expecting: Any, found: Any) -> None:
    """Compare; print what differs and is not known to."""
    from tests.oracle.known import reason
    from tests.oracle.trial import against, smallest

    outcome = against(expecting, program, found)
    if outcome.refused:
        print(f"{_COUNTS}refused by TensorFlow")
    elif outcome.ill:
        print(f"{_COUNTS}ill-conditioned")
    elif outcome.differences:
        small = smallest(outcome, expecting, found)
        why = reason(small.program, small.differences)
        if why:
            print(f"{_COUNTS}as known ({why})")
        else:
            print(f"{_COUNTS}{label.partition(': ')[2]}")
            print(f"\n{label}\n{small.report(expecting, found)}", flush=True)


def tensorflow() -> Any:
    """TensorFlow's version 1 module, quiet and with its plain kernels."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow.compat.v1


if __name__ == "__main__":
    sys.exit(main())
