"""Places of values: searchsorted, unravel_index, in_top_k."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import as_dtype
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.scalar import Expr
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.static import whole_slice

family = OpFamily()


# --- LowerBound, UpperBound -----------------------------------------------------------


def _search(xp: Any, outs: Any, rows: Any, values: Any, side: str) -> None:
    (out,) = outs
    for row, value, found in zip(rows, values, out):
        found[...] = xp.searchsorted(row, value, side=side)


def _infer_bound(op: Any) -> Any:
    rows, values = op.inputs
    rules.require_rank(rows._shape, 2)
    rules.require_rank(values._shape, 2)
    shape = (None, None) if values._shape is None else values._shape
    if rows._shape is not None:
        shape = (rules.merge_dimensions(rows._shape[0], shape[0]), shape[1])
    return ((op.attrs["out_type"], shape),)


def _lower_bound(side: str) -> Callable[[Builder, Site], View]:
    def lower(b: Builder, site: Site) -> View:
        rows, values = site.inputs
        if rows.shape[0] != values.shape[0]:
            raise ValueError(
                f"sorted_inputs has {rows.shape[0]} rows, values {values.shape[0]}."
            )
        outs = [(site.dtypes[0], values.shape)]
        (out,) = b.call("searchsorted", _search, [rows, values], outs, side=side)
        return out

    return lower


for _type, _side in (("LowerBound", "left"), ("UpperBound", "right")):
    family.op(
        _type,
        "sorted_inputs values",
        attrs={"out_type": dtypes.int32},
        infer=_infer_bound,
        lower=_lower_bound(_side),
    )
family.no_gradient("LowerBound", "UpperBound")


def searchsorted(
    sorted_sequence: Any,
    values: Any,
    side: str = "left",
    out_type: Any = dtypes.int32,
    name: str | None = None,
) -> Tensor:
    """Where each value would go into a sorted sequence, along the last axis.

    Shapes:  sorted_sequence [..., n] and values [..., m] agree but for the last axis;
             the result has the shape of values.
    ``side``: "left" of equal elements, or "right".
    """
    if side not in ("left", "right"):
        raise ValueError(f"side must be 'left' or 'right', not {side!r}.")
    with name_scope(name, "searchsorted", [sorted_sequence, values]):
        rows = convert_to_tensor(sorted_sequence, name="sorted_sequence")
        wanted = convert_to_tensor(values, rows.dtype, name="values")
        shape = apply_op("Shape", wanted)
        op_type = "LowerBound" if side == "left" else "UpperBound"
        found = apply_op(
            op_type, _table(rows), _table(wanted), out_type=as_dtype(out_type)
        )
        result = apply_op("Reshape", found, shape)
        if isinstance(result, Tensor):
            result.set_shape(wanted.shape)
        return result


def _table(x: Any) -> Any:
    """[..., n] as [rows, n], also where n is 0."""
    last = apply_op("Shape", x)[-1]
    rows = apply_op("Prod", apply_op("Shape", x)[:-1], [0])
    return apply_op("Reshape", x, apply_op("Pack", [rows, last], axis=0))


# --- UnravelIndex ---------------------------------------------------------------------


def _unravel_infer(op: Any) -> Any:
    indices, dims = op.inputs
    rules.require_dtype(op, 0, (dtypes.int32, dtypes.int64))
    rules.require_rank(dims._shape, 1)
    count = None if dims._shape is None else dims._shape[0]
    shape = indices._shape
    if shape is None:
        return ((indices.dtype, None),)
    if len(shape) > 1:
        raise ValueError(f"Shape must be at most rank 1 but is rank {len(shape)}.")
    return ((indices.dtype, (count, *shape)),)


def _unravel_lower(b: Builder, site: Site) -> View:
    indices, sizes = site.inputs[0], b.integers(site.inputs[1])
    known = b.known(indices)
    if (
        known is not None
        and known.size
        and not 0 <= known.min() <= known.max() < prod(sizes)
    ):
        raise ValueError(f"index is out of bound as with dims {list(sizes)}.")
    out = b.new(indices.dtype, (len(sizes), *indices.shape))
    for axis, size in enumerate(sizes):
        row = whole_slice(out, 0, axis, 1).drop_axes((0,))
        step = max(prod(sizes[axis + 1 :]), 1)

        def coordinate(i: Expr, step: int = step, size: int = max(size, 1)) -> Expr:
            return scalar.floormod(scalar.floordiv(i, step), size)

        b.store(row, coordinate, indices)
    return out


def _unravel_value(op: Any, inputs: list[Any]) -> Any:
    indices, sizes = inputs
    if not (is_known(indices) and is_known(sizes)) or indices.size > FOLD_LIMIT:
        return None
    try:
        found = np.unravel_index(indices, tuple(sizes.tolist()))
    except ValueError:
        return None  # an error when run
    return [np.asarray(found, indices.dtype)]


family.op(
    "UnravelIndex",
    (
        Input("indices", attr="Tidx", default=dtypes.int32),
        Input("dims", attr="Tidx", default=dtypes.int32, static=True),
    ),
    infer=_unravel_infer,
    lower=_unravel_lower,
    value=_unravel_value,
)
family.no_gradient("UnravelIndex")


def unravel_index(indices: Any, dims: Any, name: str | None = None) -> Tensor:
    """Flat indices of an array of shape ``dims`` as coordinates.

    Shapes:  indices [] or [n], dims [rank]; the result [rank] or [rank, n].
    An index out of range is an error where it is known when the graph is compiled,
    and wraps around else.
    """
    return apply_op("UnravelIndex", indices, dims, name=name)


# --- InTopKV2 -------------------------------------------------------------------------


def _in_top(xp: Any, outs: Any, predictions: Any, targets: Any, k: Any) -> None:
    """Fewer than k predictions of the row are above that of its target."""
    (out,) = outs
    rows, classes = predictions.shape
    inside = (targets >= 0) & (targets < classes)
    if classes == 0:
        out[...] = False
        return
    at = xp.where(inside, targets, 0)
    own = predictions[xp.arange(rows), at]
    above = (predictions > own[:, None]).sum(axis=1)
    finite = xp.isfinite(predictions).all(axis=1)
    out[...] = inside & finite & (above < k)


def _in_top_infer(op: Any) -> Any:
    predictions, targets, k = op.inputs
    rules.require_dtype(op, 1, (dtypes.int32, dtypes.int64))
    rules.require_rank(predictions._shape, 2)
    rules.require_rank(targets._shape, 1)
    rules.require_rank(k._shape, 0)
    rows = None if predictions._shape is None else predictions._shape[0]
    if targets._shape is not None:
        rows = rules.merge_dimensions(rows, targets._shape[0])
    return ((dtypes.bool_, (rows,)),)


def _in_top_lower(b: Builder, site: Site) -> View:
    predictions, targets, k = site.inputs
    if predictions.shape[:1] != targets.shape:
        raise ValueError(
            f"First dimension of predictions {predictions.shape[0]} must match length "
            f"of targets {targets.shape[0]}"
        )
    outs = [(dtypes.bool_, targets.shape)]
    (out,) = b.call("in_top_k", _in_top, [predictions, targets, k], outs)
    return out


family.op(
    "InTopKV2",
    (
        Input("predictions", attr=None, dtype=dtypes.float32),
        Input("targets", attr="T", default=dtypes.int32),
        Input("k", attr="T"),
    ),
    infer=_in_top_infer,
    lower=_in_top_lower,
)


def in_top_k(predictions: Any, targets: Any, k: Any, name: str | None = None) -> Tensor:
    """True for rows whose target class is among the ``k`` greatest predictions.

    Shapes:  predictions [batch, classes], targets [batch]; the result [batch], bool.
    Dtypes:  predictions float32, targets int32 or int64.
    A class as great as the k-th counts. A target out of range, or a row with a
    prediction that is not finite, gives false.
    """
    with name_scope(name, "in_top_k"):
        targets = convert_to_tensor(targets, dtype_hint=dtypes.int32, name="targets")
        k = convert_to_tensor(k, targets.dtype, name="k")
        return apply_op("InTopKV2", predictions, targets, k, name="InTopKV2")


def in_top_k_v2(
    targets: Any, predictions: Any, k: Any, name: str | None = None
) -> Tensor:
    """``in_top_k`` with the arguments of TensorFlow 2."""
    return in_top_k(predictions, targets, k, name)
