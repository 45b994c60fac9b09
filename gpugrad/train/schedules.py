"""Learning rates that change with the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gpugrad.dtypes import DType
from gpugrad.graph import build
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Tensor


class _Schedule:
    """Numbers as tensors of the learning rate's dtype, under a name scope."""

    def __init__(self, learning_rate: Any, global_step: Any, name: str) -> None:
        if global_step is None:
            raise ValueError(f"global_step is required for {name}.")
        self.graph: Graph = build.graph_of(global_step, learning_rate)
        self.rate = build.convert_to_tensor(learning_rate, name="learning_rate")
        self.step = self.number(global_step)

    @property
    def dtype(self) -> DType:
        return self.rate.dtype

    def number(self, value: Any) -> Tensor:
        """``value`` in the learning rate's dtype."""
        if isinstance(value, (int, float)):
            return self.graph.convert(float(value), self.dtype)
        tensor = self.graph.convert(value)
        if tensor.dtype is self.dtype:
            return tensor
        cast: Tensor = self.graph.apply("Cast", tensor, DstT=self.dtype)
        return cast

    def periods(self, decay_steps: Any, staircase: bool) -> Tensor:
        """step / decay_steps; only whole ones with ``staircase``."""
        ratio = self.step / self.number(decay_steps)
        return self.graph.apply("Floor", ratio) if staircase else ratio


def exponential_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """learning_rate * decay_rate ** (global_step / decay_steps)."""
    with build.name_scope(name, "ExponentialDecay", [learning_rate, global_step]):
        s = _Schedule(learning_rate, global_step, "exponential_decay")
        return s.rate * s.number(decay_rate) ** s.periods(decay_steps, staircase)


def natural_exp_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """learning_rate * exp(-decay_rate * global_step / decay_steps)."""
    with build.name_scope(name, "ExponentialTimeDecay", [learning_rate, global_step]):
        s = _Schedule(learning_rate, global_step, "natural_exp_decay")
        exponent = -s.number(decay_rate) * s.periods(decay_steps, staircase)
        return s.rate * s.graph.apply("Exp", exponent)


def inverse_time_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """learning_rate / (1 + decay_rate * global_step / decay_steps)."""
    with build.name_scope(name, "InverseTimeDecay", [learning_rate, global_step]):
        s = _Schedule(learning_rate, global_step, "inverse_time_decay")
        return s.rate / (1.0 + s.number(decay_rate) * s.periods(decay_steps, staircase))


def polynomial_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    end_learning_rate: Any = 0.0001,
    power: Any = 1.0,
    cycle: bool = False,
    name: str | None = None,
) -> Tensor:
    """From learning_rate to end_learning_rate within decay_steps, as a power of what is
    left. With ``cycle`` the steps are counted up to the next multiple instead.
    """
    with build.name_scope(name, "PolynomialDecay", [learning_rate, global_step]):
        s = _Schedule(learning_rate, global_step, "polynomial_decay")
        end = s.number(end_learning_rate)
        steps = s.number(decay_steps)
        if cycle:
            rounds = s.graph.apply("Ceil", s.step / steps)
            steps = steps * s.graph.apply("Maximum", rounds, 1.0)
            step = s.step
        else:
            step = s.graph.apply("Minimum", s.step, steps)
        left = 1.0 - step / steps
        return (s.rate - end) * left ** s.number(power) + end


def cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    alpha: float = 0.0,
    name: str | None = None,
) -> Tensor:
    """From learning_rate down to alpha * learning_rate along half a cosine."""
    with build.name_scope(name, "CosineDecay", [learning_rate, global_step]):
        s = _Schedule(learning_rate, global_step, "cosine_decay")
        steps = s.number(decay_steps)
        done = s.graph.apply("Minimum", s.step, steps) / steps
        wave = 0.5 * (1.0 + s.graph.apply("Cos", done * math.pi))
        return s.rate * ((1.0 - alpha) * wave + alpha)


def piecewise_constant(
    x: Any, boundaries: Sequence[Any], values: Sequence[Any], name: str | None = None
) -> Tensor:
    """values[0] while x <= boundaries[0], then values[1], ...; the last one after all.

    Raises ValueError unless there is one value more than boundaries.
    """
    if len(boundaries) != len(values) - 1:
        raise ValueError(
            "The length of boundaries should be 1 less than the length of values: "
            f"{len(boundaries)} and {len(values)}."
        )
    with build.name_scope(name, "PiecewiseConstant", [x, *boundaries, *values]):
        graph = build.graph_of(x, *boundaries, *values)
        at = graph.convert(x)
        result = graph.convert(values[-1])
        for boundary, value in reversed(list(zip(boundaries, values))):
            here = graph.apply("LessEqual", at, boundary)
            result = graph.apply("SelectV2", here, value, result)
        return result
