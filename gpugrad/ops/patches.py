"""Windows that are walked cell by cell: patches, dilation, pooling with positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import as_dtype
from gpugrad.graph import constant
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules, windows
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import shape_of
from gpugrad.ops.windows import Window

family = OpFamily()

# (sizes, strides, dilations, pads, positions) of a window, hashable for a Call.
_Walk = tuple[Any, Any, Any, Any, Any]


def _walk(window: Window, sizes: Any) -> _Walk:
    pads = windows.known(window, sizes)
    count = windows.output_sizes(window, sizes)
    return window.sizes, window.strides, window.dilations, pads, count


def _cells(walk: _Walk) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Each cell's number in its window, row by row, and its slice of padded images."""
    sizes, strides, dilations, _, count = walk
    for number, place in enumerate(product(*[range(n) for n in sizes])):
        starts = [p * d for p, d in zip(place, dilations)]
        ends = [b + (n - 1) * s + 1 for b, n, s in zip(starts, count, strides)]
        yield number, (slice(None), *map(slice, starts, ends, strides))


def _around(xp: Any, x: Any, walk: _Walk, value: Any, dtype: Any) -> Any:
    """``x`` with ``value`` around it."""
    pads = walk[3]
    shape = [n + p + q for n, (p, q) in zip(x.shape[1:-1], pads)]
    out = xp.full((x.shape[0], *shape, x.shape[-1]), value, dtype)
    out[_inner(walk, x.shape)] = x
    return out


def _inner(walk: _Walk, shape: Sequence[int]) -> tuple[Any, ...]:
    return (
        slice(None),
        *[slice(p, p + n) for n, (p, _) in zip(shape[1:-1], walk[3])],
    )


def _window(attrs: dict[str, Any], sizes: Any, strides: str, rates: str) -> Window:
    """The window of NHWC images that a node's attributes describe."""
    given = (tuple(attrs[strides]), tuple(attrs[rates]))
    if any(len(v) != 4 or v[0] != 1 or v[3] != 1 for v in given):
        raise ValueError(
            "Strides and rates must be four numbers, 1 over batch and channels, not "
            f"{list(given[0])} and {list(given[1])}."
        )
    described = {
        "data_format": "NHWC",
        "padding": attrs["padding"],
        "strides": given[0],
        "dilations": given[1],
    }
    return windows.window_of(described, sizes)


def _positions(window: Window, shape: Any) -> Any:
    return windows.output_sizes(window, shape[1:3])


# --- ExtractImagePatches --------------------------------------------------------------
# Its adjoint is an op of gpugrad's own, so that a gradient costs what a patch does.

_PATCHES = {"ksizes": ..., "strides": ..., "rates": ..., "padding": ...}


def _patch_window(attrs: dict[str, Any]) -> Window:
    sizes = tuple(attrs["ksizes"])
    if len(sizes) != 4 or sizes[0] != 1 or sizes[3] != 1 or min(sizes) < 1:
        raise ValueError(f"ksizes must be [1, rows, columns, 1], not {list(sizes)}.")
    return _window(attrs, sizes[1:3], "strides", "rates")


def _infer_patches(op: Any) -> Any:
    (x,) = op.inputs
    rules.require_rank(x._shape, 4)
    window = _patch_window(op.attrs)
    shape = (None,) * 4 if x._shape is None else x._shape
    cells = prod(window.sizes)  # type: ignore[arg-type]
    depth = None if shape[3] is None else shape[3] * cells
    return ((x.dtype, (shape[0], *_positions(window, shape), depth)),)


def _lower_patches(b: Builder, site: Site) -> View:
    (x,) = site.inputs
    window = _patch_window(site.attrs)
    count = _positions(window, x.shape)
    around = windows.padded(b, x, windows.known(window, x.shape[1:3]), 0)
    seen = windows.slide(around, window, count)
    depth = prod(window.sizes) * x.shape[3]  # type: ignore[arg-type]
    return b.reshape(seen, (x.shape[0], *count, depth))


def _spread_patches(xp: Any, outs: Any, dy: Any, walk: _Walk) -> None:
    (out,) = outs
    whole = _around(xp, xp.zeros(out.shape, out.dtype), walk, 0, out.dtype)
    depth = out.shape[3]
    for number, cell in _cells(walk):
        whole[cell] += dy[..., number * depth : (number + 1) * depth]
    out[...] = whole[_inner(walk, out.shape)]


def _infer_spread(op: Any) -> Any:
    sizes, dy = op.inputs
    rules.require_rank(dy._shape, 4)
    _patch_window(op.attrs)
    shape = constant.sizes(sizes)
    return ((dy.dtype, (None,) * 4 if shape is None else shape),)


