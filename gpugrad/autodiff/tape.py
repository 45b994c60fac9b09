"""GradientTape, which gpugrad has not, under its name."""

from __future__ import annotations

from typing import Any


class GradientTape:
    """An error that says what to use instead: gpugrad differentiates graphs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            "There is no GradientTape: gpugrad differentiates graphs, not what has "
            "run. Build y from x in a graph, or in a function under "
            "@gpugrad.function, and call gradients(y, x) there."
        )
