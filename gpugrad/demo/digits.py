"""The handwritten digits that the demo learns; data/README.md says where from."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

SIDE = 8
PIXELS = SIDE * SIDE
CLASSES = 10
HELD_OUT = 360  # of 1,797: a fifth, the same images whatever the seed
_INK = 16  # the darkest value of a pixel


@dataclass(frozen=True)
class Digits:
    """Images as rows of ``PIXELS`` numbers from 0 to 1, and the digit of each."""

    images: NDArray[np.float32]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


def load() -> tuple[Digits, Digits]:
    """The digits to train on, and those held out."""
    file = resources.files("gpugrad.demo").joinpath("data", "digits.csv.gz")
    text = gzip.decompress(file.read_bytes()).decode("ascii")
    table = np.array([line.split(",") for line in text.splitlines()], dtype=np.int32)
    # The file is ordered by writer: shuffle, or a few writers would be all held out.
    table = np.random.default_rng(0).permutation(table)
    images = (table[:, :PIXELS] / _INK).astype(np.float32)
    labels = np.ascontiguousarray(table[:, PIXELS])
    return (
        Digits(images[HELD_OUT:], labels[HELD_OUT:]),
        Digits(images[:HELD_OUT], labels[:HELD_OUT]),
    )


def minibatches(digits: Digits, size: int, seed: int) -> Iterator[Digits]:
    """Batches of exactly ``size`` digits without end, reshuffled after each pass.

    What is left over at the end of a pass waits for the next: with one shape there is
    one compiled plan.
    """
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(digits))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield Digits(digits.images[chosen], digits.labels[chosen])
