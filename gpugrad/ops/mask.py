"""Ops whose result is as long as the data say: where, boolean_mask, unique."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.gather import gather
from gpugrad.ops.shape import shape

family = OpFamily()


def on_values(
    function: Callable[..., Sequence[np.ndarray]],
) -> dict[str, Callable[..., Any]]:
    """Rules of an op that NumPy computes: at once where the inputs are known.

    ``function(attrs, *arrays)`` gives one array an output.
    """

    def lower(b: Builder, site: Site) -> Sequence[View]:
        arrays = [b.value(v) for v in site.inputs]
        found = function(site.attrs, *arrays)
        return [b.literal(a.astype(d.np_dtype), d) for a, d in zip(found, site.dtypes)]

    def host(run: Any, site: Site, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = function(site.attrs, *arrays)
        return [a.astype(d.np_dtype) for a, d in zip(found, site.dtypes)]

    return {"lower": lower, "host": host}


# --- Where --------------------------------------------------------------------------


def _where_infer(op: Operation) -> Any:
    shape = op.inputs[0]._shape
    return ((dtypes.int64, (None, None if shape is None else len(shape))),)


# where(), which uses this op when it is given the condition alone, is in select.py.
family.op(
    "Where",
    (Input("input"),),
    infer=_where_infer,
    **on_values(lambda attrs, condition: [np.argwhere(condition)]),
)


def boolean_mask(
    tensor: Any, mask: Any, name: str | None = "boolean_mask", axis: int | None = None
) -> Tensor:
    """The slices of ``tensor`` where ``mask`` is true.

    Shapes:  mask of rank k is tensor's shape from ``axis`` on; those k axes become one,
             as long as there are true elements.
    """
    with name_scope(name, "boolean_mask", [tensor, mask]):
        tensor = convert_to_tensor(tensor, name="tensor")
        mask = convert_to_tensor(mask, name="mask")
        rank = mask.shape.rank
        if rank == 0:
            raise ValueError("mask of boolean_mask cannot be scalar.")
        if rank is None:
            raise ValueError(
                "Number of mask dimensions must be specified, even if some dimensions "
                "are None.  E.g. shape=[None] is ok, but shape=None is not."
            )
        first = 0 if axis is None else axis
        if first < 0 and tensor.shape.rank is not None:
            first += tensor.shape.rank
        have = tensor.shape
        have[first : first + rank].assert_is_compatible_with(mask.shape)
        count = apply_op("Prod", shape(tensor)[first : first + rank], [0])
        flat = [shape(tensor)[:first], [count], shape(tensor)[first + rank :]]
        merged = apply_op("ConcatV2", flat, 0, name="concat")
        rows = apply_op("Reshape", tensor, merged)
        size = have[first : first + rank].num_elements()
        rows.set_shape(
            have[:first].concatenate([size]).concatenate(have[first + rank :])
        )
        chosen = apply_op("Where", apply_op("Reshape", mask, [-1]))
        chosen = apply_op("Squeeze", chosen, squeeze_dims=[1])
        return gather(rows, chosen, axis=first)


def boolean_mask_v2(
    tensor: Any, mask: Any, axis: int | None = None, name: str | None = "boolean_mask"
) -> Tensor:
    """``boolean_mask`` with the signature of TensorFlow 2."""
    return boolean_mask(tensor, mask, name, axis)


# --- Unique, UniqueWithCounts -------------------------------------------------------

Unique = namedtuple("Unique", ["y", "idx"])
UniqueWithCounts = namedtuple("UniqueWithCounts", ["y", "idx", "count"])


def _unique_infer(op: Operation) -> Any:
    x = op.inputs[0]
    if x._shape is not None and len(x._shape) != 1:
        raise ValueError(f"Shape must be rank 1 but is rank {len(x._shape)}")
    index: DType = op.attrs["out_idx"]
    size = (None,) if x._shape is None else x._shape
    results = ((x.dtype, (None,)), (index, size), (index, (None,)))
    return results if op.type == "UniqueWithCounts" else results[:2]


def _unique(attrs: dict[str, Any], x: np.ndarray) -> list[np.ndarray]:
    """Distinct values in the order in which they first stand."""
    found, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return [found[order], rank[inverse.reshape(-1)], counts[order]]


family.op(
    "Unique",
    "x",
    attrs={"out_idx": dtypes.int32},
    infer=_unique_infer,
    **on_values(lambda attrs, x: _unique(attrs, x)[:2]),
)
family.op(
    "UniqueWithCounts",
    "x",
    attrs={"out_idx": dtypes.int32},
    infer=_unique_infer,
    **on_values(_unique),
)


def unique(x: Any, out_idx: Any = dtypes.int32, name: str | None = None) -> Any:
    """(y, idx): the distinct values of a vector in order, and x as indices of y."""
    return Unique(*apply_op("Unique", x, name=name, out_idx=as_dtype(out_idx)))


def unique_with_counts(
    x: Any, out_idx: Any = dtypes.int32, name: str | None = None
) -> Any:
    """(y, idx, count): as unique, and how often each value stands in ``x``."""
    found = apply_op("UniqueWithCounts", x, name=name, out_idx=as_dtype(out_idx))
    return UniqueWithCounts(*found)


# --- ListDiff -----------------------------------------------------------------------

ListDiff = namedtuple("ListDiff", ["out", "idx"])


def _list_diff(attrs: dict[str, Any], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    places = np.flatnonzero(~np.isin(x, y))
    return [x[places], places]


def _list_diff_value(op: Operation, inputs: list[Any]) -> Any:
    if not all(is_known(v) and v.size <= FOLD_LIMIT for v in inputs):
        return None
    out, places = _list_diff(op.attrs, *inputs)
    return [out, places.astype(op.attrs["out_idx"].np_dtype)]


family.op(
    "ListDiff",
    "x y",
    attrs={"out_idx": dtypes.int32},
    infer=lambda op: (
        (op.inputs[0].dtype, (None,)),
        (op.attrs["out_idx"], (None,)),
    ),
    value=_list_diff_value,
    **on_values(_list_diff),
)


def setdiff1d(
    x: Any, y: Any, index_dtype: Any = dtypes.int32, name: str | None = None
) -> Any:
    """(out, idx): the values of the vector ``x`` that are not in ``y``, and where."""
    found = apply_op("ListDiff", x, y, name=name, out_idx=as_dtype(index_dtype))
    return ListDiff(*found)
