"""Random programs here and in TensorFlow: python -m tests.oracle --help."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

from tests.oracle.draw import draw
from tests.oracle.known import reason
from tests.oracle.rows import ROWS
from tests.oracle.trial import against, ours, smallest, theirs, unoptimized


def main() -> int:
    """Draw, compare, shrink, print; 1 when anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--programs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1, help="of the first program")
    parser.add_argument(
        "--passes",
        type=int,
        default=3,
        help="every how many programs run without compiler passes as well",
    )
    parser.add_argument("--show", action="store_true", help="print every program")
    args = parser.parse_args()
    tf = tensorflow()
    expecting = theirs(tf)
    tally: Counter[str] = Counter()
    began = time.perf_counter()
    for seed in range(args.seed, args.seed + args.programs):
        program = draw(tf, seed, ROWS)
        if args.show:
            print(f"# seed {seed}\n{program.script()}")
        pairs = [("differ", expecting, ours)]
        if args.passes and seed % args.passes == 0:
            pairs.append(("differ without passes", unoptimized, ours))
        for label, one, other in pairs:
            outcome = against(one, program, other)
            if outcome.refused:
                tally["refused by TensorFlow"] += 1
            elif outcome.ill:
                tally["ill-conditioned"] += 1
            elif outcome.differences:
                small = smallest(outcome, one, other)
                why = reason(small.program, small.differences)
                tally[f"as known ({why})" if why else label] += 1
                if not why:
                    print(f"\n# seed {seed}: {label}\n{small.report}", flush=True)
        tally["programs"] += 1
    print(", ".join(f"{n} {what}" for what, n in sorted(tally.items())), end=", ")
    print(f"{time.perf_counter() - began:.0f} s")
    return 1 if any(what.startswith("differ") for what in tally) else 0


def tensorflow():
    """TensorFlow's version 1 module, quiet and with its plain kernels."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow.compat.v1


if __name__ == "__main__":
    sys.exit(main())
