"""dense, dropout and flatten."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.control.choice import cond
from gpugrad.graph.build import apply_op, convert_to_tensor
from gpugrad.graph.tensor import Tensor
from gpugrad.graph.variable import Variable
from gpugrad.layers.base import Layer, WeightedLayer, as_function, fixed
from gpugrad.ops import static
from gpugrad.ops.layers import dropout as dropout_op
from gpugrad.ops.layout import transpose
from gpugrad.ops.matmul import matmul, tensordot


def choose(training: Any, yes: Any, no: Any) -> Any:
    """``yes()`` or ``no()``, decided now if ``training`` is no tensor."""
    if not isinstance(training, (Tensor, Variable)):
        return yes() if training else no()
    training = convert_to_tensor(training)
    if training.dtype is not dtypes.bool_:
        training = apply_op("Cast", training, DstT=dtypes.bool_)
    return cond(training, yes, no)


class Dense(WeightedLayer):
    """activation(inputs @ kernel + bias), along the last axis of ``inputs``.

    Shapes:  inputs [..., n] with n known, kernel [n, units], result [..., units].
    The arguments after ``units`` are those of WeightedLayer.
    """

    def __init__(self, units: int, *weighted: Any, **named: Any) -> None:
        super().__init__(*weighted, **named)
        self.units = int(units)

    def build(self, input_shape: Any) -> None:
        """Make the kernel and the bias."""
        self.add_weights([fixed(input_shape, -1, "dense"), self.units], self.units)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The layer of ``inputs``."""
        if inputs.ndim is None or inputs.ndim <= 2:
            return self.finish(matmul(inputs, self.kernel))
        product = tensordot(inputs, self.kernel, [[inputs.ndim - 1], [0]])
        product.set_shape((*inputs._shape[:-1], self.units))
        return self.finish(product)


class Dropout(Layer):
    """While training, elements at random set to 0 and the others scaled up to keep the
    mean; else the inputs.

    ``rate``: the share that is dropped. ``training``: a bool or a boolean tensor; by
    default False. See nn.dropout for ``noise_shape``.
    """

    def __init__(
        self,
        rate: Any = 0.5,
        noise_shape: Any = None,
        seed: int | None = None,
        name: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(name=name, **common)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed

    def call(self, inputs: Any, training: Any = False) -> Any:
        """The layer of ``inputs``."""

        def dropped() -> Any:
            return dropout_op(
                inputs, noise_shape=self.noise_shape, seed=self.seed, rate=self.rate
            )

        return choose(training, dropped, lambda: apply_op("Identity", inputs))


class Flatten(Layer):
    """All axes but the first made one: [batch, ...] to [batch, n].

    ``data_format``: "channels_first" moves axis 1 to the end before.
    """

    def __init__(
        self, name: str | None = None, data_format: str = "channels_last", **common: Any
    ) -> None:
        super().__init__(name=name, **common)
        self.data_format = data_format

    def call(self, inputs: Any) -> Any:
        """The layer of ``inputs``."""
        rank = inputs.ndim
        if self.data_format == "channels_first" and rank is not None and rank > 2:
            inputs = transpose(inputs, [0, *range(2, rank), 1])
        shape = inputs._shape
        rest = None if shape is None else _product(shape[1:])
        if rest is not None:
            return apply_op("Reshape", inputs, [-1, rest])
        if shape is not None and shape[0] is not None:
            return apply_op("Reshape", inputs, [shape[0], -1])
        return apply_op("Reshape", inputs, [static.shape_of(inputs)[0], -1])


def _product(sizes: Any) -> int | None:
    """Of known sizes; None where a Reshape cannot be told it."""
    product = 1
    for size in sizes:
        if size is None:
            return None
        product *= size
    return product or None


dense = as_function(Dense)


def dropout(
    inputs: Any,
    rate: Any = 0.5,
    noise_shape: Any = None,
    seed: int | None = None,
    training: Any = False,
    name: str | None = None,
) -> Any:
    """Dropout, made and called once. ``training`` is a bool or a boolean tensor."""
    return Dropout(rate, noise_shape, seed, name)(inputs, training=training)


flatten = as_function(Flatten)
