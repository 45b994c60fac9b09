"""tf.nn's convolution functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.ops import rules, windows


def _padding(padding: Any, rank: int, data_format: str) -> tuple[str, tuple[int, ...]]:
    """The attributes padding and explicit_paddings of what a caller gave."""
    if padding is None:
        raise TypeError("Expected string for argument 'padding' not None.")
    if isinstance(padding, str):
        return padding.upper(), ()
    if len(padding) != rank + 2:
        raise ValueError(
            f"When padding is a list, it must be of size {rank + 2}. Received: "
            f"padding={padding} of size {len(padding)}"
        )
    pairs = [tuple(int(p) for p in pair) for pair in padding]
    batch = [pairs[0], pairs[1] if data_format.startswith("NC") else pairs[-1]]
    if any(p != (0, 0) for p in batch):
        raise ValueError(
            "Nonzero explicit padding in the batch and depth dimensions is not "
            f"supported: {padding}"
        )
    return "EXPLICIT", tuple(p for pair in pairs for p in pair)


def _attrs(
    rank: int, strides: Any, padding: Any, data_format: str, dilations: Any
) -> dict[str, Any]:
    layout = data_format or "NHWC"
    kind, explicit = _padding(padding, rank, layout)
    every = tuple(windows.one_for_each(strides, rank, layout, "strides"))
    gaps = tuple(windows.one_for_each(dilations or 1, rank, layout, "dilations"))
    attrs = {
        "strides": every,
        "padding": kind,
        "data_format": layout,
        "dilations": gaps,
    }
    if rank == 2:
        attrs["explicit_paddings"] = explicit
    return attrs


def conv2d(
    input: Any,
    filter: Any = None,
    strides: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool = True,
    data_format: str = "NHWC",
    dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
    filters: Any = None,
) -> Any:
    """The sum of products of a filter with each window of an image.

    Shapes:  input [batch, height, width, channels] (or channels second for "NCHW"),
             filter [height, width, channels, outputs]; the channels of the input may
             be a multiple of the filter's, which are then groups.
    ``strides`` and ``dilations``: one number, one for height and width, or one an
    axis. ``padding``: "SAME", "VALID", or a list of (before, after) for every axis.
    On a CPU, windows of 3 to 5 over 32 float32 channels or more go by Winograd's way,
    with errors up to 1e-5 of the results (root mean squares); float64 is summed plainly
    or, under large windows, by spectra, whose errors are those of sums.
    """
    filter = rules.one_of(filter, filters, "filter", "filters")
    attrs = _attrs(
        2, 1 if strides is None else strides, padding, data_format, dilations
    )
    return apply_op("Conv2D", input, filter, name=name, **attrs)


def conv3d(
    input: Any,
    filter: Any = None,
    strides: Any = None,
    padding: Any = None,
    data_format: str = "NDHWC",
    dilations: Any = (1, 1, 1, 1, 1),
    name: str | None = None,
    filters: Any = None,
) -> Any:
    """conv2d with one more axis: depth, height, width."""
    filter = rules.one_of(filter, filters, "filter", "filters")
    attrs = _attrs(
        3, 1 if strides is None else strides, padding, data_format, dilations
    )
    return apply_op("Conv3D", input, filter, name=name, **attrs)


def conv1d(
    value: Any = None,
    filters: Any = None,
    stride: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool = True,
    data_format: str | None = None,
    name: str | None = None,
    input: Any = None,
    dilations: Any = None,
) -> Any:
    """conv2d with one axis: value [batch, width, channels], "NWC" or "NCW"."""
    value = rules.one_of(value, input, "value", "input")
    layouts = {
        None: "NHWC",
        "NHWC": "NHWC",
        "NWC": "NHWC",
        "NCHW": "NCHW",
        "NCW": "NCHW",
    }
    if data_format not in layouts:
        raise ValueError(
            f'`data_format` must be "NWC" or "NCW". Received: data_format={data_format}'
        )
    layout = layouts[data_format]
    axis = -3 if layout == "NHWC" else -2
    with name_scope(name, "conv1d", [value, filters]) as scope:
        image = apply_op("ExpandDims", value, axis)
        kernel = apply_op("ExpandDims", filters, 0)
        steps = [1, *_spatial(stride, 1, layout)]
        gaps = [1, *_spatial(dilations or 1, 1, layout)]
        result = conv2d(
            image,
            kernel,
            steps,
            padding,
            data_format=layout,
            dilations=gaps,
            name=scope,
        )
        return apply_op("Squeeze", result, squeeze_dims=[axis])


def _spatial(value: Any, rank: int, layout: str) -> list[int]:
    """One number a spatial axis."""
    every = windows.one_for_each(value, rank, layout, "strides")
    return list(windows.spatial(every, layout)) if len(every) == rank + 2 else every


def convolution(
    input: Any,
    filter: Any = None,
    padding: Any = None,
    strides: Any = None,
    dilation_rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    filters: Any = None,
    dilations: Any = None,
) -> Any:
    """A convolution over 1, 2 or 3 axes, as many as ``input`` has between batch and
    channels."""
    given = rules.one_of(filter, filters, "filter", "filters")
    rate = rules.one_of(dilation_rate, dilations, "dilation_rate", "dilations")
    kernel: Any = convert_to_tensor(given, name="filter")
    x: Any = convert_to_tensor(input, name="input")
    rank = (x.ndim if x.ndim is not None else kernel.ndim) - 2
    if rank not in (1, 2, 3):
        raise ValueError(
            f"`input` must have 1, 2 or 3 spatial axes. Received: {rank} of {x}"
        )
    first = data_format is not None and data_format.startswith("NC")
    steps = 1 if strides is None else strides
    gaps = 1 if rate is None else rate
    with name_scope(name, "convolution", [input, kernel]) as scope:
        if rank == 1:
            layout = "NCW" if first else "NWC"
            return conv1d(
                x,
                kernel,
                steps,
                padding,
                data_format=layout,
                name=scope,
                dilations=gaps,
            )
        function = conv2d if rank == 2 else conv3d
        layout = ("NCHW", "NCDHW")[rank - 2] if first else ("NHWC", "NDHWC")[rank - 2]
        return function(
            x, kernel, steps, padding, data_format=layout, dilations=gaps, name=scope
        )


def atrous_conv2d(
    value: Any, filters: Any, rate: int, padding: str, name: str | None = None
) -> Any:
    """conv2d with ``rate - 1`` gaps between the elements of the filter."""
    return convolution(value, filters, padding, dilation_rate=[rate, rate], name=name)


def conv2d_transpose(
    value: Any = None,
    filter: Any = None,
    output_shape: Any = None,
    strides: Any = None,
    padding: Any = "SAME",
    data_format: str = "NHWC",
    name: str | None = None,
    input: Any = None,
    filters: Any = None,
    dilations: Any = None,
) -> Any:
    """The gradient of conv2d: from the shape of its output to that of its input.

    Shapes:  filter [height, width, outputs, channels]; ``output_shape`` is a list or a
             tensor.
    """
    value = rules.one_of(value, input, "value", "input")
    filter = rules.one_of(filter, filters, "filter", "filters")
    return _transpose(
        "Conv2DBackpropInput", "conv2d_transpose", 2, value, filter, output_shape,
        strides, padding, data_format, dilations, name,
    )  # fmt: skip


def conv3d_transpose(
    value: Any,
    filter: Any = None,
    output_shape: Any = None,
    strides: Any = None,
    padding: Any = "SAME",
    data_format: str = "NDHWC",
    name: str | None = None,
    input: Any = None,
    filters: Any = None,
    dilations: Any = None,
) -> Any:
    """conv2d_transpose with one more axis."""
    value = rules.one_of(value, input, "value", "input")
    filter = rules.one_of(filter, filters, "filter", "filters")
    return _transpose(
        "Conv3DBackpropInputV2", "conv3d_transpose", 3, value, filter, output_shape,
        strides, padding, data_format, dilations, name,
    )  # fmt: skip


def _transpose(
    op_type: str,
    default: str,
    rank: int,
    value: Any,
    filter: Any,
    output_shape: Any,
    strides: Any,
    padding: Any,
    data_format: str,
    dilations: Any,
    name: str | None,
) -> Any:
    if output_shape is None:
        raise ValueError(f"{default} needs an output_shape.")
    attrs = _attrs(
        rank, 1 if strides is None else strides, padding, data_format, dilations
    )
    with name_scope(name, default, [value, filter, output_shape]) as scope:
        if isinstance(output_shape, Sequence):
            output_shape = list(output_shape)
        return apply_op(op_type, output_shape, filter, value, name=scope, **attrs)


def depthwise_conv2d(
    input: Any,
    filter: Any = None,
    strides: Any = None,
    padding: Any = None,
    rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Any:
    """A filter of its own for each channel.

    Shapes:  filter [height, width, channels, multiplier]; the result has
             channels * multiplier channels.
    """
    gaps = rules.one_of(rate, dilations, "rate", "dilations")
    attrs = _attrs(2, strides, padding, data_format or "NHWC", gaps)
    with name_scope(name, "depthwise", [input, filter]) as scope:
        return apply_op("DepthwiseConv2dNative", input, filter, name=scope, **attrs)


def depthwise_conv2d_native(
    input: Any,
    filter: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
) -> Any:
    """depthwise_conv2d as one op."""
    attrs = _attrs(2, strides, padding, data_format, dilations)
    return apply_op("DepthwiseConv2dNative", input, filter, name=name, **attrs)


def separable_conv2d(
    input: Any,
    depthwise_filter: Any,
    pointwise_filter: Any,
    strides: Any,
    padding: Any,
    rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Any:
    """depthwise_conv2d, then a 1x1 conv2d that mixes its channels."""
    layout = data_format or "NHWC"
    filters = [depthwise_filter, pointwise_filter]
    with name_scope(name, "separable_conv2d", [input, *filters]) as scope:
        spread = depthwise_conv2d(
            input,
            depthwise_filter,
            strides,
            padding,
            rate,
            "depthwise",
            layout,
            dilations,
        )
        return conv2d(
            spread, pointwise_filter, 1, "VALID", data_format=layout, name=scope
        )