def _lower_spread(b: Builder, site: Site) -> View:
    shape, dy = b.integers(site.inputs[0]), site.inputs[1]
    walk = _walk(_patch_window(site.attrs), shape[1:3])
    wanted = (shape[0], *walk[4], shape[3] * prod(walk[0]))
    if dy.shape != wanted:
        raise ValueError(f"The gradient has shape {dy.shape}, the patches {wanted}.")
    (out,) = b.call(
        "spread_patches", _spread_patches, [dy], [(dy.dtype, shape)], walk=walk
    )
    return out


_SIZES = Input("input_sizes", attr=None, dtype=dtypes.int32, static=True)
family.op(
    "ExtractImagePatches",
    "images",
    attrs=_PATCHES,
    infer=_infer_patches,
    lower=_lower_patches,
)
family.op(
    "ExtractImagePatchesGrad",
    (_SIZES, Input("grads")),
    attrs=_PATCHES,
    infer=_infer_spread,
    lower=_lower_spread,
)


@family.gradient("ExtractImagePatches")
def _patches_grad(op: Any, dy: Tensor) -> Any:
    attrs = {name: op.attrs[name] for name in _PATCHES}
    sizes = shape_of(op.inputs[0])
    return op.graph.apply("ExtractImagePatchesGrad", sizes, dy, **attrs)


@family.gradient("ExtractImagePatchesGrad")
def _spread_grad(op: Any, dx: Tensor) -> Any:
    attrs = {name: op.attrs[name] for name in _PATCHES}
    return [None, op.graph.apply("ExtractImagePatches", dx, **attrs)]


def extract_image_patches(
    images: Any,
    ksizes: Any = None,
    strides: Any = None,
    rates: Any = None,
    padding: str | None = None,
    name: str | None = None,
    sizes: Any = None,
) -> Tensor:
    """What a window sees at each of its positions, as channels.

    Shapes:  images [batch, height, width, channels]; the result is [batch, positions
             down, positions across, rows * columns * channels].
    ``ksizes``: [1, rows, columns, 1]; ``strides`` and ``rates`` (the gaps between the
             cells) likewise. ``padding``: "VALID", or "SAME" with zeros around.
    """
    return apply_op(
        "ExtractImagePatches",
        images,
        ksizes=tuple(rules.one_of(ksizes, sizes, "ksizes", "sizes")),
        strides=tuple(strides),
        rates=tuple(rates),
        padding=str(padding).upper(),
        name=name,
    )


def extract_patches(
    images: Any,
    sizes: Any,
    strides: Any,
    rates: Any,
    padding: str,
    name: str | None = None,
) -> Tensor:
    """extract_image_patches under its name in TensorFlow 2."""
    return extract_image_patches(images, sizes, strides, rates, padding, name)


# --- Dilation2D -----------------------------------------------------------------------

_DILATION = {"strides": ..., "rates": ..., "padding": ...}


def _dilation_window(op: Any) -> tuple[Window, Any]:
    x, w = op.inputs[:2]
    rules.require_dtype(op, 0, rules.FLOATS)
    rules.require_rank(x._shape, 4)
    rules.require_rank(w._shape, 3)
    shape = (None,) * 4 if x._shape is None else x._shape
    sizes = (None,) * 3 if w._shape is None else w._shape
    depth = rules.merge_dimensions(shape[3], sizes[2])
    return _window(op.attrs, sizes[:2], "strides", "rates"), (*shape[:3], depth)


def _infer_dilation(op: Any) -> Any:
    window, shape = _dilation_window(op)
    return ((op.inputs[0].dtype, (shape[0], *_positions(window, shape), shape[3])),)


def _highest(xp: Any, x: Any, w: Any, walk: _Walk) -> tuple[Any, Any]:
    """The greatest of image plus filter in each window, and its first cell."""
    around = _around(xp, x, walk, -xp.inf, xp.promote_types(x.dtype, xp.float32))
    filters = w.reshape(-1, w.shape[-1])
    best = place = None
    for number, cell in _cells(walk):
        value = around[cell] + filters[number]
        if best is None:
            best, place = value, xp.zeros(value.shape, xp.int32)
            continue
        above = value > best
        place = xp.where(above, number, place)
        best = xp.maximum(best, value)
    return best, place


def _dilate(xp: Any, outs: Any, x: Any, w: Any, walk: _Walk) -> None:
    outs[0][...] = _highest(xp, x, w, walk)[0]


def _to_input(xp: Any, outs: Any, x: Any, w: Any, dy: Any, walk: _Walk) -> None:
    (out,) = outs
    place = _highest(xp, x, w, walk)[1]
    whole = _around(xp, xp.zeros(out.shape, dy.dtype), walk, 0, dy.dtype)
    for number, cell in _cells(walk):
        whole[cell] += xp.where(place == number, dy, 0)
    out[...] = whole[_inner(walk, out.shape)]


