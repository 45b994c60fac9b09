"""Reversal and rotation along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.concat import joined
from gpugrad.ops.family import OpFamily, same_as_input
from gpugrad.ops.static import axis_in, moved, static_input, whole_slice

family = OpFamily()

# --- ReverseV2 ----------------------------------------------------------------------


def _reverse_infer(op: Operation) -> Any:
    x, axis = op.inputs
    known = values.constant_value(axis)
    if known is not None and x._shape is not None:
        _axes(known.reshape(-1).tolist(), len(x._shape))
    return same_as_input(op)


def _axes(axes: list[int], rank: int) -> list[int]:
    found = [axis_in(int(a), rank) for a in axes]
    if len(set(found)) != len(found):
        raise ValueError(f"axis {axes} of reverse is given twice")
    return found


def _reverse_lower(b: Builder, site: Site) -> View:
    x, axis = site.inputs
    axes = _axes(list(b.integers(axis)), x.rank)
    starts = tuple(n - 1 if i in axes else 0 for i, n in enumerate(x.shape))
    steps = tuple(-1 if i in axes else 1 for i in range(x.rank))
    view: View = x.slice(starts, x.shape, steps)
    return view


family.op(
    "ReverseV2",
    (Input("tensor"), static_input("axis", "Tidx")),
    infer=_reverse_infer,
    lower=_reverse_lower,
    value=moved(lambda op, x, axis: np.flip(x, tuple(axis.reshape(-1).tolist()))),
)


@family.gradient("ReverseV2")
def _reverse_grad(op: Operation, dy: Tensor) -> Any:
    return [op.graph.apply("ReverseV2", dy, op.inputs[1]), None]


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Tensor:
    """``tensor`` backwards along each axis of the vector ``axis``."""
    return apply_op("ReverseV2", tensor, axis, name=name)


@family.numpy_function(np.flip)
def _numpy_flip(m: Any, axis: Any = None) -> Tensor:
    if axis is None:
        if m.ndim is None:
            raise ValueError("np.flip() without axis needs a tensor of known rank.")
        axis = range(m.ndim)
    axes = [axis] if isinstance(axis, (int, np.integer)) else list(axis)
    return reverse(m, np.array(axes, np.int32))


# --- Roll ---------------------------------------------------------------------------


def _roll_lower(b: Builder, site: Site) -> View:
    x: View = site.inputs[0]
    shifts, axes = b.integers(site.inputs[1]), b.integers(site.inputs[2])
    if len(shifts) != len(axes):
        raise ValueError("shift and axis of roll must have the same size")
    for shift, axis in zip(shifts, axes):
        place = axis_in(axis, x.rank)
        extent = x.shape[place]
        cut = shift % extent if extent else 0
        if cut:
            last = whole_slice(x, place, extent - cut, cut)
            first = whole_slice(x, place, 0, extent - cut)
            x = joined(b, [last, first], place)
    return x


family.op(
    "Roll",
    (Input("input"), static_input("shift", "Tshift"), static_input("axis", "Taxis")),
    infer=same_as_input,
    lower=_roll_lower,
)


@family.gradient("Roll")
def _roll_grad(op: Operation, dy: Tensor) -> Any:
    shift, axis = op.inputs[1:]
    return [op.graph.apply("Roll", dy, -shift, axis), None, None]


def roll(input: Any, shift: Any, axis: Any, name: str | None = None) -> Tensor:
    """``input`` moved by ``shift`` along ``axis``; what leaves at the end comes first.

    Both may be vectors of one length: one rotation after the other.
    """
    return apply_op("Roll", input, shift, axis, name=name)


@family.numpy_function(np.roll)
def _numpy_roll(a: Any, shift: Any, axis: Any = None) -> Tensor:
    if axis is None:
        raise ValueError("np.roll() of a tensor needs an axis.")
    return roll(a, shift, axis)


# --- ReverseSequence ----------------------------------------------------------------


def _reverse_sequence(xp: Any, outs: Any, x: Any, lengths: Any) -> None:
    """x [batch, time, ...]: the first lengths[b] of each row backwards."""
    time = xp.arange(x.shape[1])[None, :]
    lengths = lengths[:, None]
    source = xp.where(time < lengths, lengths - 1 - time, time)
    outs[0][...] = x[xp.arange(x.shape[0])[:, None], source]


def _reverse_sequence_lower(b: Builder, site: Site) -> View:
    x, lengths = site.inputs
    batch = axis_in(site.attrs["batch_dim"], x.rank, "batch_dim")
    time = axis_in(site.attrs["seq_dim"], x.rank, "seq_dim")
    if lengths.shape != (x.shape[batch],):
        raise ValueError(
            f"Length of seq_lengths != input.dims({batch}): {list(lengths.shape)} vs. "
            f"{x.shape[batch]}"
        )
    perm = (batch, time, *(i for i in range(x.rank) if i not in (batch, time)))
    turned = x.transpose(perm)
    (out,) = b.call(
        "reverse_sequence",
        _reverse_sequence,
        [turned, lengths],
        [(x.dtype, turned.shape)],
    )
    view: View = out.transpose(tuple(perm.index(i) for i in range(x.rank)))
    return view


def _reverse_sequence_infer(op: Operation) -> Any:
    x, lengths = op.inputs
    shape = x._shape
    if shape is not None and lengths._shape is not None:
        rules.require_rank(lengths._shape, 1)
        batch = axis_in(op.attrs["batch_dim"], len(shape), "batch_dim")
        rows = rules.merge_dimensions(shape[batch], lengths._shape[0])
        shape = (*shape[:batch], rows, *shape[batch + 1 :])
    return ((x.dtype, shape),)


family.op(
    "ReverseSequence",
    (Input("input"), Input("seq_lengths", attr="Tlen", default=dtypes.int64)),
    attrs={"seq_dim": ..., "batch_dim": 0},
    infer=_reverse_sequence_infer,
    lower=_reverse_sequence_lower,
)


@family.gradient("ReverseSequence")
def _reverse_sequence_grad(op: Operation, dy: Tensor) -> Any:
    attrs = {name: op.attrs[name] for name in ("seq_dim", "batch_dim")}
    return [op.graph.apply("ReverseSequence", dy, op.inputs[1], **attrs), None]


def reverse_sequence(
    input: Any,
    seq_lengths: Any,
    seq_axis: int | None = None,
    batch_axis: int | None = None,
    name: str | None = None,
    seq_dim: int | None = None,
    batch_dim: int | None = None,
) -> Tensor:
    """Each row of ``batch_axis`` backwards along ``seq_axis``, up to its length."""
    time = seq_dim if seq_axis is None else seq_axis
    batch = batch_dim if batch_axis is None else batch_axis
    if time is None:
        raise ValueError("reverse_sequence() needs seq_axis.")
    return apply_op(
        "ReverseSequence",
        input,
        seq_lengths,
        seq_dim=time,
        batch_dim=batch or 0,
        name=name,
    )
