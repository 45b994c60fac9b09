"""The command ``gpugrad``: ``gpugrad demo`` and ``gpugrad info``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from gpugrad import config, info
from gpugrad.version import VERSION

_DEMO_NEEDS = ("rich", "matplotlib")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments``, or the process's own; the exit status."""
    options = parser().parse_args(arguments)
    try:
        config.current()
    except ValueError as error:  # a GPUGRAD_* variable that says nothing known
        return _fail(str(error))
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # 128 + SIGINT, as shells report it
    return status


def _demo(options: argparse.Namespace) -> int:
    missing = [name for name in _DEMO_NEEDS if find_spec(name) is None]
    if missing:
        return _fail(
            f"the demo needs {' and '.join(missing)}: pip install 'gpugrad[demo]'"
        )
    from gpugrad.demo import command

    try:
        command.run(
            options.backend, options.steps, options.seed, options.batch, options.output
        )
    except command.DemoError as error:
        return _fail(str(error))
    return 0


def _info(options: argparse.Namespace) -> int:
    print(info.report())
    return 0


def _fail(message: str) -> int:
    print(f"gpugrad: error: {message}", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    """The options of ``gpugrad`` and of its commands."""
    top = argparse.ArgumentParser(
        prog="gpugrad",
        description="tf.gradients on today's GPUs, without TensorFlow.",
    )
    top.add_argument("--version", action="version", version=f"gpugrad {VERSION}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="train a classifier of handwritten digits",
        description="Train a classifier on 1,437 handwritten digits with gradients "
        "from gpugrad.gradients, test it on 360 others, and draw what it learned.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument(
        "--backend",
        choices=("auto", *config.BACKENDS),
        default="auto",
        help="what computes; auto: $GPUGRAD_BACKEND, else a GPU if one answers",
    )
    demo.add_argument("--steps", type=_positive, default=1000, help="batches to learn")
    demo.add_argument(
        "--seed", type=_seed, default=0, help="of the weights and of the batches"
    )
    demo.add_argument("--batch", type=_positive, default=64, help="digits in a batch")
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("gpugrad-demo.png"),
        help="where the picture goes",
    )
    demo.set_defaults(run=_demo)

    about = commands.add_parser(
        "info",
        help="versions, backends, devices, and what a GPU still needs",
        description="Print versions, backends, devices, and what a GPU still needs.",
    )
    about.set_defaults(run=_info)
    return top


def _positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _seed(text: str) -> int:
    """A seed that TensorFlow's int64 holds, for argparse."""
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number from 0 to {2**63 - 1}"
        )
    return int(text)
