"""Learning rates that change with the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gpugrad.dtypes import DType
from gpugrad.graph import build
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Tensor
from gpugrad.ops.random import random_normal


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
    values = [learning_rate, global_step]
    with build.name_scope(name, "ExponentialDecay", values) as scope:
        s = _Schedule(learning_rate, global_step, "exponential_decay")
        factor = s.number(decay_rate) ** s.periods(decay_steps, staircase)
        return s.graph.apply("Mul", s.rate, factor, name=scope)


def natural_exp_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """learning_rate * exp(-decay_rate * global_step / decay_steps)."""
    values = [learning_rate, global_step]
    with build.name_scope(name, "ExponentialDecay", values) as scope:
        s = _Schedule(learning_rate, global_step, "natural_exp_decay")
        exponent = -s.number(decay_rate) * s.periods(decay_steps, staircase)
        factor = s.graph.apply("Exp", exponent)
        return s.graph.apply("Mul", s.rate, factor, name=scope)


def inverse_time_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """learning_rate / (1 + decay_rate * global_step / decay_steps)."""
    values = [learning_rate, global_step]
    with build.name_scope(name, "InverseTimeDecay", values) as scope:
        s = _Schedule(learning_rate, global_step, "inverse_time_decay")
        grown = 1.0 + s.number(decay_rate) * s.periods(decay_steps, staircase)
        return s.graph.apply("RealDiv", s.rate, grown, name=scope)


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
    values = [learning_rate, global_step]
    with build.name_scope(name, "PolynomialDecay", values) as scope:
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
        above = (s.rate - end) * left ** s.number(power)
        return s.graph.apply("AddV2", above, end, name=scope)


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


def cosine_decay_restarts(
    learning_rate: Any,
    global_step: Any,
    first_decay_steps: Any,
    t_mul: float = 2.0,
    m_mul: float = 1.0,
    alpha: float = 0.0,
    name: str | None = None,
) -> Tensor:
    """Half cosines, one after the other (Loshchilov and Hutter, 2016).

    The first takes ``first_decay_steps``, each further one ``t_mul`` times as long and
    ``m_mul`` times as high; none goes below alpha * learning_rate.
    """
    with build.name_scope(name, "SGDRDecay", [learning_rate, global_step]) as scope:
        s = _Schedule(learning_rate, global_step, "cosine_decay_restarts")
        apply = s.graph.apply
        done = s.step / s.number(first_decay_steps)
        if t_mul == 1.0:
            restarts = apply("Floor", done)
            done = done - restarts
        else:
            ratio = s.number(t_mul)
            grown = 1.0 - done * (1.0 - ratio)
            restarts = apply("Floor", apply("Log", grown) / apply("Log", ratio))
            before = (1.0 - ratio**restarts) / (1.0 - ratio)
            done = (done - before) / ratio**restarts
        wave = 0.5 * s.number(m_mul) ** restarts
        wave = wave * (1.0 + apply("Cos", done * math.pi))
        return apply("Mul", s.rate, (1.0 - alpha) * wave + alpha, name=scope)


def _linear_cosine(
    s: _Schedule,
    decay_steps: Any,
    num_periods: Any,
    alpha: Any,
    beta: Any,
    noise: Any,
    scope: str,
) -> Tensor:
    """rate * ((alpha + line + noise) * cosine + beta)."""
    steps = s.number(decay_steps)
    step = s.graph.apply("Minimum", s.step, steps)
    line = (steps - step) / steps
    if noise is not None:
        line = line + noise(step)
    turns = 2.0 * s.number(num_periods) * step / steps
    wave = 0.5 * (1.0 + s.graph.apply("Cos", turns * math.pi))
    factor = (s.number(alpha) + line) * wave + s.number(beta)
    return s.graph.apply("Mul", s.rate, factor, name=scope)


def linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    num_periods: Any = 0.5,
    alpha: Any = 0.0,
    beta: Any = 0.001,
    name: str | None = None,
) -> Tensor:
    """learning_rate * ((alpha + what is left) * cosine + beta), with ``num_periods``
    of the cosine within decay_steps.
    """
    values = [learning_rate, global_step]
    with build.name_scope(name, "LinearCosineDecay", values) as scope:
        s = _Schedule(learning_rate, global_step, "linear_cosine_decay")
        return _linear_cosine(s, decay_steps, num_periods, alpha, beta, None, scope)


def noisy_linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    initial_variance: Any = 1.0,
    variance_decay: Any = 0.55,
    num_periods: Any = 0.5,
    alpha: Any = 0.0,
    beta: Any = 0.001,
    name: str | None = None,
) -> Tensor:
    """linear_cosine_decay() with normal noise of the variance
    initial_variance / (1 + step) ** variance_decay on what is left.
    """
    values = [learning_rate, global_step]
    with build.name_scope(name, "NoisyLinearCosineDecay", values) as scope:
        s = _Schedule(learning_rate, global_step, "noisy_linear_cosine_decay")

        def noise(step: Tensor) -> Tensor:
            falling = (1.0 + step) ** s.number(variance_decay)
            deviation = s.graph.apply("Sqrt", s.number(initial_variance) / falling)
            return random_normal([], 0.0, 1.0, dtype=s.dtype) * deviation

        return _linear_cosine(s, decay_steps, num_periods, alpha, beta, noise, scope)


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
