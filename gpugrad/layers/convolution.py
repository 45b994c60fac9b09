"""Convolutions over one, two and three axes, transposed and separable ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.graph.build import apply_op
from gpugrad.layers.base import WeightedLayer, as_function, fixed
from gpugrad.ops import conv_functions, static
from gpugrad.ops.pad import pad

# nn's name of each data format, by rank.
_FORMATS = {
    "channels_last": ("NWC", "NHWC", "NDHWC"),
    "channels_first": ("NCW", "NCHW", "NCDHW"),
}


def sizes(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """One positive int for each axis, from one number or from that many."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * rank
    if len(values) != rank or any(int(v) != v or v < 1 for v in values):
        raise ValueError(
            f"`{name}` must be a positive integer or {rank} of them, not {value!r}."
        )
    return tuple(int(v) for v in values)


def layout(data_format: str | None, rank: int) -> str:
    """nn's name of "channels_last" or "channels_first" for images of ``rank``."""
    chosen = data_format or "channels_last"
    if chosen not in _FORMATS:
        raise ValueError(
            '`data_format` must be "channels_last" or "channels_first", not '
            f"{data_format!r}."
        )
    return _FORMATS[chosen][rank - 1]


def padding_of(value: Any, *more: str) -> str:
    """A padding in capitals; ValueError for another."""
    known = ("VALID", "SAME", *more)
    if not isinstance(value, str) or value.upper() not in known:
        raise ValueError(
            f"`padding` must be one of {[p.lower() for p in known]}, not {value!r}."
        )
    return value.upper()


class Convolution(WeightedLayer):
    """activation(conv(inputs, kernel) + bias); Conv1D, Conv2D and Conv3D are this.

    Shapes:  inputs [batch, ...axes, channels], channels known (or [batch, channels,
             ...axes] with ``data_format="channels_first"``); kernel [*kernel_size,
             channels, filters]; the result has ``filters`` channels.
    ``kernel_size``, ``strides``, ``dilation_rate``: one int, or one an axis.
    ``padding``: "valid", "same"; for Conv1D also "causal": no element sees later ones.
    The arguments after these are those of WeightedLayer.
    """

    rank = 0

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = "channels_last",
        dilation_rate: Any = 1,
        *weighted: Any,
        **named: Any,
    ) -> None:
        super().__init__(*weighted, **named)
        rank = self.rank
        self.filters = int(filters)
        self.kernel_size = sizes(kernel_size, rank, "kernel_size")
        self.strides = sizes(strides, rank, "strides")
        self.dilation_rate = sizes(dilation_rate, rank, "dilation_rate")
        self.padding = padding_of(padding, *(["CAUSAL"] if rank == 1 else []))
        self._layout = layout(data_format, rank)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "`strides > 1` not supported in conjunction with `dilation_rate > 1`. "
                f"Received: strides={self.strides} and "
                f"dilation_rate={self.dilation_rate}"
            )

    @property
    def _channel_axis(self) -> int:
        return -1 if self._layout[-1] == "C" else -1 - self.rank

    def _channels(self, input_shape: Any) -> int:
        if input_shape.ndims is not None and input_shape.ndims != self.rank + 2:
            raise ValueError(
                f"Input 0 of layer {self.name} is incompatible with the layer: "
                f"expected ndim={self.rank + 2}, found ndim={input_shape.ndims}. Full "
                f"shape received: {input_shape}"
            )
        return fixed(input_shape, self._channel_axis, self.name)

    def build(self, input_shape: Any) -> None:
        """Make the kernel and the bias."""
        kernel = (*self.kernel_size, self._channels(input_shape), self.filters)
        self.add_weights(kernel, self.filters)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The layer of ``inputs``."""
        padding = self.padding
        if padding == "CAUSAL":
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            pairs = [[0, 0], [before, 0], [0, 0]]
            if self._channel_axis != -1:
                pairs = [[0, 0], [0, 0], [before, 0]]
            inputs, padding = pad(inputs, pairs), "VALID"
        outputs = conv_functions.convolution(
            inputs,
            self.kernel,
            padding,
            self.strides,
            self.dilation_rate,
            name=type(self).__name__,
            data_format=self._layout,
        )
        return self.finish(outputs, self._bias_format)

    @property
    def _bias_format(self) -> str:
        return "NHWC" if self._channel_axis == -1 else "NCHW"


class Conv1D(Convolution):
    __doc__ = Convolution.__doc__
    rank = 1


class Conv2D(Convolution):
    __doc__ = Convolution.__doc__
    rank = 2


class Conv3D(Convolution):
    __doc__ = Convolution.__doc__
    rank = 3


class SeparableConv2D(Convolution):
    """A depthwise convolution with ``depth_multiplier`` filters a channel, then a
    pointwise one that mixes the channels.

    The variables are depthwise_kernel [*kernel_size, channels, depth_multiplier],
    pointwise_kernel [1, 1, channels * depth_multiplier, filters] and bias. The other
    arguments are those of Conv2D; a kernel_... argument goes by depthwise_... and
    pointwise_...
    """

    rank = 2

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = "channels_last",
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = None,
        pointwise_initializer: Any = None,
        bias_initializer: Any = None,
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            trainable=trainable,
            name=name,
            **common,
        )
        self.depth_multiplier = depth_multiplier
        self._depthwise = (
            depthwise_initializer,
            depthwise_regularizer,
            depthwise_constraint,
        )
        self._pointwise = (
            pointwise_initializer,
            pointwise_regularizer,
            pointwise_constraint,
        )

    def build(self, input_shape: Any) -> None:
        """Make both kernels and the bias."""
        channels, spread = self._channels(input_shape), self.depth_multiplier
        first = (*self.kernel_size, channels, spread)
        second = (1, 1, channels * spread, self.filters)
        made = []
        for name, shape, (initializer, regularizer, constraint) in (
            ("depthwise_kernel", first, self._depthwise),
            ("pointwise_kernel", second, self._pointwise),
        ):
            made.append(
                self.add_weight(
                    name,
                    shape,
                    initializer=initializer,
                    regularizer=regularizer,
                    constraint=constraint,
                )
            )
        self.depthwise_kernel, self.pointwise_kernel = made
        if self.use_bias:
            self.bias = self.add_weight("bias", [self.filters], **self._bias_arguments)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The layer of ``inputs``."""
        steps = self.strides
        every = [1, *steps, 1] if self._channel_axis == -1 else [1, 1, *steps]
        spread = conv_functions.depthwise_conv2d(
            inputs,
            self.depthwise_kernel,
            every,
            self.padding,
            self.dilation_rate,
            "separable_conv2d/depthwise",
            self._layout,
        )
        outputs = conv_functions.convolution(
            spread,
            self.pointwise_kernel,
            "VALID",
            name="separable_conv2d",
            data_format=self._layout,
        )
        return self.finish(outputs, self._bias_format)


