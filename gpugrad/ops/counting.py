"""Counts of values: bincount, histograms, confusion matrices."""

from __future__ import annotations

from math import prod
from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import as_dtype
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import constant
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules, static
from gpugrad.ops.family import OpFamily
from gpugrad.ops.scatter_rows import combine

family = OpFamily()


# --- DenseBincount --------------------------------------------------------------------


def _infer(op: Any) -> Any:
    values, size, weights = op.inputs
    rules.require_dtype(op, 0, (dtypes.int32, dtypes.int64))
    known = constant.constant_value(size)
    if known is not None and known.item() < 0:
        raise ValueError(f"size must be non-negative, not {known.item()}.")
    count = None if known is None else int(known)
    shape = values._shape
    if shape is None:
        return ((weights.dtype, None),)
    if len(shape) > 2:
        raise ValueError(f"Shape must be at most rank 2 but is rank {len(shape)}.")
    return ((weights.dtype, (*shape[:-1], count)),)


def _count(xp: Any, outs: Any, values: Any, weights: Any, binary: bool) -> None:
    """values [rows, n] into out [rows, size]; what is beyond the size is left out."""
    (out,) = outs
    rows, size = out.shape
    if static.on_host(xp) and values.size and values.min() < 0:
        raise InvalidArgumentError(None, None, "Input arr must be non-negative!")
    inside = (values >= 0) & (values < size)
    place = values + xp.arange(rows)[:, None] * size
    # One more element takes what does not count, so that no shape depends on data.
    total = xp.zeros((rows * size + 1, 1), out.dtype)
    place = xp.where(inside, place, rows * size).reshape(-1)
    if binary:
        total[place] = 1
    else:
        if weights.size == 0:
            weights = xp.ones(values.shape, out.dtype)
        combine(xp, total, "sum", place, weights.reshape(-1, 1))
    out[...] = total[:-1, 0].reshape(rows, size)


def _lower(b: Builder, site: Site) -> View:
    values, size, weights = site.inputs
    (count,) = b.integers(size)
    if count < 0:
        raise ValueError(f"size must be non-negative, not {count}.")
    if weights.size and weights.shape != values.shape:
        raise ValueError(
            f"weights of shape {list(weights.shape)} must be like the values of shape "
            f"{list(values.shape)}, or have no element."
        )
    outer = values.shape[:-1] if values.rank else ()
    each = values.shape[-1] if values.rank else 1
    table = b.reshape(values, (prod(outer), each))
    if weights.size:
        weights = b.reshape(weights, table.shape)
    (out,) = b.call(
        "bincount",
        _count,
        [table, weights],
        [(weights.dtype, (prod(outer), count))],
        binary=site.attrs["binary_output"],
    )
    return b.reshape(out, (*outer, count))


family.op(
    "DenseBincount",
    (
        Input("input", attr="Tidx", default=dtypes.int32),
        Input("size", attr="Tidx", static=True),
        Input("weights"),
    ),
    attrs={"binary_output": False},
    infer=_infer,
    lower=_lower,
)


def bincount(
    arr: Any,
    weights: Any = None,
    minlength: Any = None,
    maxlength: Any = None,
    dtype: Any = dtypes.int32,
    name: str | None = None,
    axis: int | None = None,
    binary_output: bool = False,
) -> Tensor:
    """How often each of 0, 1, 2, ... stands in ``arr``, or the sum of its weights.

    Shapes:  arr any; the result is a vector up to the greatest value, at least
             ``minlength`` and at most ``maxlength`` long. With axis=-1 a row of arr
             [rows, n] has a row of its own.
    Dtypes:  arr int32 or int64, not negative; the result has that of ``weights``
             (shaped like arr), else ``dtype``.
    ``binary_output``: 1 where a value stands at all.
    No gradient passes, not to the weights either: unsorted_segment_sum has one.
    Raises:  InvalidArgumentError when run on a CPU for a negative value; a GPU leaves
             it out.
    """
    if axis not in (None, 0, -1):
        raise ValueError(f"Unsupported value for argument axis={axis}. Only 0 and -1.")
    if weights is not None and binary_output:
        raise ValueError("Arguments `binary_output` and `weights` are exclusive.")
    with name_scope(name, "bincount", [arr, weights]):
        values = convert_to_tensor(arr, dtype_hint=dtypes.int32, name="arr")
        if values.dtype not in (dtypes.int32, dtypes.int64):
            values = apply_op("Cast", values, DstT=dtypes.int32)
        kind = values.dtype
        if weights is None:
            given = convert_to_tensor([], as_dtype(dtype), name="weights")
        else:
            given = convert_to_tensor(weights, name="weights")
        flat = apply_op("Reshape", values, [-1])
        if axis != -1:
            values = flat
            if weights is not None:
                given = apply_op("Reshape", given, [-1])
        # The greatest value and -1, so that there is one where arr has no element.
        padded = apply_op("ConcatV2", [flat, convert_to_tensor([-1], kind)], 0)
        size = apply_op("Max", padded, [0]) + 1
        if minlength is not None:
            size = apply_op("Maximum", size, _as(minlength, kind))
        if maxlength is not None:
            size = apply_op("Minimum", size, _as(maxlength, kind))
        return apply_op(
            "DenseBincount", values, size, given, binary_output=binary_output
        )


