"""What the programs train on, and what they start from: NumPy's numbers, fixed."""

from __future__ import annotations

import numpy as np


class Initial:
    """Initial values, one after another: normal with a small deviation."""

    def __init__(self, seed: int, deviation: float = 0.1) -> None:
        self._random = np.random.RandomState(seed)
        self._deviation = deviation

    def __call__(self, *shape: int) -> np.ndarray:
        return self._random.normal(0.0, self._deviation, shape).astype(np.float32)


class Digits:
    """Pictures of ten classes, size x size: a pattern each, and noise on top."""

    def __init__(self, size: int = 8, seed: int = 7) -> None:
        self._random = np.random.RandomState(seed)
        self._patterns = self._random.uniform(0, 1, (10, size * size))

    def next_batch(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(pictures [count, size * size] in 0..1, one-hot classes [count, 10])."""
        labels = self._random.randint(0, 10, count)
        noise = self._random.uniform(-0.3, 0.3, (count, self._patterns.shape[1]))
        pictures = np.clip(self._patterns[labels] + noise, 0, 1)
        return pictures.astype(np.float32), np.eye(10, dtype=np.float32)[labels]


def noise(count: int, *shape: int, seed: int = 3) -> np.ndarray:
    """Normal numbers [count, ...], one entry a step."""
    random = np.random.RandomState(seed)
    return random.normal(0.0, 1.0, (count, *shape)).astype(np.float32)


def skip_grams(count: int, size: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """(words [count], neighbours [count, 1]): pairs that stand near each other."""
    random = np.random.RandomState(seed)
    words = random.randint(0, size, count)
    near = (words + random.randint(1, 3, count)) % size
    return words.astype(np.int32), near[:, None].astype(np.int32)
