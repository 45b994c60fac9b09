"""Random choices: shuffled rows, and classes drawn by their probabilities."""

from __future__ import annotations

from math import prod
from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import as_dtype
from gpugrad.graph import constant
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily, same_as_input
from gpugrad.ops.random import drawn_seeds, random_words

family = OpFamily()


# --- RandomShuffle --------------------------------------------------------------------


def _shuffle(xp: Any, outs: Any, words: Any, value: Any) -> None:
    """Rows in the order of random 64-bit keys."""
    count = value.shape[0]
    keys = words[:count].astype(xp.uint64) << xp.uint64(32)
    outs[0][...] = value[xp.argsort(keys | words[count:])]


def _lower_shuffle(b: Builder, site: Site) -> View:
    (value,) = site.inputs
    if value.size == 0 or value.rank == 0 or value.shape[0] == 1:
        return value
    words = random_words(b, site, 2 * value.shape[0])
    (out,) = b.call("shuffle", _shuffle, [words, value], [(value.dtype, value.shape)])
    return out


family.op(
    "RandomShuffle",
    [Input("value")],
    attrs={"seed": 0, "seed2": 0},
    infer=same_as_input,
    lower=_lower_shuffle,
)
family.no_gradient("RandomShuffle")


def random_shuffle(
    value: Any, seed: int | None = None, name: str | None = None
) -> Tensor:
    """The rows of ``value`` (its slices along axis 0) in a random order."""
    return apply_op("RandomShuffle", value, name=name, **drawn_seeds(seed))


# --- Multinomial ----------------------------------------------------------------------


def _choose(xp: Any, outs: Any, words: Any, logits: Any) -> None:
    """The class into which each random number falls, all rows in one search."""
    rows, classes = logits.shape
    logits = logits.astype(xp.float64)
    weights = xp.exp(logits - logits.max(axis=1, keepdims=True))
    upper = xp.cumsum(weights, axis=1)
    row = xp.arange(rows)[:, None]
    place = words.reshape(rows, -1).astype(xp.float64) * 2.0**-32
    edges = (upper / upper[:, -1:] + row).reshape(-1)
    found = xp.searchsorted(edges, (place + row).reshape(-1), side="right")
    chosen = found.reshape(place.shape) - row * classes
    outs[0][...] = xp.minimum(chosen, classes - 1)


def _lower_multinomial(b: Builder, site: Site) -> View:
    logits = site.inputs[0]
    (count,) = b.integers(site.inputs[1])
    if count < 0:
        raise ValueError(f"num_samples should be nonnegative, got {count}")
    if logits.rank != 2 or logits.shape[1] == 0:
        raise ValueError(f"num_classes should be positive, got shape {logits.shape}")
    shape, dtype = (logits.shape[0], count), site.dtypes[0]
    if prod(shape) == 0:
        return b.new(dtype, shape)
    words = random_words(b, site, prod(shape))
    (out,) = b.call("multinomial", _choose, [words, logits], [(dtype, shape)])
    return out


def _infer_multinomial(op: Any) -> Any:
    logits, count = op.inputs
    rules.require_dtype(op, 0, rules.REAL)
    rules.require_rank(logits._shape, 2)
    rules.require_rank(count._shape, 0)
    known = constant.constant_value(count)
    rows = None if logits._shape is None else logits._shape[0]
    columns = None if known is None else int(known)
    return ((op.attrs["output_dtype"], (rows, columns)),)


family.op(
    "Multinomial",
    [Input("logits"), Input("num_samples", attr=None, dtype=dtypes.int32, static=True)],
    attrs={"seed": 0, "seed2": 0, "output_dtype": dtypes.int64},
    infer=_infer_multinomial,
    lower=_lower_multinomial,
)
family.no_gradient("Multinomial")


def multinomial(
    logits: Any,
    num_samples: Any,
    seed: int | None = None,
    name: str | None = None,
    output_dtype: Any = None,
) -> Tensor:
    """Classes drawn with the probabilities softmax(logits).

    Shapes:  logits [rows, classes], result [rows, num_samples].
    Dtypes:  the result is int64, or int32 by ``output_dtype``.
    """
    with name_scope(name, "multinomial", [logits]):
        return _multinomial(logits, num_samples, output_dtype, seed)


def categorical(
    logits: Any,
    num_samples: Any,
    dtype: Any = None,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Classes drawn with the probabilities softmax(logits): multinomial's new name."""
    with name_scope(name, "categorical", [logits]):
        return _multinomial(logits, num_samples, dtype, seed)


def _multinomial(logits: Any, count: Any, dtype: Any, seed: int | None) -> Tensor:
    wanted = dtypes.int64 if dtype is None else as_dtype(dtype).base_dtype
    return apply_op(
        "Multinomial",
        convert_to_tensor(logits, name="logits"),
        count,
        output_dtype=wanted,
        **drawn_seeds(seed),
    )
