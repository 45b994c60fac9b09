"""Space to depth and to batch: blocks of pixels moved to another axis, and back."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import static_input

family = OpFamily()

# --- SpaceToDepth, DepthToSpace -----------------------------------------------------


def _depth_infer(to_depth: bool) -> Any:
    def infer(op: Operation) -> Any:
        x = op.inputs[0]
        block = op.attrs["block_size"]
        if block < 2:
            raise ValueError(f"Block size should be > 1: {block}")
        if x._shape is None:
            return ((x.dtype, (None,) * 4),)
        if len(x._shape) != 4:
            raise ValueError(f"Shape must be rank 4 but is rank {len(x._shape)}")
        last = op.attrs["data_format"] == "NHWC"
        n, c = x._shape[0], x._shape[3 if last else 1]
        size: tuple[int | None, ...] = x._shape[1:3] if last else x._shape[2:]
        many = block * block
        if to_depth:
            size = tuple(_quotient(s, block) for s in size)
            c = None if c is None else c * many
        else:
            size = tuple(None if s is None else s * block for s in size)
            c = _quotient(c, many)
        return ((x.dtype, (n, *size, c) if last else (n, c, *size)),)

    return infer


def _quotient(size: int | None, divisor: int) -> int | None:
    if size is not None and size % divisor:
        raise ValueError(
            f"Dimension size must be evenly divisible by {divisor} but is {size}"
        )
    return None if size is None else size // divisor


def _channels_last(view: View, data_format: str) -> View:
    if data_format == "NHWC":
        return view
    if data_format != "NCHW":
        raise ValueError(f"data_format must be NHWC or NCHW, not {data_format!r}")
    return view.transpose((0, 2, 3, 1))


def _as_asked(view: View, data_format: str) -> View:
    return view if data_format == "NHWC" else view.transpose((0, 3, 1, 2))


def _to_depth_lower(b: Builder, site: Site) -> View:
    block, form = site.attrs["block_size"], site.attrs["data_format"]
    x = _channels_last(site.inputs[0], form)
    n, h, w, c = x.shape
    size = (_quotient(h, block) or 0, _quotient(w, block) or 0)
    cells = b.reshape(x, (n, size[0], block, size[1], block, c))
    moved = cells.transpose((0, 1, 3, 2, 4, 5))
    return _as_asked(b.reshape(moved, (n, *size, block * block * c)), form)


def _to_space_lower(b: Builder, site: Site) -> View:
    block, form = site.attrs["block_size"], site.attrs["data_format"]
    x = _channels_last(site.inputs[0], form)
    n, h, w, c = x.shape
    depth = _quotient(c, block * block) or 0
    cells = b.reshape(x, (n, h, w, block, block, depth))
    moved = cells.transpose((0, 1, 3, 2, 4, 5))
    return _as_asked(b.reshape(moved, (n, h * block, w * block, depth)), form)


_BLOCKS = {"block_size": ..., "data_format": "NHWC"}

family.op(
    "SpaceToDepth",
    "input",
    attrs=_BLOCKS,
    infer=_depth_infer(True),
    lower=_to_depth_lower,
)
family.op(
    "DepthToSpace",
    "input",
    attrs=_BLOCKS,
    infer=_depth_infer(False),
    lower=_to_space_lower,
)


@family.gradient("SpaceToDepth")
def _to_depth_grad(op: Operation, dy: Tensor) -> Any:
    return op.graph.apply("DepthToSpace", dy, **{n: op.attrs[n] for n in _BLOCKS})


@family.gradient("DepthToSpace")
def _to_space_grad(op: Operation, dy: Tensor) -> Any:
    return op.graph.apply("SpaceToDepth", dy, **{n: op.attrs[n] for n in _BLOCKS})


def space_to_depth(
    input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC"
) -> Tensor:
    """Blocks of pixels into channels: [n, h, w, c] to [n, h/s, w/s, c*s*s]."""
    return apply_op(
        "SpaceToDepth", input, block_size=block_size, data_format=data_format, name=name
    )


def space_to_depth_v2(
    input: Any, block_size: int, data_format: str = "NHWC", name: str | None = None
) -> Tensor:
    """``space_to_depth`` with the signature of TensorFlow 2."""
    return space_to_depth(input, block_size, name, data_format)


def depth_to_space(
    input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC"
) -> Tensor:
    """Channels into blocks of pixels: [n, h, w, c*s*s] to [n, h*s, w*s, c]."""
    return apply_op(
        "DepthToSpace", input, block_size=block_size, data_format=data_format, name=name
    )


def depth_to_space_v2(
    input: Any, block_size: int, data_format: str = "NHWC", name: str | None = None
) -> Tensor:
    """``depth_to_space`` with the signature of TensorFlow 2."""
    return depth_to_space(input, block_size, name, data_format)


# --- SpaceToBatchND, BatchToSpaceND -------------------------------------------------


def _batch_infer(to_batch: bool) -> Any:
    def infer(op: Operation) -> Any:
        x, block, edges = op.inputs
        blocks, known = values.constant_value(block), values.constant_value(edges)
        if x._shape is None:
            return ((x.dtype, None),)
        if blocks is None:
            return ((x.dtype, (None,) * len(x._shape)),)
        sizes = blocks.tolist()
        spatial = x._shape[1 : len(sizes) + 1]
        added = [None] * len(sizes) if known is None else known.sum(axis=1).tolist()
        out: list[int | None] = []
        for size, count, more in zip(spatial, sizes, added):
            if size is None or more is None:
                out.append(None)
            elif to_batch:
                out.append(_quotient(size + more, count))
            else:
                out.append(size * count - more)
        batch = x._shape[0]
        if batch is not None:
            many = prod(sizes)
            batch = batch * many if to_batch else _quotient(batch, many)
        return ((x.dtype, (batch, *out, *x._shape[len(sizes) + 1 :])),)

    return infer


def _to_batch_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    blocks, pads = b.integers(site.inputs[1]), b.value(site.inputs[2]).tolist()
    count = len(blocks)
    if any(n for pair in pads for n in pair):
        before = [0, *(p[0] for p in pads), *[0] * (x.rank - 1 - count)]
        added = [0, *(sum(p) for p in pads), *[0] * (x.rank - 1 - count)]
        out = b.new(x.dtype, tuple(n + m for n, m in zip(x.shape, added)))
        b.store_value(out, 0)
        b.copy(x, into=out.slice(tuple(before), x.shape))
        x = out
    sizes = [_quotient(n, s) or 0 for n, s in zip(x.shape[1:], blocks)]
    cells: list[int] = [n for pair in zip(sizes, blocks) for n in pair]
    rest = x.shape[count + 1 :]
    split = b.reshape(x, (x.shape[0], *cells, *rest))
    # [batch, size, block, ..., rest] to [block..., batch, size..., rest].
    perm = [
        *range(2, 2 * count + 1, 2),
        0,
        *range(1, 2 * count, 2),
        *range(2 * count + 1, split.rank),
    ]
    shape = (prod(blocks) * x.shape[0], *sizes, *rest)
    return b.reshape(split.transpose(tuple(perm)), shape)


def _to_space_nd_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    blocks, crops = b.integers(site.inputs[1]), b.value(site.inputs[2]).tolist()
    count = len(blocks)
    batch = _quotient(x.shape[0], prod(blocks)) or 0
    sizes, rest = x.shape[1 : count + 1], x.shape[count + 1 :]
    split = b.reshape(x, (*blocks, batch, *sizes, *rest))
    perm = [count]
    for i in range(count):
        perm += [count + 1 + i, i]
    perm += range(2 * count + 1, split.rank)
    full = [n * s for n, s in zip(sizes, blocks)]
    whole = b.reshape(split.transpose(tuple(perm)), (batch, *full, *rest))
    starts = (0, *(c[0] for c in crops), *[0] * len(rest))
    kept = tuple(n - sum(c) for n, c in zip(full, crops))
    if any(n < 0 for n in kept):
        raise ValueError(f"crops {crops} are larger than the image {full}")
    view: View = whole.slice(starts, (batch, *kept, *rest))
    return view


for _type, _to_batch, _edges in (
    ("SpaceToBatchND", True, "paddings"),
    ("BatchToSpaceND", False, "crops"),
):
    family.op(
        _type,
        (
            Input("input"),
            static_input("block_shape", "Tblock_shape"),
            static_input(_edges, f"T{_edges}"),
        ),
        infer=_batch_infer(_to_batch),
        lower=_to_batch_lower if _to_batch else _to_space_nd_lower,
    )


@family.gradient("SpaceToBatchND")
def _to_batch_grad(op: Operation, dy: Tensor) -> Any:
    return [op.graph.apply("BatchToSpaceND", dy, *op.inputs[1:]), None, None]


@family.gradient("BatchToSpaceND")
def _to_space_nd_grad(op: Operation, dy: Tensor) -> Any:
    return [op.graph.apply("SpaceToBatchND", dy, *op.inputs[1:]), None, None]


def space_to_batch_nd(
    input: Any, block_shape: Any, paddings: Any, name: str | None = None
) -> Tensor:
    """Blocks of the spatial axes, after zero padding, into the batch axis."""
    return apply_op("SpaceToBatchND", input, block_shape, paddings, name=name)


def batch_to_space_nd(
    input: Any, block_shape: Any, crops: Any, name: str | None = None
) -> Tensor:
    """The batch axis into blocks of the spatial axes, which are then cropped."""
    return apply_op("BatchToSpaceND", input, block_shape, crops, name=name)


def _square(block_size: int | None, block_shape: Any) -> Any:
    if block_shape is not None:
        return block_shape
    if block_size is None:
        raise ValueError("block_size (or block_shape) is needed.")
    return np.array([block_size, block_size], np.int64)


def space_to_batch(
    input: Any,
    paddings: Any,
    block_size: int | None = None,
    name: str | None = None,
    block_shape: Any = None,
) -> Tensor:
    """``space_to_batch_nd`` with square blocks."""
    return space_to_batch_nd(input, _square(block_size, block_shape), paddings, name)


def space_to_batch_v2(
    input: Any, block_shape: Any, paddings: Any, name: str | None = None
) -> Tensor:
    """``space_to_batch_nd`` under its name in TensorFlow 2."""
    return space_to_batch_nd(input, block_shape, paddings, name)


def batch_to_space_v2(
    input: Any, block_shape: Any, crops: Any, name: str | None = None
) -> Tensor:
    """``batch_to_space_nd`` under its name in TensorFlow 2."""
    return batch_to_space_nd(input, block_shape, crops, name)


def batch_to_space(
    input: Any,
    crops: Any,
    block_size: int | None = None,
    name: str | None = None,
    block_shape: Any = None,
) -> Tensor:
    """``batch_to_space_nd`` with square blocks."""
    return batch_to_space_nd(input, _square(block_size, block_shape), crops, name)


def required_space_to_batch_paddings(
    input_shape: Sequence[int],
    block_shape: Sequence[int],
    base_paddings: Any = None,
    name: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(paddings, crops) with which ``block_shape`` divides ``input_shape``.

    All arguments are known values; so are the results, int32 [axes, 2].
    """
    sizes, blocks = np.asarray(input_shape), np.asarray(block_shape)
    base = np.zeros((len(blocks), 2), np.int32)
    if base_paddings is not None:
        base = np.asarray(base_paddings)
    extra = -(sizes + base.sum(axis=1)) % blocks
    paddings = np.stack([base[:, 0], base[:, 1] + extra], axis=1)
    crops = np.stack([np.zeros_like(extra), extra], axis=1)
    return paddings.astype(np.int32), crops.astype(np.int32)
