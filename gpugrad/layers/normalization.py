"""Batch normalization, with moving averages for later use without batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.graph import build
from gpugrad.graph.build import apply_op
from gpugrad.graph.tensor import Tensor
from gpugrad.graph.variable import Variable
from gpugrad.layers.base import Layer, as_function, fixed
from gpugrad.layers.core import choose
from gpugrad.ops.cast import cast
from gpugrad.ops.fill import ones, zeros
from gpugrad.ops.initializers import Ones, Zeros
from gpugrad.ops.normalization import batch_normalization as normalized
from gpugrad.ops.normalization import fused_batch_norm
from gpugrad.ops.statistics import moments
from gpugrad.shapes import TensorShape


class BatchNormalization(Layer):
    """gamma * (inputs - mean) / sqrt(variance + epsilon) + beta, for each index of
    ``axis``.

    ``training`` (a bool or a boolean tensor, by default False): with the mean and
    variance of the batch, else with the moving averages of them. What moves these by
    1 - ``momentum`` are ops in the collection UPDATE_OPS: run them with each training
    step, through ``control_dependencies`` around ``minimize``.

    ``center``, ``scale``: False for no beta, no gamma. ``fused``: as the one op
    FusedBatchNormV3, by default where that is possible: four axes, and the channels
    the second or the last. It keeps the variance of a sample (divided by n - 1) as
    its average, as TensorFlow's does.

    Renormalization and virtual batches are not there.
    """

    def __init__(
        self,
        axis: Any = -1,
        momentum: Any = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = None,
        gamma_initializer: Any = None,
        moving_mean_initializer: Any = None,
        moving_variance_initializer: Any = None,
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        fused: bool | None = None,
        trainable: bool = True,
        virtual_batch_size: int | None = None,
        adjustment: Any = None,
        name: str | None = None,
        **common: Any,
    ) -> None:
        if renorm or virtual_batch_size is not None or adjustment is not None:
            raise ValueError(
                "batch_normalization has no renorm, virtual_batch_size or adjustment: "
                "leave them out."
            )
        super().__init__(trainable, name, **common)
        self.axis = list(axis) if isinstance(axis, Sequence) else [axis]
        self.momentum, self.epsilon = momentum, epsilon
        self.center, self.scale, self.fused = center, scale, fused
        self.beta: Any = None
        self.gamma: Any = None
        self._beta = (beta_initializer or Zeros(), beta_regularizer, beta_constraint)
        self._gamma = (gamma_initializer or Ones(), gamma_regularizer, gamma_constraint)
        self._moving = (
            moving_mean_initializer or Zeros(),
            moving_variance_initializer or Ones(),
        )

    def build(self, input_shape: TensorShape) -> None:
        """Make gamma, beta and the moving averages."""
        rank = input_shape.ndims
        if rank is None:
            raise ValueError("batch_normalization needs inputs of known rank.")
        self.axis = [axis % rank for axis in self.axis]
        extents = {
            axis: fixed(input_shape, axis - rank, self.name) for axis in self.axis
        }
        possible = rank == 4 and self.axis in ([1], [3])
        if self.fused and not possible:
            raise ValueError(
                "fused=True needs inputs with four axes and axis 1 or 3, not axis="
                f"{self.axis} of {rank}. Leave `fused` out."
            )
        self.fused = possible if self.fused is None else self.fused
        # The parameters of float16 are float32.
        half = self._dtype is not None and self._dtype.itemsize == 2
        dtype = dtypes.float32 if half else self._dtype
        shape = [extents[self.axis[0]]]
        if len(extents) > 1:
            shape = [extents.get(axis, 1) for axis in range(rank)]

        def made(name: str, arguments: Sequence[Any], trainable: bool = True) -> Any:
            initializer, regularizer, constraint = arguments
            return self.add_weight(
                name, shape, dtype, initializer, regularizer, trainable, constraint
            )

        if self.scale:
            self.gamma = made("gamma", self._gamma)
        if self.center:
            self.beta = made("beta", self._beta)
        mean, variance = self._moving
        self.moving_mean = made("moving_mean", (mean, None, None), False)
        self.moving_variance = made("moving_variance", (variance, None, None), False)
        self.built = True

    def call(self, inputs: Any, training: Any = False) -> Any:
        """The layer of ``inputs``."""
        how = self._fused if self.fused else self._composed
        outputs, mean, variance = how(inputs, training)
        if isinstance(training, (Tensor, Variable)) or training:
            self._move(self.moving_mean, mean, training)
            self._move(self.moving_variance, variance, training)
        return outputs

    def _fused(self, inputs: Any, training: Any) -> Any:
        dtype, shape = self.moving_mean.dtype, self.moving_mean.shape.as_list()
        gamma = self.gamma if self.scale else ones(shape, dtype)
        beta = self.beta if self.center else zeros(shape, dtype)
        layout = "NHWC" if self.axis == [3] else "NCHW"

        def of_batch() -> Any:
            return fused_batch_norm(
                inputs, gamma, beta, epsilon=self.epsilon, data_format=layout
            )

        def of_averages() -> Any:
            return fused_batch_norm(
                inputs, gamma, beta, self.moving_mean, self.moving_variance,
                self.epsilon, layout, is_training=False,
            )  # fmt: skip

        return choose(training, of_batch, of_averages)

    def _composed(self, inputs: Any, training: Any) -> Any:
        x = inputs
        if x.dtype is not self.moving_mean.dtype:
            x = cast(inputs, self.moving_mean.dtype)
        others = [axis for axis in range(x.ndim) if axis not in self.axis]

        def of_batch() -> Any:
            return moments(x, others, keep_dims=len(self.axis) > 1)

        def of_averages() -> Any:
            return self.moving_mean.value(), self.moving_variance.value()

        mean, variance = choose(training, of_batch, of_averages)
        shape = [1] * x.ndim
        shape[self.axis[0]] = inputs._shape[self.axis[0]]

        def spread(vector: Any) -> Any:
            if vector is None or len(self.axis) > 1 or self.axis == [x.ndim - 1]:
                return vector
            return apply_op("Reshape", vector, shape)

        outputs = normalized(
            x,
            spread(mean),
            spread(variance),
            spread(self.beta),
            spread(self.gamma),
            self.epsilon,
        )
        outputs.set_shape(inputs.shape)
        if outputs.dtype is not inputs.dtype:
            outputs = cast(outputs, inputs.dtype)
        return outputs, mean, variance

    def _move(self, average: Any, value: Any, training: Any) -> None:
        """Add the op that moves ``average`` towards ``value``, if training."""
        with build.name_scope("AssignMovingAvg") as scope:
            decay = build.convert_to_tensor(1.0 - self.momentum, average.dtype)
            zero = build.convert_to_tensor(0.0, average.dtype)
            step = choose(training, lambda: decay, lambda: zero)
            delta = apply_op("Mul", apply_op("Sub", average, value), step)
            update = average.assign_sub(delta, name=scope, read_value=False)
        self.add_update(update)


batch_normalization = as_function(BatchNormalization, "training")
