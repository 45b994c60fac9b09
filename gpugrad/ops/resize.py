"""Images of another size: bilinear, and of the nearest pixel."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Tensor
from gpugrad.ops import rules
from gpugrad.ops.gather import gather
from gpugrad.ops.sequence import range as number_range
from gpugrad.ops.static import shape_of


def _float(x: Any) -> Any:
    return apply_op("Cast", x, DstT=dtypes.float32)


def _scale(have: Any, want: Any, align_corners: bool) -> Any:
    """How many pixels of the image one of the result is wide, float32."""
    plain = _float(have) / _float(want)
    if not align_corners:
        return plain
    inner = _float(have - 1) / _float(apply_op("Maximum", want - 1, 1))
    return apply_op("SelectV2", apply_op("Greater", want, 1), inner, plain)


def _places(have: Any, want: Any, align_corners: bool, half_pixels: bool) -> Any:
    """Where the pixels of the result lie in the image, float32 [want]."""
    numbers = _float(number_range(want))
    scale = _scale(have, want, align_corners)
    if half_pixels:
        return (numbers + 0.5) * scale - 0.5
    return numbers * scale


def _clipped(place: Any, have: Any) -> Any:
    place = apply_op("Cast", place, DstT=dtypes.int32)
    return apply_op("Maximum", apply_op("Minimum", place, have - 1), 0)


def _opened(images: Any, size: Any, flags: tuple[bool, bool]) -> tuple[Any, Any]:
    """(images as a tensor, size as a tensor), checked."""
    if all(flags):
        raise ValueError("align_corners and half_pixel_centers exclude each other.")
    images = convert_to_tensor(images, name="images")
    rules.require_rank(images._shape, 4)
    size = convert_to_tensor(size, dtypes.int32, name="size")
    rules.require_rank(size._shape, 1)
    return images, size


def resize_bilinear(
    images: Any,
    size: Any,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """Images of ``size`` [height, width]: linear between the four nearest pixels.

    Shapes:  images [batch, height, width, channels].
    Dtypes:  the result is float32 (float64 for float64 images, unlike TensorFlow's).
    ``align_corners``: the corner pixels stay where they are. ``half_pixel_centers``:
             pixels lie at half numbers.
    Made of gathers and products, so that it has derivatives of every order.
    """
    with name_scope(name, "ResizeBilinear", [images, size]):
        images, size = _opened(images, size, (align_corners, half_pixel_centers))
        if images.dtype is not dtypes.float64:
            images = _float(images) if images.dtype is not dtypes.float32 else images
        for axis in (1, 2):
            have = shape_of(images)[axis]
            place = _places(have, size[axis - 1], align_corners, half_pixel_centers)
            low = apply_op("Floor", place)
            weight = apply_op("Cast", place - low, DstT=images.dtype)
            column = [-1, 1, 1] if axis == 1 else [-1, 1]
            weight = apply_op("Reshape", weight, column)
            first = gather(images, _clipped(low, have), axis=axis)
            last = gather(images, _clipped(apply_op("Ceil", place), have), axis=axis)
            images = first + (last - first) * weight
        return images


def resize_nearest_neighbor(
    images: Any,
    size: Any,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """Images of ``size`` [height, width] with the values of the nearest pixels.

    Arguments as for resize_bilinear; the dtype stays.
    """
    with name_scope(name, "ResizeNearestNeighbor", [images, size]):
        images, size = _opened(images, size, (align_corners, half_pixel_centers))
        for axis in (1, 2):
            have = shape_of(images)[axis]
            place = _places(have, size[axis - 1], align_corners, half_pixel_centers)
            if half_pixel_centers or align_corners:
                place = place + 0.5
            chosen = _clipped(apply_op("Floor", place), have)
            images = gather(images, chosen, axis=axis)
        return images


_METHODS = {
    0: resize_bilinear,
    "bilinear": resize_bilinear,
    1: resize_nearest_neighbor,
    "nearest": resize_nearest_neighbor,
}


def _resized(
    images: Any, size: Any, method: Any, name: str | None, keep: bool, **options: Any
) -> Tensor:
    if method not in _METHODS:
        raise ValueError(
            f"method must be one of {list(_METHODS)} (bilinear or nearest), not "
            f"{method!r}."
        )
    with name_scope(name, "resize", [images, size]):
        images = convert_to_tensor(images, name="images")
        alone = images.ndim == 3
        if alone:
            images = apply_op("ExpandDims", images, 0)
        size = convert_to_tensor(size, dtypes.int32, name="size")
        if keep:
            have = _float(shape_of(images)[1:3])
            scale = apply_op("Min", _float(size) / have, [0])
            size = apply_op("Cast", apply_op("Round", have * scale), DstT=dtypes.int32)
        result: Tensor = _METHODS[method](images, size, **options)
        return apply_op("Squeeze", result, squeeze_dims=[0]) if alone else result


def resize(
    images: Any,
    size: Any,
    method: Any = 0,
    align_corners: bool = False,
    preserve_aspect_ratio: bool = False,
    name: str | None = None,
) -> Tensor:
    """Images [batch, height, width, channels], or one without batch, of ``size`` [2].

    ``method``: 0 for resize_bilinear, 1 for resize_nearest_neighbor.
    ``preserve_aspect_ratio``: as large as fits into size.
    """
    return _resized(
        images, size, method, name, preserve_aspect_ratio, align_corners=align_corners
    )


def resize_v2(
    images: Any,
    size: Any,
    method: Any = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
    name: str | None = None,
) -> Tensor:
    """``resize`` as TensorFlow 2 does it, with pixels at half numbers.

    ``method``: "bilinear" or "nearest"; there is no ``antialias``.
    """
    if antialias:
        raise ValueError(
            "antialias=True is not offered; resize to a larger size first."
        )
    return _resized(
        images, size, method, name, preserve_aspect_ratio, half_pixel_centers=True
    )