def _to_filter(xp: Any, outs: Any, x: Any, w: Any, dy: Any, walk: _Walk) -> None:
    (out,) = outs
    place = _highest(xp, x, w, walk)[1]
    rows = [
        xp.where(place == number, dy, 0).sum(axis=(0, 1, 2))
        for number, _ in _cells(walk)
    ]
    out[...] = xp.stack(rows).reshape(out.shape)


def _lower_dilation(
    name: str, impl: Callable[..., None], result: int | None
) -> Callable[[Builder, Site], View]:
    """``result``: the input whose shape comes out; None for the positions' shape."""

    def lower(b: Builder, site: Site) -> View:
        x, w = site.inputs[:2]
        if x.shape[3] != w.shape[2] or 0 in w.shape:
            raise ValueError(
                f"A filter of shape {list(w.shape)} does not fit images of shape "
                f"{list(x.shape)}."
            )
        walk = _walk(_window(site.attrs, w.shape[:2], "strides", "rates"), x.shape[1:3])
        out = (x.shape[0], *walk[4], x.shape[3])
        if result is not None and site.inputs[2].shape != out:
            raise ValueError(
                f"The gradient has shape {site.inputs[2].shape}, the dilation {out}."
            )
        shape = out if result is None else site.inputs[result].shape
        (view,) = b.call(name, impl, site.inputs, [(x.dtype, shape)], walk=walk)
        return view

    return lower


def _like(index: int) -> Callable[[Any], Any]:
    def infer(op: Any) -> Any:
        _dilation_window(op)
        x, shape = op.inputs[0], op.inputs[index]._shape
        return ((x.dtype, (None,) * (4 - index) if shape is None else shape),)

    return infer


family.op(
    "Dilation2D",
    "input filter",
    attrs=_DILATION,
    infer=_infer_dilation,
    lower=_lower_dilation("dilation", _dilate, None),
)
family.op(
    "Dilation2DBackpropInput",
    "input filter out_backprop",
    attrs=_DILATION,
    infer=_like(0),
    lower=_lower_dilation("dilation_to_input", _to_input, 0),
)
family.op(
    "Dilation2DBackpropFilter",
    "input filter out_backprop",
    attrs=_DILATION,
    infer=_like(1),
    lower=_lower_dilation("dilation_to_filter", _to_filter, 1),
)


@family.gradient("Dilation2D")
def _dilation_grad(op: Any, dy: Tensor) -> Any:
    attrs = {name: op.attrs[name] for name in _DILATION}
    apply = op.graph.apply
    return [
        apply("Dilation2DBackpropInput", *op.inputs, dy, **attrs),
        apply("Dilation2DBackpropFilter", *op.inputs, dy, **attrs),
    ]


def dilation2d(
    input: Any,
    filter: Any = None,
    strides: Any = None,
    rates: Any = None,
    padding: str | None = None,
    name: str | None = None,
    filters: Any = None,
    dilations: Any = None,
) -> Tensor:
    """Grayscale dilation: the maximum of image plus filter in each window.

    Shapes:  input [batch, height, width, channels], filter [rows, columns, channels].
    ``strides``, ``rates``: [1, down, across, 1]; ``padding``: "VALID" or "SAME".
    The first maximum in a window gets all of its gradient. There is no second
    derivative, as in TensorFlow.
    """
    return apply_op(
        "Dilation2D",
        convert_to_tensor(input, name="input"),
        rules.one_of(filter, filters, "filter", "filters"),
        strides=tuple(strides),
        rates=tuple(rules.one_of(rates, dilations, "rates", "dilations")),
        padding=str(padding).upper(),
        name=name,
    )


def dilation2d_v2(
    input: Any,
    filters: Any,
    strides: Any,
    padding: str,
    data_format: str,
    dilations: Any,
    name: str | None = None,
) -> Tensor:
    """``dilation2d`` with the arguments of TensorFlow 2; data_format is "NHWC"."""
    windows.check_format(data_format, ("NHWC",), "Dilation2D")
    return dilation2d(input, filters, strides, dilations, padding, name)


def erosion2d(
    value: Any,
    kernel: Any,
    strides: Any,
    rates: Any,
    padding: str,
    name: str | None = None,
) -> Tensor:
    """Grayscale erosion: the minimum of image minus kernel (see dilation2d).

    It is the dilation of the negative image by the kernel turned around, negated.
    """
    with name_scope(name, "erosion2d", [value, kernel]) as scope:
        value = convert_to_tensor(value, name="value")
        turned = apply_op("ReverseV2", convert_to_tensor(kernel), [0, 1])
        dilated = dilation2d(-value, turned, strides, rates, padding)
        return apply_op("Neg", dilated, name=scope)


