"""Summaries: values of a step as the messages that event files hold.

The ops run on the host and give serialized Summary messages, which FileWriter writes.
They need the extra `tensorboard` when they run, not while building.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gpugrad import dtypes, messages
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import build
from gpugrad.graph.graphdef.values import tensor_proto
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import GraphKeys
from gpugrad.ops.family import OpFamily

family = OpFamily()

_NOT_IN_TAGS: Final = re.compile(r"[^-/\w\.]")
_RED: Final = np.array([255, 0, 0, 255], np.uint8)


def _infer(op: Operation) -> Any:
    return ((dtypes.string, ()),)


def _message() -> Any:
    return messages.message("Summary")()


def _serialized(summary: Any) -> list[np.ndarray]:
    return [np.array(summary.SerializeToString(), object)]


def _refuse(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


def _text(tag: np.ndarray) -> str:
    """A tag: one string."""
    value: bytes = tag.reshape(-1)[0]
    return value.decode()


# --- ScalarSummary --------------------------------------------------------------------


def _scalars(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    tags, values = arrays
    if tags.shape != values.shape and not (tags.size == values.size == 1):
        raise _refuse(
            f"tags and values are not the same shape: {tags.shape} != {values.shape}"
            + (f" (tag '{_text(tags)}')" if tags.size == 1 else "")
        )
    summary = _message()
    for tag, value in zip(tags.reshape(-1), values.reshape(-1)):
        summary.value.add(tag=tag.decode(), simple_value=float(value))
    return _serialized(summary)


family.op(
    "ScalarSummary",
    [Input("tags", attr=None, dtype=dtypes.string), Input("values")],
    infer=_infer,
    host=_scalars,
)

# --- HistogramSummary -----------------------------------------------------------------


@functools.cache
def _bucket_limits() -> np.ndarray:
    """TensorFlow's: powers of 1.1 from 1e-12 to 1e20 on both sides of zero."""
    limits = [1e-12]
    while limits[-1] * 1.1 < 1e20:
        limits.append(limits[-1] * 1.1)
    limits.append(np.finfo(np.float64).max)
    return np.array([-v for v in reversed(limits)] + [0.0] + limits)


def histogram_proto(values: np.ndarray) -> Any:
    """A HistogramProto of numbers, all finite; runs of empty buckets are one."""
    values = values.reshape(-1).astype(np.float64)
    limits = _bucket_limits()
    # A value belongs to the first bucket whose limit is greater.
    places = np.minimum(np.searchsorted(limits, values, "right"), len(limits) - 1)
    counts = np.bincount(places, minlength=len(limits))
    greatest = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        squares = np.square(values).sum()
    proto = messages.message("HistogramProto")(
        min=values.min(initial=greatest),
        max=values.max(initial=-greatest),
        num=values.size,
        sum=values.sum(),
        sum_squares=squares,
    )
    filled = counts > 0
    # The last bucket of each run of empty ones stands for the run.
    shown = np.flatnonzero(filled | np.append(filled[1:], True))
    proto.bucket_limit.extend(limits[shown].tolist())
    proto.bucket.extend(counts[shown].tolist())
    return proto


