"""Sliding windows as views: what convolutions and pools are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gpugrad.kir.builder import Builder
from gpugrad.kir.space import Shape, View
from gpugrad.ops import rules

Dims = tuple[int | None, ...]


class Window(NamedTuple):
    """How a window slides, one entry a spatial axis; ``pads`` are (before, after).

    ``pads`` is None for SAME padding, which depends on the input's size.
    """

    sizes: Dims
    strides: Shape
    dilations: Shape
    pads: tuple[tuple[int, int], ...] | None


def spatial(values: Sequence[Any], data_format: str) -> tuple[Any, ...]:
    """The entries for the spatial axes, of a list with one entry an axis."""
    values = tuple(values)
    return values[2:] if data_format.startswith("NC") else values[1:-1]


def channels_last(data_format: str, rank: int) -> Shape | None:
    """The permutation that puts the channels last; None where they are."""
    if not data_format.startswith("NC"):
        return None
    return (0, *range(2, rank), 1)


def channels_first(data_format: str, rank: int) -> Shape | None:
    """The inverse of channels_last."""
    if not data_format.startswith("NC"):
        return None
    return (0, rank - 1, *range(1, rank - 1))


def permuted(values: Any, order: Shape | None) -> Any:
    """A shape or a view in another order of axes."""
    if order is None or values is None:
        return values
    if isinstance(values, View):
        return values.transpose(order)
    return tuple(values[i] for i in order)


def window_of(attrs: dict[str, Any], sizes: Dims) -> Window:
    """The window that a node's attributes describe; ValueError if they do not fit."""
    data_format, padding = attrs["data_format"], attrs["padding"]
    strides = spatial(attrs["strides"], data_format)
    dilations = spatial(attrs.get("dilations") or (1,) * (len(sizes) + 2), data_format)
    if any(s < 1 for s in strides) or any(d < 1 for d in dilations):
        raise ValueError(
            f"Strides and dilations must be at least 1, not {list(strides)} and "
            f"{list(dilations)}."
        )
    pads: tuple[tuple[int, int], ...] | None = None
    if padding == "VALID":
        pads = ((0, 0),) * len(sizes)
    elif padding == "EXPLICIT":
        flat = tuple(attrs["explicit_paddings"])
        pairs = tuple(zip(flat[::2], flat[1::2]))
        pads = spatial(pairs, data_format)
        if len(pairs) != len(sizes) + 2 or any(p < 0 for p in flat):
            raise ValueError(
                f"explicit_paddings must be {len(sizes) + 2} pairs, not {flat}."
            )
    elif padding != "SAME":
        raise ValueError(
            f"Attr 'padding' passed string '{padding}' not in: \"SAME\", \"VALID\", "
            '"EXPLICIT".'
        )
    return Window(sizes, strides, dilations, pads)


def extents(window: Window) -> Dims:
    """How far each window reaches, its gaps included."""
    return tuple(
        None if k is None else (k - 1) * d + 1
        for k, d in zip(window.sizes, window.dilations)
    )