class _Transposed(Convolution):
    """The gradient of a convolution with respect to its input, as a layer.

    Shapes:  inputs as for Conv2D and Conv3D; kernel [*kernel_size, filters, channels];
             each axis grows by ``strides``, with "valid" padding also by what the
             kernel is larger than the stride.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = "channels_last",
        *weighted: Any,
        **named: Any,
    ) -> None:
        super().__init__(
            filters, kernel_size, strides, padding, data_format, 1, *weighted, **named
        )

    def build(self, input_shape: Any) -> None:
        """Make the kernel and the bias."""
        kernel = (*self.kernel_size, self.filters, self._channels(input_shape))
        self.add_weights(kernel, self.filters)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The layer of ``inputs``."""
        known = inputs._shape or (None,) * (self.rank + 2)
        dynamic: Any = static.shape_of(inputs) if None in known else None
        first = 2 if self._channel_axis != -1 else 1

        def extent(axis: int) -> Any:
            return dynamic[axis] if known[axis] is None else known[axis]

        grown = []
        for number, (size, step) in enumerate(zip(self.kernel_size, self.strides)):
            length = extent(first + number) * step
            if self.padding == "VALID":
                length = length + max(size - step, 0)
            grown.append(length)
        shape = [extent(0), *grown, self.filters]
        if first == 2:
            shape = [extent(0), self.filters, *grown]
        name = f"conv{self.rank}d_transpose"
        function = getattr(conv_functions, name)
        outputs = function(
            inputs,
            self.kernel,
            shape if dynamic is None else apply_op("Pack", shape, axis=0),
            self.strides,
            self.padding,
            self._layout,
        )
        return self.finish(outputs, self._bias_format)


class Conv2DTranspose(_Transposed):
    __doc__ = _Transposed.__doc__
    rank = 2


class Conv3DTranspose(_Transposed):
    __doc__ = _Transposed.__doc__
    rank = 3


conv1d = as_function(Conv1D)
conv2d = as_function(Conv2D)
conv3d = as_function(Conv3D)
conv2d_transpose = as_function(Conv2DTranspose)
conv3d_transpose = as_function(Conv3DTranspose)
separable_conv2d = as_function(SeparableConv2D)
