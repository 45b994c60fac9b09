"""tf.nn's names for transposed convolutions and for the gradients of convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Tensor
from gpugrad.ops import rules
from gpugrad.ops.conv_functions import conv2d_transpose, conv3d_transpose
from gpugrad.ops.normalization import batch_normalization

# --- transposed convolutions ----------------------------------------------------------


def conv1d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str = "NWC",
    dilations: Any = None,
    name: str | None = None,
) -> Tensor:
    """The gradient of conv1d: from the shape of its output to that of its input.

    Shapes:  input [batch, width, channels], filters [width, outputs, channels].
    """
    if data_format not in ("NWC", "NCW", None):
        raise ValueError(f"data_format must be NWC or NCW, not {data_format!r}.")
    first = data_format == "NCW"
    axis = 2 if first else 1
    with name_scope(name, "conv1d_transpose", [input, filters]):
        x = apply_op("ExpandDims", convert_to_tensor(input), axis)
        w = apply_op("ExpandDims", convert_to_tensor(filters), 0)
        sizes = convert_to_tensor(output_shape)
        one = convert_to_tensor([1], sizes.dtype)
        sizes = apply_op("ConcatV2", [sizes[:axis], one, sizes[axis:]], 0)
        step = _one(strides, axis)
        gap = _one(dilations, axis)
        layout = "NCHW" if first else "NHWC"
        y = conv2d_transpose(
            x, w, sizes, [1, step], padding, layout, dilations=[1, gap]
        )
        return apply_op("Squeeze", y, squeeze_dims=[axis])


def _one(value: Any, axis: int) -> int:
    """The entry of the spatial axis of 1, 3 or no numbers."""
    if value is None:
        return 1
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    return int(given[0] if len(given) == 1 else given[axis])


def conv_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
) -> Tensor:
    """conv1d_transpose, conv2d_transpose or conv3d_transpose, by the output's rank."""
    sizes = convert_to_tensor(output_shape, name="output_shape")
    count = None if sizes._shape is None else sizes._shape[0]
    table: dict[Any, tuple[Any, str]] = {
        3: (conv1d_transpose, "NWC"),
        4: (conv2d_transpose, "NHWC"),
        5: (conv3d_transpose, "NDHWC"),
    }
    if count not in table:
        raise ValueError(
            f"output_shape must be a list of 3, 4 or 5 sizes, not of {count}."
        )
    function, layout = table[count]
    result: Tensor = function(
        input,
        filters,
        sizes,
        strides,
        padding,
        data_format or layout,
        dilations=dilations,
        name=name,
    )
    return result


def atrous_conv2d_transpose(
    value: Any,
    filters: Any,
    output_shape: Any,
    rate: int,
    padding: str,
    name: str | None = None,
) -> Tensor:
    """The gradient of atrous_conv2d: conv2d_transpose with gaps in the filter."""
    result: Tensor = conv2d_transpose(
        value, filters, output_shape, 1, padding, dilations=rate, name=name
    )
    return result


# --- gradients ------------------------------------------------------------------------


def _gradient(
    op_type: str,
    first: Any,
    second: Any,
    dy: Any,
    strides: Sequence[int],
    padding: Any,
    data_format: str,
    dilations: Sequence[int],
    name: str | None,
) -> Any:
    kind: Any = padding
    flat: tuple[int, ...] = ()
    if not isinstance(padding, str):
        kind, flat = "EXPLICIT", tuple(int(p) for pair in padding for p in pair)
    attrs: dict[str, Any] = {"explicit_paddings": flat} if flat else {}
    return apply_op(
        op_type,
        first,
        second,
        dy,
        strides=tuple(strides),
        padding=kind.upper(),
        data_format=data_format,
        dilations=tuple(dilations),
        name=name,
        **attrs,
    )


_ONES = (1, 1, 1, 1)


def conv2d_backprop_input(
    input_sizes: Any,
    filter: Any = None,
    out_backprop: Any = None,
    strides: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool = True,
    data_format: str = "NHWC",
    dilations: Sequence[int] = _ONES,
    name: str | None = None,
    filters: Any = None,
) -> Tensor:
    """The gradient of conv2d for its input, whose shape is ``input_sizes`` [4]."""
    filter = rules.one_of(filter, filters, "filter", "filters")
    return _gradient(
        "Conv2DBackpropInput", input_sizes, filter, out_backprop, strides, padding,
        data_format, dilations, name,
    )  # fmt: skip


def conv2d_backprop_filter(
    input: Any,
    filter_sizes: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    use_cudnn_on_gpu: bool = True,
    data_format: str = "NHWC",
    dilations: Sequence[int] = _ONES,
    name: str | None = None,
) -> Tensor:
    """The gradient of conv2d for its filter, whose shape is ``filter_sizes`` [4]."""
    return _gradient(
        "Conv2DBackpropFilter", input, filter_sizes, out_backprop, strides, padding,
        data_format, dilations, name,
    )  # fmt: skip


def conv3d_backprop_filter(
    input: Any,
    filter_sizes: Any,
    out_backprop: Any,
    strides: Any,
    padding: str,
    data_format: str = "NDHWC",
    dilations: Sequence[int] = (1, 1, 1, 1, 1),
    name: str | None = None,
) -> Tensor:
    """The gradient of conv3d for its filter, whose shape is ``filter_sizes`` [5]."""
    return _gradient(
        "Conv3DBackpropFilterV2", input, filter_sizes, out_backprop, strides, padding,
        data_format, dilations, name,
    )  # fmt: skip


def depthwise_conv2d_backprop_input(
    input_sizes: Any,
    filter: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    dilations: Sequence[int] = _ONES,
    name: str | None = None,
) -> Tensor:
    """The gradient of depthwise_conv2d for its input (see conv2d_backprop_input)."""
    return _gradient(
        "DepthwiseConv2dNativeBackpropInput", input_sizes, filter, out_backprop,
        strides, padding, data_format, dilations, name,
    )  # fmt: skip


def depthwise_conv2d_backprop_filter(
    input: Any,
    filter_sizes: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    dilations: Sequence[int] = _ONES,
    name: str | None = None,
) -> Tensor:
    """The gradient of depthwise_conv2d for its filter (see conv2d_backprop_filter)."""
    return _gradient(
        "DepthwiseConv2dNativeBackpropFilter", input, filter_sizes, out_backprop,
        strides, padding, data_format, dilations, name,
    )  # fmt: skip


# --- an old name of batch normalization -----------------------------------------------


def batch_norm_with_global_normalization(
    t: Any = None,
    m: Any = None,
    v: Any = None,
    beta: Any = None,
    gamma: Any = None,
    variance_epsilon: Any = None,
    scale_after_normalization: bool | None = None,
    name: str | None = None,
    input: Any = None,
    mean: Any = None,
    variance: Any = None,
) -> Tensor:
    """batch_normalization; ``gamma`` only with ``scale_after_normalization``."""
    x = rules.one_of(t, input, "t", "input")
    mean = rules.one_of(m, mean, "m", "mean")
    variance = rules.one_of(v, variance, "v", "variance")
    scale = gamma if scale_after_normalization else None
    result: Tensor = batch_normalization(
        x, mean, variance, beta, scale, variance_epsilon, name
    )
    return result