def _as(value: Any, dtype: dtypes.DType) -> Any:
    if isinstance(value, Tensor) and value.dtype is not dtype:
        return apply_op("Cast", value, DstT=dtype)
    return convert_to_tensor(value, dtype)


def bincount_v1(
    arr: Any,
    weights: Any = None,
    minlength: Any = None,
    maxlength: Any = None,
    dtype: Any = dtypes.int32,
) -> Tensor:
    """bincount with the arguments of TensorFlow 1."""
    return bincount(arr, weights, minlength, maxlength, dtype)


# --- histograms -----------------------------------------------------------------------


def histogram_fixed_width_bins(
    values: Any,
    value_range: Any,
    nbins: Any = 100,
    dtype: Any = dtypes.int32,
    name: str | None = None,
) -> Tensor:
    """The number of the bin that each value falls into.

    ``nbins`` bins of equal width cut ``value_range`` [2]; what is below it is in the
    first bin, what is above in the last. The result is int32 or int64.
    """
    with name_scope(name, "histogram_fixed_width_bins", [values, value_range, nbins]):
        x = convert_to_tensor(values, name="values")
        edges = convert_to_tensor(value_range, x.dtype, name="value_range")
        count = convert_to_tensor(nbins, dtypes.int32, name="nbins")
        width = edges[1] - edges[0]
        share = (x - edges[0]) / width
        if share.dtype is not x.dtype and not share.dtype.is_floating:
            share = apply_op("Cast", share, DstT=dtypes.float64)
        wide = apply_op("Cast", count, DstT=share.dtype)
        place = apply_op("Floor", wide * share)
        last = apply_op("Cast", count - 1, DstT=share.dtype)
        zero = convert_to_tensor(0, share.dtype)
        place = apply_op("Maximum", apply_op("Minimum", place, last), zero)
        return apply_op("Cast", place, DstT=as_dtype(dtype))


def histogram_fixed_width(
    values: Any,
    value_range: Any,
    nbins: Any = 100,
    dtype: Any = dtypes.int32,
    name: str | None = None,
) -> Tensor:
    """How many values fall into each of ``nbins`` bins: [nbins], int32 or int64.

    The bins are those of histogram_fixed_width_bins.
    """
    with name_scope(name, "histogram_fixed_width", [values, value_range, nbins]):
        places = histogram_fixed_width_bins(values, value_range, nbins)
        none = convert_to_tensor([], as_dtype(dtype))
        flat = apply_op("Reshape", places, [-1])
        return apply_op("DenseBincount", flat, _as(nbins, dtypes.int32), none)


# --- confusion matrix -----------------------------------------------------------------


def confusion_matrix(
    labels: Any,
    predictions: Any,
    num_classes: Any = None,
    dtype: Any = dtypes.int32,
    name: str | None = None,
    weights: Any = None,
) -> Tensor:
    """How often class j was predicted where class i was right: entry [i, j].

    Shapes:  labels and predictions [n] (one of them may be [n, 1]); the result is
             [num_classes, num_classes], by default up to the greatest class.
    ``weights`` [n] count instead of 1. The result has ``dtype``.
    Raises:  InvalidArgumentError when run on a CPU for a class out of range.
    """
    with name_scope(name, "confusion_matrix", [predictions, labels, num_classes]):
        right = _classes(labels, "labels")
        guess = _classes(predictions, "predictions")
        if num_classes is None:
            both = apply_op("ConcatV2", [right, guess], 0, name="concat")
            num_classes = apply_op("Max", both, [0]) + 1
        size = _as(num_classes, dtypes.int64)
        kind = as_dtype(dtype)
        if weights is None:
            values = apply_op(
                "Cast", apply_op("OnesLike", right), DstT=kind, name="ones"
            )
        else:
            values = convert_to_tensor(weights, name="weights")
            if values.dtype is not kind:
                values = apply_op("Cast", values, DstT=kind)
        places = apply_op("Pack", [right, guess], axis=1)
        shape = apply_op("Pack", [size, size], axis=0)
        return apply_op("ScatterNd", places, values, shape)


def _classes(given: Any, name: str) -> Any:
    """A vector of int64 classes."""
    classes = convert_to_tensor(given, name=name)
    if classes.dtype is not dtypes.int64:
        classes = apply_op("Cast", classes, DstT=dtypes.int64)
    if classes.ndim == 2:
        classes = apply_op("Squeeze", classes, squeeze_dims=[-1])
    rules.require_rank(classes._shape, 1)
    return classes


def confusion_matrix_v2(
    labels: Any,
    predictions: Any,
    num_classes: Any = None,
    weights: Any = None,
    dtype: Any = dtypes.int32,
    name: str | None = None,
) -> Tensor:
    """``confusion_matrix`` with the arguments of TensorFlow 2."""
    return confusion_matrix(labels, predictions, num_classes, dtype, name, weights)
