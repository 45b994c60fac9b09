"""Stacking: tensors side by side along a new axis, and grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import shapes
from gpugrad.graph.build import (
    apply_op,
    convert_to_tensor,
    graph_of,
    name_scope,
)
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.concat import concat, joined
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.fill import ones
from gpugrad.ops.shape import size
from gpugrad.ops.static import (
    axis_in,
    outputs,
    tidy,
    vector,
    whole_slice,
)

family = OpFamily()

# --- Pack, Unpack -------------------------------------------------------------------


def _pack_infer(op: Operation) -> Any:
    first = op.inputs[0]
    shape: shapes.Partial = None
    for part in op.inputs:
        try:
            shape = shapes.merge(shape, part._shape)
        except ValueError:
            raise ValueError(
                f"Shapes of all inputs of stack must match: {list(shape or ())} and "
                f"{list(part._shape or ())} do not"
            ) from None
    if shape is not None:
        place = axis_in(op.attrs["axis"], len(shape) + 1)
        shape = (*shape[:place], len(op.inputs), *shape[place:])
    return ((first.dtype, shape),)


def _pack_value(op: Operation, inputs: list[Any]) -> Any:
    if all(is_known(v) for v in inputs):
        return [np.stack(inputs, op.attrs["axis"])]
    if len(inputs) > FOLD_LIMIT or any(v is not None and v.ndim for v in inputs):
        return None
    if any(t._shape != () for t in op.inputs) or not op.inputs[0].dtype.is_integer:
        return None
    return [vector([None if v is None else int(v) for v in inputs], op.inputs[0].dtype)]


def _pack_lower(b: Builder, site: Site) -> View:
    parts = site.inputs
    first = parts[0]
    if any(p.shape != first.shape for p in parts):
        raise ValueError(
            f"Shapes of all inputs must match: {[list(p.shape) for p in parts]}"
        )
    place = axis_in(site.attrs["axis"], first.rank + 1)
    packed = joined(b, [p.insert_axis(place) for p in parts], place)
    if first.rank == 0 and len(parts) > 1:
        b.remember_parts(packed, parts)
    return packed


family.op(
    "Pack",
    (Input("values", number="N"),),
    attrs={"axis": 0},
    infer=_pack_infer,
    value=_pack_value,
    lower=_pack_lower,
)


@family.gradient("Pack")
def _pack_grad(op: Operation, dy: Tensor) -> Any:
    found = op.graph.apply(
        "Unpack", dy, num=len(op.inputs), axis=op.attrs["axis"], name="unstack"
    )
    return outputs(found)


def stack(values: Any, axis: int = 0, name: str | None = "stack") -> Tensor:
    """Tensors of one shape along a new ``axis``. ValueError if shapes differ."""
    name = name or "stack"
    if isinstance(values, Tensor):
        if axis == 0:
            return convert_to_tensor(values, name=name)
        values = unstack(values)
    values = list(values)
    if not values:
        raise ValueError("stack() needs at least one tensor.")
    if not any(hasattr(v, "dtype") for v in values):
        # Numbers, or lists of numbers and tensors.
        if axis == 0:
            return convert_to_tensor(values, name=name)
        values = [convert_to_tensor(v) for v in values]
    return apply_op("Pack", _named_items(values, name), axis=axis, name=name)


def _named_items(items: list[Any], name: str) -> list[Any]:
    """Values among the tensors, as constants ``<name>/<index>`` of their dtype."""
    if not any(isinstance(v, Tensor) for v in items):
        return items
    dtype = next(v.dtype for v in items if isinstance(v, Tensor))
    graph = graph_of(*items)
    return [
        v
        if isinstance(v, Tensor)
        else graph.convert(v, dtype, f"{name.rstrip('/')}/{i}")
        for i, v in enumerate(items)
    ]


@family.numpy_function(np.stack)
def _numpy_stack(arrays: Any, axis: int = 0) -> Tensor:
    return stack(list(arrays), axis)


def _numpy_joiner(numpy_function: Any, axis: int, least: int) -> Callable[..., Tensor]:
    @family.numpy_function(numpy_function)
    def join(tup: Any) -> Tensor:
        parts = [convert_to_tensor(t) for t in tup]
        parts = [_at_least(t, least) for t in parts]
        return concat(parts, axis if (parts[0].ndim or 2) > axis else 0)

    return join


def _at_least(tensor: Tensor, rank: int) -> Tensor:
    while tensor.ndim is not None and tensor.ndim < rank:
        tensor = apply_op("ExpandDims", tensor, 0)
    return tensor


_numpy_joiner(np.vstack, 0, 2)
_numpy_joiner(np.hstack, 1, 1)


def _unpack_infer(op: Operation) -> Any:
    x = op.inputs[0]
    num, axis = op.attrs["num"], op.attrs["axis"]
    if x._shape is None:
        return [(x.dtype, None)] * num
    place = axis_in(axis, len(x._shape))
    if x._shape[place] not in (None, num):
        raise ValueError(f"Dimension must be {num} but is {x._shape[place]}")
    shape = x._shape[:place] + x._shape[place + 1 :]
    return [(x.dtype, shape)] * num


def _unpack_value(op: Operation, inputs: list[Any]) -> Any:
    x = inputs[0]
    if x is None or x.size > FOLD_LIMIT:
        return None
    dtype = op.inputs[0].dtype
    parts = [
        tidy(np.asarray(np.take(x, i, op.attrs["axis"])), dtype)
        for i in range(op.attrs["num"])
    ]
    return parts


def _unpack_lower(b: Builder, site: Site) -> Sequence[View]:
    x = site.inputs[0]
    place = axis_in(site.attrs["axis"], x.rank)
    if x.shape[place] != site.attrs["num"]:
        raise ValueError(
            f"Input shape axis {place} must equal {site.attrs['num']}, got shape "
            f"{list(x.shape)}"
        )
    return [
        whole_slice(x, place, i, 1).drop_axes((place,)) for i in range(x.shape[place])
    ]


family.op(
    "Unpack",
    "value",
    attrs={"num": ..., "axis": 0},
    infer=_unpack_infer,
    value=_unpack_value,
    lower=_unpack_lower,
)


@family.gradient("Unpack")
def _unpack_grad(op: Operation, *dys: Tensor) -> Any:
    return op.graph.apply("Pack", list(dys), axis=op.attrs["axis"], name="stack")


def unstack(
    value: Any, num: int | None = None, axis: int = 0, name: str | None = "unstack"
) -> list[Tensor]:
    """The list of slices of ``value`` along ``axis``, without that axis.

    ``num`` is how many there are, where the static shape does not say (ValueError).
    """
    if num is None:
        value = convert_to_tensor(value)
        rank = value.shape.rank
        if rank is not None:
            if not -rank <= axis < rank:
                raise ValueError(
                    f"Argument `axis` = {axis} not in range [{-rank}, {rank})"
                )
            num = value.shape[axis]
        if num is None:
            raise ValueError(f"Cannot infer argument `num` from shape {value.shape}")
    return outputs(
        apply_op("Unpack", value, num=num, axis=axis, name=name or "unstack")
    )


# --- meshgrid -----------------------------------------------------------------------


def meshgrid(*args: Any, **kwargs: Any) -> list[Tensor]:
    """Coordinates of a grid: for vectors x, y, ... one tensor each of its shape.

    ``indexing``: "xy" (the default: y varies along axis 0) or "ij".
    """
    indexing = kwargs.pop("indexing", "xy")
    name = kwargs.pop("name", "meshgrid")
    if kwargs:
        raise TypeError(
            f"{next(iter(kwargs))} is an invalid keyword argument of meshgrid"
        )
    if indexing not in ("xy", "ij"):
        raise ValueError(f"Argument `indexing` must be 'xy' or 'ij', not {indexing!r}.")
    with name_scope(name, "meshgrid", args):
        rank = len(args)
        parts = []
        for i, arg in enumerate(args):
            dims = [-1 if j == i else 1 for j in range(rank)]
            parts.append(apply_op("Reshape", arg, dims))
        sizes = [size(arg) for arg in args]
        if indexing == "xy" and rank > 1:
            parts[0] = apply_op("Reshape", parts[0], [1, -1] + [1] * (rank - 2))
            parts[1] = apply_op("Reshape", parts[1], [-1, 1] + [1] * (rank - 2))
            sizes[0], sizes[1] = sizes[1], sizes[0]
        if not parts:
            return []
        grid = ones(sizes, parts[0].dtype)
        return [part * grid for part in parts]


@family.numpy_function(np.meshgrid)
def _numpy_meshgrid(*xi: Any, indexing: str = "xy") -> list[Tensor]:
    return meshgrid(*xi, indexing=indexing)
