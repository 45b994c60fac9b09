"""Initial values of variables: objects that, called with a shape, build a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph import build, constant
from gpugrad.graph.tensor import Tensor
from gpugrad.ops.fill import ones as ones_tensor
from gpugrad.ops.fill import zeros as zeros_tensor
from gpugrad.ops.random import random_normal as normal_tensor
from gpugrad.ops.random import random_uniform as uniform_tensor
from gpugrad.ops.random import truncated_normal as truncated_tensor

# The standard deviation of a normal distribution cut off at two of its own.
_TRUNCATED_DEVIATION = 0.87962566103423978


class Initializer:
    """Called with a shape and a dtype, builds the tensor of initial values."""

    dtype: DType = dtypes.float32

    def __call__(
        self, shape: Any, dtype: Any = None, partition_info: Any = None
    ) -> Tensor:
        kind = self.dtype if dtype is None else as_dtype(dtype).base_dtype
        return self.build(
            [int(n) for n in shapes.known(shapes.as_partial(shape))], kind
        )

    def build(self, shape: list[int], dtype: DType) -> Tensor:
        """The tensor, of a known shape."""
        raise TypeError(f"{type(self).__name__} does not say what to build.")


class Zeros(Initializer):
    """Zeros (empty strings, False)."""

    def __init__(self, dtype: Any = dtypes.float32) -> None:
        self.dtype = as_dtype(dtype)

    def build(self, shape: list[int], dtype: DType) -> Tensor:
        """Zeros of ``shape``."""
        return zeros_tensor(shape, dtype)


class Ones(Initializer):
    """All elements are 1."""

    def __init__(self, dtype: Any = dtypes.float32) -> None:
        self.dtype = as_dtype(dtype)

    def build(self, shape: list[int], dtype: DType) -> Tensor:
        """Ones of ``shape``."""
        return ones_tensor(shape, dtype)


class Constant(Initializer):
    """One number everywhere, or given values in C order; the last one is repeated
    to fill the shape.
    """

    def __init__(
        self, value: Any = 0, dtype: Any = dtypes.float32, verify_shape: bool = False
    ) -> None:
        self.value = value
        self.dtype = as_dtype(dtype)
        self.verify_shape = verify_shape

    def build(self, shape: list[int], dtype: DType) -> Tensor:
        """The values in ``shape``; ValueError if there are more than fit."""
        values = constant.to_array(self.value, dtype)
        if self.verify_shape and list(values.shape) != shape:
            raise TypeError(
                f"Expected Tensor's shape: {tuple(shape)}, got {values.shape}."
            )
        flat = values.reshape(-1)
        count = math.prod(shape)
        if flat.size > count:
            raise ValueError(
                f"Too many elements provided. Needed at most {count}, but received "
                f"{flat.size}"
            )
        filled = np.full(count, flat[-1] if flat.size else 0, dtype.np_dtype)
        filled[: flat.size] = flat
        return build.get_default_graph().convert(filled.reshape(shape), dtype)


class RandomUniform(Initializer):
    """Uniform between ``minval`` and ``maxval``."""

    def __init__(
        self,
        minval: float = -0.05,
        maxval: float = 0.05,
        seed: int | None = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed
        self.dtype = as_dtype(dtype)

    def build(self, shape: list[int], dtype: DType) -> Tensor:
        """Random values of ``shape``."""
        return uniform_tensor(shape, self.minval, self.maxval, dtype, seed=self.seed)


class RandomNormal(Initializer):
    """Normal, of ``mean`` and ``stddev``."""

    def __init__(
        self,
        mean: float = 0.0,
        stddev: float = 1.0,
        seed: int | None = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed
        self.dtype = as_dtype(dtype)

    def build(self, shape: list[int], dtype: DType) -> Tensor:
        """Random values of ``shape``."""
        return normal_tensor(shape, self.mean, self.stddev, dtype, seed=self.seed)


class TruncatedNormal(RandomNormal):
    """Normal, drawn again where further than two ``stddev`` from ``mean``."""

    def build(self, shape: list[int], dtype: DType) -> Tensor:
        """Random values of ``shape``."""
        return truncated_tensor(shape, self.mean, self.stddev, dtype, seed=self.seed)


class VarianceScaling(Initializer):
    """Random values whose variance is ``scale`` divided by the number of inputs
    ("fan_in"), of outputs ("fan_out"), or their mean ("fan_avg") of a layer.

    ``distribution``: "uniform", "truncated_normal" (or "normal"), or
    "untruncated_normal".
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        if scale <= 0.0:
            raise ValueError(
                f"Argument `scale` must be a positive float. Received: {scale}"
            )
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(
                "Argument `mode` should be one of ('fan_in', 'fan_out', 'fan_avg'). "
                f"Received: {mode}"
            )
        known = ("normal", "uniform", "truncated_normal", "untruncated_normal")
        if distribution not in known:
            raise ValueError(
                f"Argument `distribution` should be one of {known}. "
                f"Received: {distribution}"
            )
        self.scale, self.mode, self.distribution = scale, mode, distribution
        self.seed = seed
        self.dtype = as_dtype(dtype)

    def build(self, shape: list[int], dtype: DType) -> Tensor:
        """Random values of ``shape``."""
        fan_in, fan_out = fans(shape)
        size = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, size[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return uniform_tensor(shape, -limit, limit, dtype, seed=self.seed)
        deviation = math.sqrt(variance)
        if self.distribution == "untruncated_normal":
            return normal_tensor(shape, 0.0, deviation, dtype, seed=self.seed)
        deviation /= _TRUNCATED_DEVIATION
        return truncated_tensor(shape, 0.0, deviation, dtype, seed=self.seed)


def fans(shape: Sequence[int]) -> tuple[float, float]:
    """The numbers of inputs and outputs of a layer with weights of ``shape``."""
    if not shape:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    field = math.prod(shape[:-2])
    return float(shape[-2] * field), float(shape[-1] * field)


class Identity(Initializer):
    """The identity matrix times ``gain``; two dimensions only."""

    def __init__(self, gain: float = 1.0, dtype: Any = dtypes.float32) -> None:
        self.gain = gain
        self.dtype = as_dtype(dtype)

    def build(self, shape: list[int], dtype: DType) -> Tensor:
        """The matrix of ``shape``; ValueError unless it has two dimensions."""
        if len(shape) != 2:
            raise ValueError(
                "The tensor to initialize must be two-dimensional. Received "
                f"shape={shape}"
            )
        matrix = (self.gain * np.eye(shape[0], shape[1])).astype(dtype.np_dtype)
        return build.get_default_graph().convert(matrix, dtype)


def glorot_uniform(seed: int | None = None, dtype: Any = dtypes.float32) -> Initializer:
    """Uniform, scaled by the mean of inputs and outputs: get_variable's default."""
    return VarianceScaling(1.0, "fan_avg", "uniform", seed, dtype)


def glorot_normal(seed: int | None = None, dtype: Any = dtypes.float32) -> Initializer:
    """Truncated normal, scaled by the mean of inputs and outputs."""
    return VarianceScaling(1.0, "fan_avg", "truncated_normal", seed, dtype)


def he_uniform(seed: int | None = None, dtype: Any = dtypes.float32) -> Initializer:
    """Uniform, of variance 2 / inputs."""
    return VarianceScaling(2.0, "fan_in", "uniform", seed, dtype)


def he_normal(seed: int | None = None, dtype: Any = dtypes.float32) -> Initializer:
    """Truncated normal, of variance 2 / inputs."""
    return VarianceScaling(2.0, "fan_in", "truncated_normal", seed, dtype)


def lecun_uniform(seed: int | None = None, dtype: Any = dtypes.float32) -> Initializer:
    """Uniform, of variance 1 / inputs."""
    return VarianceScaling(1.0, "fan_in", "uniform", seed, dtype)


def lecun_normal(seed: int | None = None, dtype: Any = dtypes.float32) -> Initializer:
    """Truncated normal, of variance 1 / inputs."""
    return VarianceScaling(1.0, "fan_in", "truncated_normal", seed, dtype)
