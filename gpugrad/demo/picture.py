"""The picture that the demo leaves behind: how the loss fell, and what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gpugrad.demo.digits import SIDE, Digits
from gpugrad.files import written_whole

ROWS, COLUMNS = 4, 6
_SMOOTH = 25  # steps in the running mean of the loss
_RIGHT, _WRONG = "#1a7f37", "#cf222e"


def save(
    path: Path,
    losses: Sequence[float],
    digits: Digits,
    probabilities: NDArray[np.float32],
    title: str,
) -> None:
    """Write the picture as PNG: losses by step, and digits with their predictions.

    Digits that were taken for another come first. ``path`` is replaced in one piece or
    not at all.
    """
    # A Figure of our own, not pyplot's: no window system and no global state.
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.add_gridspec(1, 2, width_ratios=[5, 6])
    left, right = (figure.add_subfigure(place) for place in (grid[0, 0], grid[0, 1]))
    _plot_losses(left.subplots(), losses)
    _draw_digits(right.subplots(ROWS, COLUMNS).flat, digits, probabilities)
    right.suptitle("held-out digits: truth, prediction and its probability", size=9)

    with written_whole(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _plot_losses(axes: Axes, losses: Sequence[float]) -> None:
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color="0.8", linewidth=0.8, label="one batch")
    if len(losses) > _SMOOTH:
        mean = np.convolve(losses, np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")
        label = f"mean of {_SMOOTH}"
        axes.plot(steps[_SMOOTH - 1 :], mean, color="#0969da", label=label)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_digits(
    places: Sequence[Axes], digits: Digits, probabilities: NDArray[np.float32]
) -> None:
    guesses = probabilities.argmax(axis=1)
    wrong_first = np.argsort(guesses == digits.labels, kind="stable")
    for axes, index in zip(places, wrong_first, strict=False):
        guess, truth = int(guesses[index]), int(digits.labels[index])
        axes.imshow(digits.images[index].reshape(SIDE, SIDE), cmap="gray_r")
        axes.set_title(
            f"{truth} → {guess}  {probabilities[index, guess]:.0%}",
            color=_RIGHT if guess == truth else _WRONG,
            size=8,
        )
        axes.set_axis_off()