def erosion2d_v2(
    value: Any,
    filters: Any,
    strides: Any,
    padding: str,
    data_format: str,
    dilations: Any,
    name: str | None = None,
) -> Tensor:
    """``erosion2d`` with the arguments of TensorFlow 2; data_format is "NHWC"."""
    windows.check_format(data_format, ("NHWC",), "Dilation2D")
    return erosion2d(value, filters, strides, dilations, padding, name)


# --- MaxPoolWithArgmax ----------------------------------------------------------------

_POOL = {
    "ksize": ...,
    "strides": ...,
    "padding": ...,
    "Targmax": dtypes.int64,
    "include_batch_in_index": False,
}


def _pool_window(attrs: dict[str, Any]) -> Window:
    sizes = tuple(attrs["ksize"])
    if len(sizes) != 4 or sizes[0] != 1 or sizes[3] != 1 or min(sizes) < 1:
        raise ValueError(f"ksize must be [1, rows, columns, 1], not {list(sizes)}.")
    return _window({**attrs, "rates": (1, 1, 1, 1)}, sizes[1:3], "strides", "rates")


def _infer_pool(op: Any) -> Any:
    (x,) = op.inputs
    rules.require_dtype(op, 0, rules.REAL)
    rules.require_rank(x._shape, 4)
    shape = (None,) * 4 if x._shape is None else x._shape
    out = (shape[0], *_positions(_pool_window(op.attrs), shape), shape[3])
    return ((x.dtype, out), (op.attrs["Targmax"], out))


def _pool(xp: Any, outs: Any, x: Any, walk: _Walk, batch: bool) -> None:
    best, place = outs
    least = -xp.inf if x.dtype.kind not in "iu" else xp.iinfo(x.dtype).min
    around = _around(xp, x, walk, least, x.dtype)
    number = xp.arange(x.size if batch else x[0].size, dtype=xp.int64)
    number = number.reshape(x.shape if batch else (1, *x.shape[1:]))
    numbers = _around(xp, number, walk, -1, xp.int64)
    best[...], place[...] = least, -1
    for _, cell in _cells(walk):
        value, where = around[cell], numbers[cell]
        # Of equal ones the first; a cell of the image before any padding.
        better = (where >= 0) & ((value > best) | (place < 0))
        best[...] = xp.where(better, value, best)
        place[...] = xp.where(better, where, place)


def _lower_pool(b: Builder, site: Site) -> Sequence[View]:
    (x,) = site.inputs
    walk = _walk(_pool_window(site.attrs), x.shape[1:3])
    out = (x.shape[0], *walk[4], x.shape[3])
    if 0 in out or x.size == 0:
        return [b.new(dtype, out) for dtype in site.dtypes]
    return b.call(
        "max_pool_with_argmax",
        _pool,
        [x],
        [(dtype, out) for dtype in site.dtypes],
        walk=walk,
        batch=site.attrs["include_batch_in_index"],
    )


family.op(
    "MaxPoolWithArgmax",
    "input",
    attrs=_POOL,
    infer=_infer_pool,
    lower=_lower_pool,
)


@family.gradient("MaxPoolWithArgmax")
def _pool_grad(op: Any, dy: Tensor, _: Any) -> Any:
    attrs = {name: op.attrs[name] for name in ("ksize", "strides", "padding")}
    return op.graph.apply("MaxPoolGrad", op.inputs[0], op.outputs[0], dy, **attrs)


def max_pool_with_argmax(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str = "NHWC",
    Targmax: Any = None,
    name: str | None = None,
    output_dtype: Any = None,
    include_batch_in_index: bool = False,
) -> Any:
    """(maxima, places): max_pool, and where each maximum stands in its image.

    A place is (row * width + column) * channels + channel, of all images laid end to
    end if ``include_batch_in_index``; int64, or int32 by ``output_dtype``. Of equal
    maxima the first counts, and gets the gradient. Format NHWC only.
    """
    windows.check_format(data_format, ("NHWC",), "MaxPoolWithArgmax")
    dtype = rules.one_of(Targmax, output_dtype, "Targmax", "output_dtype")
    return apply_op(
        "MaxPoolWithArgmax",
        input,
        ksize=tuple(windows.one_for_each(ksize, 2, "NHWC", "ksize")),
        strides=tuple(windows.one_for_each(strides, 2, "NHWC", "strides")),
        padding=padding.upper(),
        Targmax=dtypes.int64 if dtype is None else as_dtype(dtype),
        include_batch_in_index=include_batch_in_index,
        name=name,
    )


def max_pool_with_argmax_v2(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str = "NHWC",
    output_dtype: Any = dtypes.int64,
    include_batch_in_index: bool = False,
    name: str | None = None,
) -> Any:
    """``max_pool_with_argmax`` with the arguments of TensorFlow 2."""
    return max_pool_with_argmax(
        input,
        ksize,
        strides,
        padding,
        data_format,
        output_dtype,
        name,
        None,
        include_batch_in_index,
    )
