"""DynamicPartition and DynamicStitch: rows dealt out by number, and put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.static import outputs, shape_of, vector

family = OpFamily()

# --- DynamicPartition ---------------------------------------------------------------


def _partition_infer(op: Operation) -> Any:
    data, partitions = op.inputs
    count = op.attrs["num_partitions"]
    d, p = data._shape, partitions._shape
    if d is None or p is None:
        return [(data.dtype, None)] * count
    if len(p) > len(d) or any(
        m is not None and n is not None and m != n for m, n in zip(d, p)
    ):
        raise ValueError(f"data.shape {list(d)} must start with {list(p)}")
    known = values.constant_value(partitions)
    sizes: Sequence[int | None] = [None] * count
    if known is not None:
        sizes = np.bincount(known.reshape(-1), minlength=count).tolist()[:count]
    return [(data.dtype, (n, *d[len(p) :])) for n in sizes]


def _members(partitions: np.ndarray, count: int) -> list[np.ndarray]:
    """The places of each part's rows; ValueError for a number out of range."""
    flat = partitions.reshape(-1)
    bad = np.flatnonzero((flat < 0) | (flat >= count))
    if bad.size:
        raise ValueError(
            f"partitions[{bad[0]}] = {flat[bad[0]]} is not in [0, {count})"
        )
    return [np.flatnonzero(flat == i) for i in range(count)]


def _rows(xp: Any, outs: Any, table: Any, places: Any) -> None:
    outs[0][...] = table[places]


def _partition_lower(b: Builder, site: Site) -> Sequence[View]:
    data, partitions = site.inputs
    rank = partitions.rank
    if data.shape[:rank] != partitions.shape:
        raise ValueError(
            f"data.shape must start with partitions.shape, got data.shape = "
            f"{list(data.shape)}, partitions.shape = {list(partitions.shape)}"
        )
    members = _members(b.value(partitions), site.attrs["num_partitions"])
    table = b.reshape(data, (partitions.size, *data.shape[rank:]))
    parts: list[View] = []
    for places in members:
        index = b.literal(places, dtypes.int64)
        shape = (len(places), *table.shape[1:])
        parts += b.call("rows", _rows, [table, index], [(data.dtype, shape)])
    return parts


def _partition_host(run: Any, site: Site, arrays: Sequence[np.ndarray]) -> Any:
    data, partitions = arrays
    members = _members(partitions, site.attrs["num_partitions"])
    table = data.reshape(partitions.size, *data.shape[partitions.ndim :])
    return [table[places] for places in members]


family.op(
    "DynamicPartition",
    (Input("data"), Input("partitions", attr=None, dtype=dtypes.int32)),
    attrs={"num_partitions": ...},
    infer=_partition_infer,
    lower=_partition_lower,
    host=_partition_host,
)


@family.gradient("DynamicPartition")
def _partition_grad(op: Operation, *dys: Tensor) -> Any:
    data, partitions = op.inputs
    graph, apply = op.graph, op.graph.apply
    shape = shape_of(partitions, graph=graph)
    every = apply("Range", 0, apply("Prod", shape, [0]), 1, name="range")
    places = apply(
        "DynamicPartition",
        apply("Reshape", every, shape),
        partitions,
        num_partitions=op.attrs["num_partitions"],
    )
    joined = apply("ParallelDynamicStitch", outputs(places), list(dys))
    return [apply("Reshape", joined, shape_of(data, graph=graph)), None]


def dynamic_partition(
    data: Any, partitions: Any, num_partitions: int, name: str | None = None
) -> list[Tensor]:
    """``num_partitions`` tensors: part i holds the rows whose number is i, in order.

    Shapes: partitions [...], data partitions.shape + [...], part i [its rows, ...].
    """
    found = apply_op(
        "DynamicPartition", data, partitions, num_partitions=num_partitions, name=name
    )
    return outputs(found)


# --- DynamicStitch ------------------------------------------------------------------


