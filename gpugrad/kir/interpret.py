"""The meaning of the kernel IR, as slow and obvious NumPy.

Backends are tested against this. The compiler folds small constants with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gpugrad.dtypes import DType
from gpugrad.kir import meaning
from gpugrad.kir.program import Barrier, Call, Group, Step
from gpugrad.kir.scalar import Apply, Expr, Index, Lit, Load, Reduce, cast_op, postorder
from gpugrad.kir.space import Shape, View

Memory = dict[int, np.ndarray]


def array_of(view: View, flat: np.ndarray) -> np.ndarray:
    """The elements of ``view`` in ``flat``, its buffer; writable, not a copy."""
    if view.size == 0:
        return np.empty(view.shape, flat.dtype)
    strides = tuple(s * flat.itemsize for s in view.strides)
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides)


def evaluate(
    expr: Expr,
    inputs: Sequence[np.ndarray],
    extents: Shape | None = None,
    reduced: tuple[bool, ...] = (),
) -> np.ndarray:
    """The values of ``expr`` where load number i reads ``inputs[i]``.

    ``inputs`` broadcast to ``extents``, by default their broadcast shape;
    ``reduced`` says over which axes a Reduce folds. The result has extent 1 along
    each axis where nothing in it varies.
    """
    if extents is None:
        extents = np.broadcast_shapes(*[np.shape(i) for i in inputs])
    axes = tuple(i for i, r in enumerate(reduced) if r)
    values: dict[Expr, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for node in postorder(expr):
            if type(node) is Load:
                values[node] = np.asarray(inputs[node.slot])
            elif type(node) is Lit:
                values[node] = np.asarray(node.value)
            elif type(node) is Index:
                shape = [1] * len(extents)
                shape[node.axis] = extents[node.axis]
                values[node] = np.arange(extents[node.axis]).reshape(shape)
            elif type(node) is Reduce:
                arg = np.broadcast_to(values[node.arg], extents)
                values[node] = meaning.reduce(node.kind, arg, axes, node.dtype)
            elif type(node) is Apply:
                values[node] = _apply(node, [values[a] for a in node.args])
    return values[expr]


def _apply(node: Apply, args: list[np.ndarray]) -> np.ndarray:
    if node.op is cast_op:
        return meaning.cast(args[0], np.empty(args[0].shape, node.dtype.np_dtype))
    result = np.asarray(meaning.function(node.op, node.args[0].dtype)(*args))
    if result.dtype != node.dtype.np_dtype:
        raise AssertionError(f"{node!r} gave {result.dtype}, not {node.dtype.name}")
    return result


def interpret(steps: Iterable[Step], memory: Memory) -> Memory:
    """Run ``steps`` over ``memory``: the flat array of each buffer, by id.

    Buffers that steps write are made where ``memory`` has none. Returns ``memory``.
    """
    for step in steps:
        if isinstance(step, Group):
            _run_group(step, memory)
        elif isinstance(step, Call):
            _run_call(step, memory)
        else:
            assert isinstance(step, Barrier)
    return memory


def _run_group(group: Group, memory: Memory) -> None:
    inputs = [
        array_of(v, memory[v.buffer.id]) for v in map(View.unbroadcast, group.loads)
    ]
    # All values before any store: a group reads the state before it.
    values = [
        np.broadcast_to(
            evaluate(store.expr, inputs, group.extents, group.reduced), store.view.shape
        ).copy()
        for store in group.stores
    ]
    for store, value in zip(group.stores, values, strict=True):
        array_of(store.view, _written(store.view, memory))[...] = value


def _run_call(call: Call, memory: Memory) -> None:
    args = [array_of(v, memory[v.buffer.id]) for v in call.args]
    outs = tuple(array_of(v, _written(v, memory)) for v in call.outs)
    with np.errstate(all="ignore"):
        call.impl(np, outs, *args, **dict(call.attrs))


def _written(view: View, memory: Memory) -> np.ndarray:
    buffer = view.buffer
    if buffer.id not in memory:
        memory[buffer.id] = new_array((buffer.size,), buffer.dtype)
    return memory[buffer.id]


def new_array(shape: Shape, dtype: DType) -> np.ndarray[Any, Any]:
    """An array of ``dtype``, not filled; of None for strings."""
    return np.empty(shape, dtype.np_dtype)
