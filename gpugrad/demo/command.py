"""What ``gpugrad demo`` does, from its options to the last line that it prints."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from gpugrad import config
from gpugrad.demo import digits, picture
from gpugrad.demo.classifier import Classifier
from gpugrad.runtime import devices

_REPORTS = 10  # lines of losses in a whole run


class DemoError(Exception):
    """The demo cannot run as asked; the message says what to change."""


def run(backend: str, steps: int, seed: int, batch: int, output: Path) -> None:
    """Train, test, print, and leave a picture at ``output``.

    What depends on nothing but the options goes to standard output first: with one
    seed and one backend, every line up to the accuracy is the same again.
    """
    training, held_out = digits.load()
    if batch > len(training):
        raise DemoError(
            f"--batch {batch}: there are {len(training)} digits to train on, so a "
            f"batch can hold from 1 to {len(training)}."
        )
    _check_writable(output)
    if backend != "auto":
        config.set_backend(backend)
    try:
        device = devices.backend().device_name
    except RuntimeError as error:
        raise DemoError(str(error)) from error

    classifier = Classifier(seed)
    losses: list[float] = []
    every = max(1, steps // _REPORTS)
    with _progress() as progress:
        bar = progress.add_task("training", total=steps, loss="", accuracy="")
        started = after_first = time.perf_counter()
        for score in classifier.train(training, steps, batch, seed):
            losses.append(score.loss)
            step = len(losses)
            if step == 1:
                after_first = time.perf_counter()
            if step % every == 0 or step == 1:
                print(
                    f"step {step:{len(str(steps))}}  loss {score.loss:.6f}  "
                    f"accuracy {score.accuracy:.4f}"
                )
            progress.update(
                bar,
                advance=1,
                loss=f"loss {score.loss:.4f}",
                accuracy=f"accuracy {score.accuracy:6.1%}",
            )
        finished = time.perf_counter()

    accuracy = classifier.score(held_out).accuracy
    print(f"held-out accuracy: {accuracy:.2%} of {len(held_out)} digits")
    if steps > 1:
        rate = (steps - 1) / (finished - after_first)
        print(
            f"steps per second:  {rate:,.0f} (the first, which compiles, took "
            f"{after_first - started:.3f} s)"
        )
    print(f"device:            {device}")
    picture.save(
        output,
        losses,
        held_out,
        classifier.probabilities(held_out.images),
        f"{accuracy:.2%} of {len(held_out)} held-out digits right after {steps} steps",
    )
    print(f"picture:           {output}")


def _check_writable(output: Path) -> None:
    """Raise DemoError now if the picture could not be written after the training."""
    if output.suffix.lower() != ".png":
        raise DemoError(f"--output {output}: the picture is a PNG; end it in .png.")
    if output.is_dir():
        raise DemoError(f"--output {output}: this is a folder; name a file in it.")
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise DemoError(
            f"--output {output}: cannot write into {output.parent} "
            f"({error.strerror}); name a file in a folder that you may write to."
        ) from error


def _progress() -> Progress:
    """A bar on standard error, so that standard output can be kept and compared."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[accuracy]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        # Lines printed while the bar moves go above it, unless they go elsewhere.
        redirect_stdout=sys.stdout.isatty(),
    )