def _histogram(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    tag, values = _text(arrays[0]), arrays[1]
    finite = np.isfinite(values.astype(np.float64))
    if not finite.all():
        kind = "Nan" if np.isnan(values[~finite].astype(np.float64)).any() else "Inf"
        raise _refuse(f"{kind} in summary histogram for: {tag}")
    summary = _message()
    summary.value.add(tag=tag, histo=histogram_proto(values))
    return _serialized(summary)


family.op(
    "HistogramSummary",
    [Input("tag", attr=None, dtype=dtypes.string), Input("values")],
    infer=_infer,
    host=_histogram,
)

# --- ImageSummary ---------------------------------------------------------------------


def _pixels(image: np.ndarray, bad_color: np.ndarray) -> np.ndarray:
    """An image as bytes: floats are scaled, from 0 to the greatest, or, where some are
    negative, about 128; what is not finite gets the bad colour.
    """
    if image.dtype == np.uint8:
        return image
    image = image.astype(np.float64)
    finite = np.isfinite(image)
    known = image[finite]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    room, offset = (127.0, 128.0) if low < 0 else (255.0, 0.0)
    largest = max(abs(low), abs(high)) if low < 0 else high
    scale = room / largest if largest >= 1e-6 else 0.0
    scaled = np.where(finite, image, 0.0) * scale + offset
    bad = ~finite.all(axis=-1, keepdims=True)
    return np.where(bad, bad_color[: image.shape[-1]], scaled).astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    image = messages.module("PIL.Image")
    file = io.BytesIO()
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    image.fromarray(np.ascontiguousarray(flat)).save(file, "PNG")
    return file.getvalue()


def _images(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    tag, batch = _text(arrays[0]), arrays[1]
    if batch.ndim != 4 or batch.shape[3] not in (1, 3, 4):
        raise _refuse(
            "Tensor must be 4-D with last dim 1, 3, or 4, not "
            f"{list(batch.shape)} (tag '{tag}')"
        )
    most = site.attrs["max_images"]
    summary = _message()
    for index, image in enumerate(batch[:most]):
        height, width, channels = image.shape
        value = summary.value.add(
            tag=f"{tag}/image/{index}" if most > 1 else f"{tag}/image"
        )
        value.image.height, value.image.width = height, width
        value.image.colorspace = channels
        pixels = _pixels(image, site.attrs["bad_color"])
        value.image.encoded_image_string = _png(pixels)
    return _serialized(summary)


family.op(
    "ImageSummary",
    [Input("tag", attr=None, dtype=dtypes.string), Input("tensor")],
    attrs={"max_images": 3, "bad_color": _RED},
    infer=_infer,
    host=_images,
)

# --- TensorSummaryV2 ------------------------------------------------------------------


def _tensor(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    tag, array, metadata = arrays
    dtype = dtypes.string if array.dtype == object else dtypes.of_numpy(array.dtype)
    summary = _message()
    value = summary.value.add(tag=_text(tag), tensor=tensor_proto(array, dtype))
    value.metadata.ParseFromString(metadata.reshape(-1)[0])
    return _serialized(summary)


family.op(
    "TensorSummaryV2",
    [
        Input("tag", attr=None, dtype=dtypes.string),
        Input("tensor"),
        Input("serialized_summary_metadata", attr=None, dtype=dtypes.string),
    ],
    infer=_infer,
    host=_tensor,
)

# --- MergeSummary ---------------------------------------------------------------------


def _merged(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    summary = _message()
    tags: set[str] = set()
    for data in arrays:
        part = messages.message("Summary").FromString(data.reshape(-1)[0])
        for value in part.value:
            if value.tag in tags:
                raise _refuse(f"Duplicate tag {value.tag} found in summary inputs")
            tags.add(value.tag)
        summary.MergeFrom(part)
    return _serialized(summary)


family.op(
    "MergeSummary",
    [Input("inputs", attr=None, dtype=dtypes.string, number="N")],
    infer=_infer,
    host=_merged,
)

family.no_gradient(
    "ScalarSummary", "HistogramSummary", "ImageSummary", "TensorSummaryV2",
    "MergeSummary",
)  # fmt: skip

# --- functions ------------------------------------------------------------------------


def _clean(name: str) -> str:
    """``name`` as TensorFlow writes it into tags and scopes."""
    return _NOT_IN_TAGS.sub("_", name).lstrip("/")


def _summary(
    op_type: str,
    name: str,
    value: Any,
    collections: Any,
    family_name: str | None,
    *more: Any,
    **attrs: Any,
) -> Tensor:
    """One summary op; its tag is its name, behind the family's if there is one."""
    name = _clean(name)
    group = None if family_name is None else _clean(family_name)
    scope_name = name if group is None else f"{group}/{name}"
    with build.name_scope(scope_name, None, [value]) as scope:
        tag = scope.rstrip("/") if group is None else f"{group}/{scope.rstrip('/')}"
        return _collected(op_type, [tag, value, *more], scope, collections, **attrs)


def _collected(
    op_type: str, args: Sequence[Any], name: str | None, collections: Any, **attrs: Any
) -> Tensor:
    graph = build.graph_of(*args)
    result: Tensor = graph.apply(op_type, *args, name=name, **attrs)
    keys = [GraphKeys.SUMMARIES] if collections is None else collections
    graph.add_to_collections(keys, result)
    return result


def scalar(
    name: str, tensor: Any, collections: Any = None, family: str | None = None
) -> Tensor:
    """A number as a serialized Summary; a scalar string tensor.

    The tag is ``name`` within the current name scopes. The result is put into
    ``collections``, by default where merge_all() looks.
    """
    return _summary("ScalarSummary", name, tensor, collections, family)


def histogram(
    name: str, values: Any, collections: Any = None, family: str | None = None
) -> Tensor:
    """The distribution of all values of a tensor. InvalidArgumentError when run if
    some are not finite.
    """
    return _summary("HistogramSummary", name, values, collections, family)


def image(
    name: str,
    tensor: Any,
    max_outputs: int = 3,
    collections: Any = None,
    family: str | None = None,
) -> Tensor:
    """The first ``max_outputs`` images of a batch [n, height, width, 1, 3 or 4].

    uint8 values are shown as they are. Floats are scaled: the greatest is 255 or,
    where some are negative, the greatest in size is 255 or 1 and 0 is 128. Pixels
    that are not finite are red.
    """
    return _summary(
        "ImageSummary",
        name,
        tensor,
        collections,
        family,
        max_images=max_outputs,
        bad_color=_RED,
    )


def text(name: str, tensor: Any, collections: Any = None) -> Tensor:
    """A string tensor, shown as Markdown; a vector or a matrix as a table."""
    tensor = build.convert_to_tensor(tensor)
    if tensor.dtype is not dtypes.string:
        raise ValueError(
            f"Expected tensor {tensor.name} to have dtype string, got "
            f"{tensor.dtype.name}"
        )
    metadata = messages.message("SummaryMetadata")()
    metadata.plugin_data.plugin_name = "text"
    return tensor_summary(name, tensor, collections=collections, metadata=metadata)


def tensor_summary(
    name: str,
    tensor: Any,
    summary_description: Any = None,
    collections: Any = None,
    summary_metadata: Any = None,
    family: str | None = None,
    display_name: str | None = None,
    metadata: Any = None,
) -> Tensor:
    """Any tensor as it is. ``summary_metadata`` is a SummaryMetadata message, which
    says who shows it.
    """
    found = summary_metadata or metadata or messages.message("SummaryMetadata")()
    if display_name is not None:
        found.display_name = display_name
    if summary_description is not None:
        found.summary_description = summary_description
    data = found.SerializeToString()
    return _summary("TensorSummaryV2", name, tensor, collections, family, data)


def merge(inputs: Any, collections: Any = None, name: str | None = None) -> Tensor:
    """Several summaries as one. InvalidArgumentError when run if a tag comes twice."""
    with build.name_scope(name, "Merge", inputs):
        return _collected("MergeSummary", [list(inputs)], None, collections or ())


def merge_all(
    key: str = GraphKeys.SUMMARIES, scope: str | None = None, name: str | None = None
) -> Tensor | None:
    """All summaries that the default graph has collected as one; None without any."""
    found = build.get_default_graph().get_collection(key, scope)
    return merge(found, name=name) if found else None


# --- TensorFlow 0.12's names, which take tags as they are -----------------------------


def scalar_summary(
    tags: Any, values: Any, collections: Any = None, name: str | None = None
) -> Tensor:
    """Numbers under tags that are given: as many tags as values."""
    return _collected("ScalarSummary", [tags, values], name, collections)


def histogram_summary(
    tag: Any, values: Any, collections: Any = None, name: str | None = None
) -> Tensor:
    """A distribution under a tag that is given."""
    return _collected("HistogramSummary", [tag, values], name, collections)


def image_summary(
    tag: Any,
    tensor: Any,
    max_images: int = 3,
    collections: Any = None,
    name: str | None = None,
) -> Tensor:
    """Images under a tag that is given."""
    return _collected(
        "ImageSummary", [tag, tensor], name, collections, max_images=max_images
    )
