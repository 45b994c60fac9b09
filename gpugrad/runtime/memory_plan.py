"""The memory plan of a Program for people: as text, and as a picture."""

from __future__ import annotations

import os
from typing import NamedTuple

from gpugrad.kir.program import Program


class Life(NamedTuple):
    """Where a buffer lies in the arena, and the first and last step that touch it."""

    number: int
    offset: int
    size: int
    first: int
    last: int


def lives(program: Program) -> list[Life]:
    """Every buffer of the arena, in the order of the steps that first write them."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    size: dict[int, int] = {}
    for index, step in enumerate(program.steps):
        for view in (*step.reads, *step.writes):
            buffer = view.buffer
            if buffer.id in program.offsets:
                first.setdefault(buffer.id, index)
                last[buffer.id] = index
                size[buffer.id] = buffer.size * buffer.dtype.size
    for commit in program.commits:
        if commit.view.buffer.id in first:
            last[commit.view.buffer.id] = len(program.steps)
    return [
        Life(n, program.offsets[n], size[n], index, last[n])
        for n, index in first.items()
    ]


def text(program: Program) -> str:
    """One line a buffer: place, bytes, and the steps during which it is alive."""
    found = lives(program)
    together = sum(life.size for life in found)
    lines = [f"# arena of {program.arena_bytes:,} bytes for {together:,} of buffers"]
    for number, offset, size, first, last in found:
        end = "the end" if last == len(program.steps) else f"step {last}"
        line = f"temp{number} at {offset}: {size:,} bytes, step {first} to {end}"
        old = program.in_place.get(number)
        lines.append(line if old is None else f"{line}, in place of temp{old}")
    return "\n".join(lines)


def draw(program: Program, path: str | os.PathLike[str]) -> None:
    """A picture of the arena as a PNG file: steps to the right, bytes upwards.

    Raises ImportError, naming the extra, without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Drawing the memory plan needs matplotlib. Install it with: "
            "pip install 'gpugrad[demo]'."
        ) from error
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.add_subplot()
    for place, (number, offset, size, first, last) in enumerate(lives(program)):
        width = last - first + 1
        color = f"C{place % 10}"
        axes.broken_barh(
            [(first, width)], (offset, size), facecolor=color, edgecolor="black"
        )
        if size > program.arena_bytes / 40:
            axes.text(
                first + width / 2,
                offset + size / 2,
                f"temp{number}",
                ha="center",
                va="center",
                fontsize=7,
            )
    axes.set_xlim(0, max(len(program.steps), 1))
    axes.set_ylim(0, max(program.arena_bytes, 1))
    axes.set_xlabel("step")
    axes.set_ylabel("bytes of the arena")
    FigureCanvasAgg(figure)
    figure.savefig(os.fspath(path), format="png")
