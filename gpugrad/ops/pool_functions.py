"""tf.nn's pooling functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.graph.build import apply_op, name_scope
from gpugrad.ops import rules, windows


def _attrs(
    rank: int, ksize: Any, strides: Any, padding: Any, data_format: str, explicit: bool
) -> dict[str, Any]:
    attrs = {
        "ksize": tuple(windows.one_for_each(ksize, rank, data_format, "ksize")),
        "strides": tuple(windows.one_for_each(strides, rank, data_format, "strides")),
        "data_format": data_format,
    }
    if isinstance(padding, str):
        return {**attrs, "padding": padding.upper()}
    if not explicit:
        raise ValueError(f'padding must be "SAME" or "VALID", not {padding!r}.')
    flat = tuple(int(p) for pair in padding for p in pair)
    return {**attrs, "padding": "EXPLICIT", "explicit_paddings": flat}


def _pool(
    kind: str,
    rank: int,
    x: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    default: str,
    name: str | None,
) -> Any:
    op_type = kind if rank == 2 else kind + "3D"
    layout = data_format or ("NHWC" if rank == 2 else "NDHWC")
    explicit = op_type == "MaxPool"
    attrs = _attrs(rank, ksize, strides, padding, layout, explicit)
    with name_scope(name, default, [x]) as scope:
        return apply_op(op_type, x, name=scope, **attrs)


def max_pool(
    value: Any = None,
    ksize: Any = None,
    strides: Any = None,
    padding: Any = None,
    data_format: str = "NHWC",
    name: str | None = None,
    input: Any = None,
) -> Any:
    """The maximum of each window of [batch, height, width, channels].

    ``ksize`` and ``strides``: one number, one for height and width, or one an axis.
    The first of several equal maxima in a window gets all of its gradient.
    """
    x = rules.one_of(value, input, "value", "input")
    return _pool("MaxPool", 2, x, ksize, strides, padding, data_format, "MaxPool", name)


def avg_pool(
    value: Any = None,
    ksize: Any = None,
    strides: Any = None,
    padding: Any = None,
    data_format: str = "NHWC",
    name: str | None = None,
    input: Any = None,
) -> Any:
    """The mean of each window (see max_pool), of the cells that are not padding."""
    x = rules.one_of(value, input, "value", "input")
    return _pool("AvgPool", 2, x, ksize, strides, padding, data_format, "AvgPool", name)


def max_pool2d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    name: str | None = None,
) -> Any:
    """max_pool under the name that TensorFlow 2 gives it."""
    return _pool(
        "MaxPool", 2, input, ksize, strides, padding, data_format, "MaxPool2d", name
    )


def avg_pool2d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    name: str | None = None,
) -> Any:
    """avg_pool under the name that TensorFlow 2 gives it."""
    return _pool(
        "AvgPool", 2, input, ksize, strides, padding, data_format, "AvgPool2D", name
    )


def max_pool3d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NDHWC",
    name: str | None = None,
) -> Any:
    """max_pool with one more axis."""
    return _pool(
        "MaxPool", 3, input, ksize, strides, padding, data_format, "MaxPool3D", name
    )


def avg_pool3d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NDHWC",
    name: str | None = None,
) -> Any:
    """avg_pool with one more axis."""
    return _pool(
        "AvgPool", 3, input, ksize, strides, padding, data_format, "AvgPool3D", name
    )


def max_pool1d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str = "NWC",
    name: str | None = None,
) -> Any:
    """max_pool with one axis."""
    return _pool1d("MaxPool", input, ksize, strides, padding, data_format, name)


def avg_pool1d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str = "NWC",
    name: str | None = None,
) -> Any:
    """avg_pool with one axis."""
    return _pool1d("AvgPool", input, ksize, strides, padding, data_format, name)


def _pool1d(
    kind: str, x: Any, ksize: Any, strides: Any, padding: Any, layout: str, name: Any
) -> Any:
    first = layout.startswith("NC")
    axis = 2 if first else 1

    def sizes(value: Any) -> list[int]:
        values = value if isinstance(value, Sequence) else [value]
        if len(values) == 3:
            values = values[2:] if first else values[1:2]
        return [1, int(values[0])]

    with name_scope(name, f"{kind}1d", [x]) as scope:
        image = apply_op("ExpandDims", x, axis)
        pooled = _pool(
            kind, 2, image, sizes(ksize), sizes(strides), padding,
            "NCHW" if first else "NHWC", kind, scope,
        )  # fmt: skip
        return apply_op("Squeeze", pooled, squeeze_dims=[axis])


def pool(
    input: Any,
    window_shape: Sequence[int],
    pooling_type: str,
    padding: str,
    dilation_rate: Any = None,
    strides: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Any:
    """ "MAX" or "AVG" pooling over 1, 2 or 3 axes, without gaps in the window."""
    gaps = rules.one_of(dilation_rate, dilations, "dilation_rate", "dilations")
    if gaps is not None and any(g != 1 for g in gaps):
        raise ValueError(f"pool() takes no gaps in its windows, not {gaps}.")
    kinds = {"MAX": "MaxPool", "AVG": "AvgPool"}
    if pooling_type not in kinds:
        raise ValueError(f'pooling_type must be "MAX" or "AVG", not {pooling_type!r}.')
    kind, rank = kinds[pooling_type], len(window_shape)
    steps = [1] * rank if strides is None else list(strides)
    default = "max_pool" if kind == "MaxPool" else "avg_pool"
    first = data_format is not None and data_format.startswith("NC")
    if rank == 1:
        layout = "NCW" if first else "NWC"
        return _pool1d(kind, input, window_shape, steps, padding, layout, name)
    return _pool(
        kind, rank, input, window_shape, steps, padding, data_format, default, name
    )
