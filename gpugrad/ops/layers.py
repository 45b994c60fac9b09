"""Pieces of networks made of other ops: dropout, dense layers, embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Tensor
from gpugrad.ops import static
from gpugrad.ops.clip import clip_by_norm
from gpugrad.ops.matmul import matmul
from gpugrad.ops.nn import bias_add
from gpugrad.ops.random import random_uniform

_NUMBERS = (int, float, np.number)


# --- dense layers ---------------------------------------------------------------------


def xw_plus_b(x: Any, weights: Any, biases: Any, name: str | None = None) -> Any:
    """matmul(x, weights) + biases."""
    with name_scope(name, "xw_plus_b", [x, weights, biases]) as scope:
        return bias_add(matmul(x, weights), biases, name=scope)


def relu_layer(x: Any, weights: Any, biases: Any, name: str | None = None) -> Any:
    """relu(matmul(x, weights) + biases)."""
    with name_scope(name, "relu_layer", [x, weights, biases]) as scope:
        return apply_op("Relu", bias_add(matmul(x, weights), biases), name=scope)


# --- dropout --------------------------------------------------------------------------


def dropout(
    x: Any,
    keep_prob: Any = None,
    noise_shape: Any = None,
    seed: int | None = None,
    name: str | None = None,
    rate: Any = None,
) -> Any:
    """Elements at random set to 0, the others divided by the share that is kept.

    ``rate`` is the share that is dropped; ``keep_prob`` is 1 - rate. ``noise_shape``
    broadcasts to x: elements that share an entry are kept or dropped together. With
    a rate of 0, ``x`` itself.
    """
    if keep_prob is not None:
        if rate is not None:
            raise ValueError("Cannot specify both 'keep_prob' and 'rate'.")
        rate = 1 - keep_prob
    if rate is None:
        raise ValueError(f"`rate` must be provided. Received: rate={rate}")
    return dropout_v2(x, rate, noise_shape, seed, name)


def dropout_v2(
    x: Any,
    rate: Any,
    noise_shape: Any = None,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """dropout with the arguments of TensorFlow 2."""
    if isinstance(rate, _NUMBERS) and not 0 <= rate < 1:
        raise ValueError(
            "`rate` must be a scalar tensor or a float in the range [0, 1). Received: "
            f"rate={rate}"
        )
    x = convert_to_tensor(x, name="x")
    if not x.dtype.is_floating:
        raise ValueError(
            "`x.dtype` must be a floating point tensor as `x` will be scaled. "
            f"Received: x_dtype={x.dtype}"
        )
    if isinstance(rate, _NUMBERS) and rate == 0:
        return x
    with name_scope(name, "dropout", [x]):
        if isinstance(rate, _NUMBERS):
            scaled = apply_op("Mul", x, 1 / (1 - rate))
        else:
            rate = convert_to_tensor(rate, x.dtype, name="rate")
            scaled = apply_op("RealDiv", x, apply_op("Sub", 1, rate))
        shape = _noise_shape(x, noise_shape)
        noise = random_uniform(shape, seed=seed, dtype=x.dtype)
        kept = apply_op("GreaterEqual", noise, rate)
        result = apply_op("SelectV2", kept, scaled, 0)
        if isinstance(result, Tensor):
            result.set_shape(x.shape)
        return result


def _noise_shape(x: Any, noise_shape: Any) -> Any:
    """The shape to draw, where None stands for the extent of x."""
    if noise_shape is None:
        return static.shape_of(x) if isinstance(x, Tensor) else list(x.shape)
    if isinstance(noise_shape, Sequence) and None in noise_shape:
        given = x._shape if isinstance(x, Tensor) else tuple(x.shape)
        if given is not None and len(given) == len(noise_shape):
            filled = [n if m is None else m for m, n in zip(noise_shape, given)]
            if None not in filled:
                return filled
        sizes = static.shape_of(x)
        return [sizes[i] if m is None else m for i, m in enumerate(noise_shape)]
    return noise_shape


# --- embeddings -----------------------------------------------------------------------


def embedding_lookup(
    params: Any,
    ids: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    validate_indices: bool = True,
    max_norm: Any = None,
) -> Any:
    """The rows of ``params`` that ``ids`` number.

    ``params`` may be a list of tables that share the rows: by remainder ("mod") or in
    consecutive parts ("div"). ``max_norm`` scales longer rows down to that norm. The
    gradient of a table is IndexedSlices.
    """
    tables = list(params) if isinstance(params, (list, tuple)) else [params]
    if not tables:
        raise ValueError("`params` must be a table or a list of at least one.")
    with name_scope(name, "embedding_lookup", [*tables, ids]) as scope:
        ids = convert_to_tensor(ids, name="ids")
        if len(tables) == 1:
            rows = _clip(_rows(tables[0], ids, scope), ids, max_norm)
            return apply_op("Identity", rows)
        tables = [t if hasattr(t, "handle") else convert_to_tensor(t) for t in tables]
        part, place = _places(tables, ids, partition_strategy)
        result = None
        for number, table in enumerate(tables):
            here = apply_op("Equal", part, number)
            mine = apply_op("SelectV2", here, place, 0)
            rows = _clip(_rows(table, mine, None), ids, max_norm)
            for _ in range(len(rows.shape) - len(here.shape)):
                here = apply_op("ExpandDims", here, -1)
            rows = apply_op("SelectV2", here, rows, 0)
            result = rows if result is None else result + rows
        return result


def _rows(table: Any, ids: Any, name: str | None) -> Any:
    handle = getattr(table, "handle", None)
    if handle is not None:
        return apply_op("ResourceGather", handle, ids, dtype=table.dtype, name=name)
    return apply_op("GatherV2", table, ids, 0, batch_dims=0, name=name)


def _clip(rows: Any, ids: Any, max_norm: Any) -> Any:
    if max_norm is None:
        return rows
    if ids.ndim is None or rows.ndim is None:
        axes = apply_op("Range", static.rank_of(ids), static.rank_of(rows), 1)
        return clip_by_norm(rows, max_norm, axes=axes)
    return clip_by_norm(rows, max_norm, axes=list(range(ids.ndim, rows.ndim)))


def _places(tables: list[Any], ids: Any, strategy: str) -> tuple[Any, Any]:
    """For each id the number of its table, and its row there."""
    count = len(tables)
    if strategy == "mod":
        return ids % count, ids // count
    if strategy != "div":
        raise ValueError(
            f'Only "mod" and "div" are partition strategies, not {strategy!r}.'
        )
    rows = [t.shape[0] for t in tables]
    if None in rows:
        raise ValueError('partition_strategy="div" needs tables of known length.')
    total = int(np.sum(rows))
    size, extra = total // count, total % count
    # The first ``extra`` tables have one row more.
    part = apply_op("Maximum", ids // (size + 1), (ids - extra) // max(size, 1))
    first = apply_op("Less", part, extra)
    place = apply_op("SelectV2", first, ids % (size + 1), (ids - extra) % max(size, 1))
    return part, place