def output_sizes(window: Window, sizes: Dims) -> Dims:
    """How many positions the window takes along each axis of an input."""
    out: list[int | None] = []
    for i, (n, reach, s) in enumerate(zip(sizes, extents(window), window.strides)):
        if n is None:
            out.append(None)
        elif window.pads is None:
            out.append(-(-n // s))
        elif reach is None:
            out.append(None)
        else:
            room = n + sum(window.pads[i])
            if room < reach:
                raise ValueError(
                    f"Negative dimension size caused by subtracting {reach} from "
                    f"{room}."
                )
            out.append((room - reach) // s + 1)
    return tuple(out)


def known(window: Window, sizes: Shape) -> tuple[tuple[int, int], ...]:
    """The paddings for an input of known sizes."""
    if window.pads is not None:
        return window.pads
    pads = []
    for n, reach, s in zip(sizes, extents(window), window.strides):
        assert reach is not None
        total = max((-(-n // s) - 1) * s + reach - n, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def padded(b: Builder, x: View, pads: Sequence[tuple[int, int]], value: Any) -> View:
    """``x`` (batch, spatial axes, channels) with ``value`` around it."""
    if not any(before or after for before, after in pads):
        return x
    around = ((0, 0), *pads, (0, 0))
    shape = tuple(n + p + q for n, (p, q) in zip(x.shape, around))
    out = b.fill(value, x.dtype, shape)
    b.copy(x, into=out.slice(tuple(p for p, _ in around), x.shape))
    return out


def slide(x: View, window: Window, count: Shape) -> View:
    """A view [batch, positions..., window..., channels] of padded ``x``."""
    steps = x.strides[1:-1]
    sizes: Any = window.sizes
    return View(
        x.buffer,
        (x.shape[0], *count, *sizes, x.shape[-1]),
        (
            x.strides[0],
            *(s * step for s, step in zip(window.strides, steps)),
            *(d * step for d, step in zip(window.dilations, steps)),
            x.strides[-1],
        ),
        x.offset,
    )


def unslide(
    b: Builder,
    y: View,
    window: Window,
    sizes: Shape,
    pads: Sequence[tuple[int, int]],
    fill: Any = 0,
) -> View:
    """The positions of ``y`` whose windows hold each input element.

    ``y`` is [batch, positions..., channels]; the result is a view [batch, sizes...,
    window..., channels], ``fill`` where a window does not start. Entry k of the
    window axes is the element's place in the window, counted from its end.
    """
    reach: Any = extents(window)
    lengths = tuple(n + r - 1 for n, r in zip(sizes, reach))
    spread = b.fill(fill, y.dtype, (y.shape[0], *lengths, y.shape[-1]))
    first, place, count = [], [], []
    for n, length, r, s, (before, _) in zip(
        y.shape[1:-1], lengths, reach, window.strides, pads
    ):
        # Position o starts at o * s, counted from the padded start.
        shift = before - (r - 1)
        low = max(0, -(-shift // s))
        high = min(n, -(-(length + shift) // s))
        first.append(low)
        place.append(low * s - shift)
        count.append(max(high - low, 0))
    inner = (y.shape[0], *count, y.shape[-1])
    if all(inner):
        source = y.slice((0, *first, 0), inner)
        target = spread.slice((0, *place, 0), inner, (1, *window.strides, 1))
        b.copy(source, into=target)
    steps = spread.strides[1:-1]
    window_sizes: Any = window.sizes
    return View(
        spread.buffer,
        (y.shape[0], *sizes, *window_sizes, y.shape[-1]),
        (
            spread.strides[0],
            *steps,
            *(d * step for d, step in zip(window.dilations, steps)),
            spread.strides[-1],
        ),
        0,
    )


def check_format(data_format: str, allowed: Sequence[str], op_type: str) -> None:
    """ValueError unless the data format is one of ``allowed``."""
    if data_format not in allowed:
        names = ", ".join(f'"{a}"' for a in allowed)
        raise ValueError(
            f"Attr 'data_format' of '{op_type}' Op passed string '{data_format}' not "
            f"in: {names}."
        )


def merged(sizes: Dims, given: Dims) -> Dims:
    """Sizes that are both; ValueError if they differ."""
    return tuple(rules.merge_dimensions(m, n) for m, n in zip(sizes, given))


def one_for_each(value: Any, count: int, data_format: str, what: str) -> list[int]:
    """``value`` (an int, one a spatial axis, or one an axis) for every axis."""
    values = (
        [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
    )
    if len(values) == 1:
        values = values * count
    if len(values) == count + 2:
        return values
    if len(values) != count:
        raise ValueError(
            f"{what} should be of length 1, {count} or {count + 2}. Received: "
            f"{what}={value} of length {len(values)}"
        )
    return [1, 1, *values] if data_format.startswith("NC") else [1, *values, 1]