def _halves(items: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    count = len(items) // 2
    return items[:count], items[count:]


def _stitch_infer(op: Operation) -> Any:
    indices, data = _halves(op.inputs)
    if len(op.inputs) % 2 or not indices:
        raise ValueError("dynamic_stitch needs as many tensors of data as of indices")
    rest = None
    for index, part in zip(indices, data):
        if index._shape is not None and part._shape is not None:
            rest = part._shape[len(index._shape) :]
    if rest is None:
        return ((data[0].dtype, None),)
    known = [values.constant_value(i) for i in indices]
    size = None
    if all(k is not None for k in known):
        size = _stitched_size(known)
    return ((data[0].dtype, (size, *rest)),)


def _stitched_size(indices: Sequence[Any]) -> int:
    return max((int(i.max()) + 1 for i in indices if i.size), default=0)


def _stitch_value(op: Operation, inputs: list[Any]) -> Any:
    indices, data = _halves(inputs)
    if not all(is_known(i) and i.size <= FOLD_LIMIT for i in indices):
        return None
    dtype = op.inputs[-1].dtype
    if not dtype.is_integer:
        return None
    entries: list[int | None] = [0] * _stitched_size(indices)
    for index, part, tensor in zip(indices, data, _halves(op.inputs)[1]):
        if part is None:
            if tensor._shape != index.shape:
                return None
            known: list[int | None] = [None] * index.size
        elif part.shape != index.shape:
            return None
        else:
            known = part.reshape(-1).tolist()
        for place, entry in zip(index.reshape(-1).tolist(), known):
            entries[place] = entry
    return [vector(entries, dtype)]


def _stitch(xp: Any, outs: Any, *parts: Any) -> None:
    (out,) = outs
    indices, data = _halves(parts)
    out[...] = 0
    for index, rows in zip(indices, data):
        out[index] = rows


def _stitch_lower(b: Builder, site: Site) -> View:
    indices, data = _halves(site.inputs)
    found = [b.value(i) for i in indices]
    if any((i < 0).any() for i in found):
        raise ValueError("indices of dynamic_stitch must not be negative")
    rest = data[0].shape[indices[0].rank :]
    for index, part in zip(indices, data):
        if part.shape != (*index.shape, *rest):
            raise ValueError(
                f"Need data[i].shape = indices[i].shape + {list(rest)}, got "
                f"{list(part.shape)} for indices of shape {list(index.shape)}"
            )
    flat = [b.literal(i.reshape(-1), dtypes.int32) for i in found]
    rows = [b.reshape(d, (i.size, *rest)) for i, d in zip(indices, data)]
    shape = (_stitched_size(found), *rest)
    (out,) = b.call("dynamic_stitch", _stitch, [*flat, *rows], [(data[0].dtype, shape)])
    return out


def _stitch_host(run: Any, site: Site, arrays: Sequence[np.ndarray]) -> Any:
    indices, data = _halves(arrays)
    if any((i < 0).any() for i in indices):
        raise ValueError("indices of dynamic_stitch must not be negative")
    rest = data[0].shape[indices[0].ndim :]
    out = np.zeros((_stitched_size(indices), *rest), data[0].dtype)
    for index, rows in zip(indices, data):
        out[index] = rows
    return [out]


for _type in ("DynamicStitch", "ParallelDynamicStitch"):
    family.op(
        _type,
        (
            Input("indices", attr=None, dtype=dtypes.int32, number="N"),
            Input("data", number="N"),
        ),
        infer=_stitch_infer,
        value=_stitch_value,
        lower=_stitch_lower,
        host=_stitch_host,
    )


@family.gradient("DynamicStitch", "ParallelDynamicStitch")
def _stitch_grad(op: Operation, dy: Tensor) -> Any:
    indices, _ = _halves(op.inputs)
    rows = [op.graph.apply("GatherV2", dy, index, 0) for index in indices]
    return [None] * len(indices) + rows


def dynamic_stitch(
    indices: Sequence[Any], data: Sequence[Any], name: str | None = None
) -> Tensor:
    """One tensor with row ``indices[m][i]`` from ``data[m][i]``; the last one stays.

    Shapes: data[m] indices[m].shape + [...], result [greatest index + 1, ...].
    """
    return apply_op("DynamicStitch", list(indices), list(data), name=name)
