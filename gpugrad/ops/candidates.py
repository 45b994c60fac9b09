"""Classes drawn as negative examples, and the losses that are trained on them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from math import log1p, sqrt
from typing import Any, Final

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily
from gpugrad.ops.layers import embedding_lookup
from gpugrad.ops.mask import on_values
from gpugrad.ops.matmul import matmul
from gpugrad.ops.nn_loss import (
    sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2,
)
from gpugrad.ops.random import drawn_seeds, random_words
from gpugrad.ops.reduce import reduce_sum

family = OpFamily()

# Added to the logit of a sample that is one of the true classes after all.
_LEAST: Final = float(np.finfo(np.float32).min)

Sampled = namedtuple(
    "Sampled",
    ["sampled_candidates", "true_expected_count", "sampled_expected_count"],
)


# --- drawing --------------------------------------------------------------------------
# A distribution has ``share``, the chance of each class, and ``quantile``, the class
# that a number in [0, 1) stands for (its whole part).


class _LogUniform:
    """Class k with the share log((k + 2) / (k + 1)) / log(count + 1): Zipf's law."""

    def __init__(self, attrs: dict[str, Any]) -> None:
        self.count = attrs["range_max"]

    def share(self, xp: Any, classes: Any) -> Any:
        return xp.log((classes + 2.0) / (classes + 1.0)) / log1p(self.count)

    def quantile(self, xp: Any, place: Any) -> Any:
        return xp.exp(place * log1p(self.count)) - 1


class _Uniform:
    """All classes with the same share."""

    def __init__(self, attrs: dict[str, Any]) -> None:
        self.count = attrs["range_max"]

    def share(self, xp: Any, classes: Any) -> Any:
        return xp.full(classes.shape, 1 / self.count)

    def quantile(self, xp: Any, place: Any) -> Any:
        return place * self.count


class _Unigram:
    """Shares in proportion to given counts, each to the power ``distortion``."""

    def __init__(self, attrs: dict[str, Any]) -> None:
        counts = np.asarray(attrs["unigrams"], np.float64) ** attrs["distortion"]
        reserved = np.zeros(attrs["num_reserved_ids"])
        self.shares = np.concatenate([reserved, counts]) / counts.sum()
        self.count = len(self.shares)

    def share(self, xp: Any, classes: Any) -> Any:
        return xp.asarray(self.shares)[xp.clip(classes, 0, self.count - 1)]

    def quantile(self, xp: Any, place: Any) -> Any:
        upper = xp.cumsum(xp.asarray(self.shares))
        return xp.searchsorted(upper / upper[-1], place, side="right")


_SAMPLERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "LogUniformCandidateSampler": _LogUniform,
    "UniformCandidateSampler": _Uniform,
    "FixedUnigramCandidateSampler": _Unigram,
}


def _tries(distribution: Any, wanted: int) -> int:
    """Draws that hold ``wanted`` distinct classes but for a chance below 1e-15.

    The number of distinct classes in n draws has the mean m = sum of 1 - (1 - p)**n
    and a variance of at most m: m has to be 9 standard deviations above ``wanted``,
    or, where no more classes are to be had, each class be missed that rarely.
    """
    shares = distribution.share(np, np.arange(distribution.count))
    shares = shares[shares > 0]
    if wanted > len(shares):
        raise ValueError(
            f"{wanted} distinct classes are asked for, of {len(shares)} that can be "
            "drawn. Lower num_sampled, or set unique=False."
        )
    rest = np.log1p(-np.minimum(shares, 1 - 1e-16))
    low, high = wanted, wanted
    while not _enough(rest, high, wanted):
        low, high = high, 2 * high
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if _enough(rest, middle, wanted) else (middle, high)
    return high


def _enough(rest: np.ndarray, draws: int, wanted: int) -> bool:
    missing = np.exp(draws * rest)
    mean = len(rest) - float(missing.sum())
    if mean - 9 * sqrt(mean) >= wanted:
        return True
    # The chance that more classes are missing than may be, by Markov's inequality.
    return float(missing.sum()) < 1e-15 * (len(rest) - wanted + 1)


def _draw(
    xp: Any, outs: Any, words: Any, true_classes: Any, kind: str, attrs: Any
) -> None:
    """Classes by two random words each, and how often each is to be expected."""
    sampled, expected_true, expected = outs
    attrs = dict(attrs)
    distribution = _SAMPLERS[kind](attrs)
    half = words.size // 2
    high, low = words[:half].astype(xp.float64), words[half:].astype(xp.float64)
    place = (high + low * 2.0**-32) * 2.0**-32
    drawn = distribution.quantile(xp, place).astype(xp.int64)
    drawn = xp.clip(drawn, 0, distribution.count - 1)
    count = sampled.size
    tries: Any = count
    if attrs["unique"]:
        order = xp.argsort(drawn, kind="stable")
        in_order = drawn[order]
        first = xp.ones(half, xp.int64)
        first[order[1:]] = in_order[1:] != in_order[:-1]
        number = xp.cumsum(first)  # how many distinct classes so far
        keep = (first > 0) & (number <= count)
        kept = xp.empty(count + 1, xp.int64)
        kept[xp.where(keep, number - 1, count)] = drawn
        sampled[...] = kept[:count]
        tries = xp.searchsorted(number, xp.asarray([count])) + 1
    else:
        sampled[...] = drawn

    def times(classes: Any) -> Any:
        share = distribution.share(xp, classes)
        again = -xp.expm1(tries * xp.log1p(-share))
        return xp.where(tries == count, share * count, again)

    expected_true[...] = times(true_classes)
    expected[...] = times(sampled)


def _lower(kind: str) -> Callable[[Builder, Site], Sequence[View]]:
    def lower(b: Builder, site: Site) -> Sequence[View]:
        (true_classes,) = site.inputs
        attrs, count = site.attrs, site.attrs["num_sampled"]
        distribution = _SAMPLERS[kind](attrs)
        tries = count
        if attrs["unique"] and count:
            tries = _tries(distribution, count)
        if count == 0:
            return (
                b.new(dtypes.int64, (0,)),
                b.fill(0, dtypes.float32, true_classes.shape),
                b.new(dtypes.float32, (0,)),
            )
        words = random_words(b, site, 2 * tries)
        known = {k: v for k, v in attrs.items() if k in _ALL_ATTRS}
        return b.call(
            "candidates",
            _draw,
            [words, true_classes],
            [
                (dtypes.int64, (count,)),
                (dtypes.float32, true_classes.shape),
                (dtypes.float32, (count,)),
            ],
            kind=kind,
            attrs=tuple(known.items()),
        )

    return lower


def _infer(op: Any) -> Any:
    (true_classes,) = op.inputs
    attrs = op.attrs
    rules.require_rank(true_classes._shape, 2)
    if attrs["num_sampled"] < 0 or attrs["num_true"] < 1:
        raise ValueError(
            "num_sampled must be at least 0 and num_true at least 1, not "
            f"{attrs['num_sampled']} and {attrs['num_true']}."
        )
    shape = (None, None) if true_classes._shape is None else true_classes._shape
    rules.merge_dimensions(shape[1], attrs["num_true"])
    sampled = (attrs["num_sampled"],)
    return (
        (dtypes.int64, sampled),
        (dtypes.float32, (shape[0], attrs["num_true"])),
        (dtypes.float32, sampled),
    )


def _infer_of_range(op: Any) -> Any:
    if op.attrs["range_max"] < 1:
        raise ValueError(f"range_max must be at least 1, not {op.attrs['range_max']}.")
    if op.attrs["unique"] and op.attrs["num_sampled"] > op.attrs["range_max"]:
        raise ValueError(
            f"Sampler's range is too small: num_sampled {op.attrs['num_sampled']} > "
            f"range_max {op.attrs['range_max']}. Set unique=False, or draw fewer."
        )
    return _infer(op)


_TRUE = Input("true_classes", attr=None, dtype=dtypes.int64)
_COUNTS = {"num_true": ..., "num_sampled": ..., "unique": ...}
_SEEDS = {"seed": 0, "seed2": 0}
_UNIGRAM = {
    "unigrams": (),
    "distortion": 1.0,
    "num_reserved_ids": 0,
}
_ALL_ATTRS = {*_COUNTS, "range_max", *_UNIGRAM}

for _kind in ("LogUniformCandidateSampler", "UniformCandidateSampler"):
    family.op(
        _kind,
        (_TRUE,),
        attrs={**_COUNTS, "range_max": ..., **_SEEDS},
        infer=_infer_of_range,
        lower=_lower(_kind),
    )
family.op(
    "FixedUnigramCandidateSampler",
    (_TRUE,),
    attrs={**_COUNTS, "range_max": ..., **_UNIGRAM, **_SEEDS},
    infer=_infer_of_range,
    lower=_lower("FixedUnigramCandidateSampler"),
)


def _lower_all(b: Builder, site: Site) -> Sequence[View]:
    count, true_classes = site.attrs["num_sampled"], site.inputs[0]
    every = b.literal(np.arange(count), dtypes.int64)
    ones = [
        b.fill(1, dtypes.float32, shape) for shape in (true_classes.shape, (count,))
    ]
    return (every, *ones)


family.op(
    "AllCandidateSampler",
    (_TRUE,),
    attrs={**_COUNTS, **_SEEDS},
    infer=_infer,
    lower=_lower_all,
)
family.no_gradient(*_SAMPLERS, "AllCandidateSampler")


def _sample(
    op_type: str, true_classes: Any, seed: int | None, name: str | None, **attrs: Any
) -> Any:
    classes = convert_to_tensor(true_classes, dtypes.int64, name="true_classes")
    return Sampled(*apply_op(op_type, classes, name=name, **attrs, **drawn_seeds(seed)))


def log_uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Classes below ``range_max`` drawn by Zipf's law: the frequent have low numbers.

    Shapes:  true_classes [batch, num_true]; the result is (sampled_candidates
             [num_sampled], true_expected_count like true_classes,
             sampled_expected_count [num_sampled]).
    Dtypes:  int64, int64, float32, float32.
    ``unique``: no class twice; the expected counts are then chances.
    Raises:  ValueError for unique with num_sampled > range_max.
    """
    return _sample(
        "LogUniformCandidateSampler",
        true_classes,
        seed,
        name,
        num_true=num_true,
        num_sampled=num_sampled,
        unique=unique,
        range_max=range_max,
    )


def uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """log_uniform_candidate_sampler with all classes equally likely."""
    return _sample(
        "UniformCandidateSampler",
        true_classes,
        seed,
        name,
        num_true=num_true,
        num_sampled=num_sampled,
        unique=unique,
        range_max=range_max,
    )


def fixed_unigram_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    vocab_file: str = "",
    distortion: float = 1.0,
    num_reserved_ids: int = 0,
    num_shards: int = 1,
    shard: int = 0,
    unigrams: Sequence[float] = (),
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """log_uniform_candidate_sampler by given counts: ``unigrams``, one a class.

    ``vocab_file``: the counts instead as the last of a line's entries, parted by
    commas. They are raised to the power ``distortion``; ``num_reserved_ids`` classes
    that are never drawn come before them. The classes cannot be sharded.
    """
    if num_shards != 1 or shard != 0:
        raise ValueError("num_shards must be 1: this sampler does not share its work.")
    if bool(vocab_file) == bool(len(unigrams)):
        raise ValueError("Exactly one of vocab_file and unigrams must be given.")
    if vocab_file:
        with open(vocab_file, encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.strip()]
        unigrams = [float(line.rpartition(",")[2]) for line in lines]
    counts = tuple(float(u) for u in unigrams)
    if any(u < 0 for u in counts) or not sum(counts) > 0:
        raise ValueError("unigrams must be counts of at least 0, and not all 0.")
    if num_reserved_ids + len(counts) != range_max:
        raise ValueError(
            f"There are {num_reserved_ids + len(counts)} classes with the reserved "
            f"ones, but range_max is {range_max}."
        )
    return _sample(
        "FixedUnigramCandidateSampler",
        true_classes,
        seed,
        name,
        num_true=num_true,
        num_sampled=num_sampled,
        unique=unique,
        range_max=range_max,
        unigrams=counts,
        distortion=float(distortion),
        num_reserved_ids=num_reserved_ids,
    )


def all_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Every class from 0 to ``num_sampled`` - 1, each expected once."""
    return _sample(
        "AllCandidateSampler",
        true_classes,
        seed,
        name,
        num_true=num_true,
        num_sampled=num_sampled,
        unique=unique,
    )


# --- ComputeAccidentalHits ------------------------------------------------------------


def _hits(attrs: dict[str, Any], true: np.ndarray, sampled: np.ndarray) -> Any:
    row, which, column = np.nonzero(true[:, :, None] == sampled)
    order = np.lexsort((column, which, row))
    weights = np.full(len(row), _LEAST)
    return [row[order], column[order], weights]


family.op(
    "ComputeAccidentalHits",
    (_TRUE, Input("sampled_candidates", attr=None, dtype=dtypes.int64)),
    attrs={"num_true": ..., **_SEEDS},
    infer=lambda op: (
        (dtypes.int32, (None,)),
        (dtypes.int64, (None,)),
        (dtypes.float32, (None,)),
    ),
    **on_values(_hits),
)
family.no_gradient("ComputeAccidentalHits")

AccidentalHits = namedtuple("AccidentalHits", ["indices", "ids", "weights"])


def compute_accidental_hits(
    true_classes: Any,
    sampled_candidates: Any,
    num_true: int,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """(indices, ids, weights): where a sample is one of a row's true classes.

    Shapes:  true_classes [batch, num_true], sampled_candidates [n]; the results [hits].
    The indices are rows of true_classes, the ids places in sampled_candidates, and the
    weights the least float32.
    """
    found = apply_op(
        "ComputeAccidentalHits",
        convert_to_tensor(true_classes, dtypes.int64),
        convert_to_tensor(sampled_candidates, dtypes.int64),
        num_true=num_true,
        name=name,
    )
    return AccidentalHits(*found)


# --- losses on samples ----------------------------------------------------------------


def _rows(table: Any, ids: Any, count: Any, strategy: str) -> tuple[Any, Any]:
    """What a table has for the first ``count`` of ``ids``, and for the others."""
    found = embedding_lookup(table, ids, strategy)
    more = found.ndim - 1
    begin = apply_op("ConcatV2", [count, [0] * more], 0) if more else count
    size = apply_op("ConcatV2", [count, [-1] * more], 0) if more else count
    first = apply_op("Slice", found, [0] * found.ndim, size)
    return first, apply_op("Slice", found, begin, [-1] * found.ndim)


def _sampled_logits(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int,
    sampled_values: Any,
    remove_accidental_hits: bool,
    partition_strategy: str,
    seed: int | None,
) -> tuple[Any, Any]:
    """(logits, labels) [batch, num_true + num_sampled]: the true classes come first."""
    inputs = convert_to_tensor(inputs, name="inputs")
    labels = convert_to_tensor(labels, name="labels")
    if labels.dtype is not dtypes.int64:
        labels = apply_op("Cast", labels, DstT=dtypes.int64)
    flat = apply_op("Reshape", labels, [-1])
    true = apply_op("Reshape", labels, [-1, num_true])
    if sampled_values is None:
        sampled_values = log_uniform_candidate_sampler(
            true, num_true, num_sampled, True, num_classes, seed
        )
    sampled, true_count, sampled_count = [
        apply_op("StopGradient", convert_to_tensor(t)) for t in sampled_values
    ]
    if sampled.dtype is not dtypes.int64:
        sampled = apply_op("Cast", sampled, DstT=dtypes.int64)
    ids = apply_op("ConcatV2", [flat, sampled], 0, name="concat")
    count = apply_op("Shape", flat)
    true_w, sampled_w = _rows(weights, ids, count, partition_strategy)
    true_b, sampled_b = _rows(biases, ids, count, partition_strategy)
    sampled_logits = matmul(inputs, sampled_w, transpose_b=True) + sampled_b
    width = apply_op("Shape", true_w)[1]
    shape = apply_op("Pack", [-1, num_true, width], axis=0)
    by_row = apply_op("ExpandDims", inputs, 1) * apply_op("Reshape", true_w, shape)
    true_logits = reduce_sum(by_row, 2) + apply_op("Reshape", true_b, [-1, num_true])
    if remove_accidental_hits:
        same = apply_op("Equal", apply_op("ExpandDims", true, 2), sampled)
        hit = apply_op("Any", same, [1])
        least = apply_op("Cast", hit, DstT=sampled_logits.dtype) * _LEAST
        sampled_logits = sampled_logits + least

    def log_of(expected: Any) -> Any:
        logs = apply_op("Log", expected)
        if logs.dtype is inputs.dtype:
            return logs
        return apply_op("Cast", logs, DstT=inputs.dtype)

    true_logits = true_logits - log_of(true_count)
    sampled_logits = sampled_logits - log_of(sampled_count)
    out_logits = apply_op("ConcatV2", [true_logits, sampled_logits], 1, name="concat")
    ones = apply_op("OnesLike", true_logits) / num_true
    zeros = apply_op("ZerosLike", sampled_logits)
    return out_logits, apply_op("ConcatV2", [ones, zeros], 1, name="concat")


def nce_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    partition_strategy: str = "mod",
    name: str | None = "nce_loss",
) -> Tensor:
    """Noise-contrastive estimation: true classes told from drawn ones, a loss a row.

    Shapes:  weights [num_classes, dim] (or a list of tables that share the rows, see
             embedding_lookup), biases [num_classes], labels [batch, num_true], inputs
             [batch, dim]; the result is [batch].
    ``sampled_values``: what a candidate sampler gave; by default
             log_uniform_candidate_sampler, unique, which wants classes sorted by
             falling frequency.
    The gradients of weights and biases are IndexedSlices: of the rows used alone.
    Source:  M. Gutmann, A. Hyvarinen, AISTATS 2010.
    """
    tables = weights if isinstance(weights, (list, tuple)) else [weights]
    with name_scope(name, "nce_loss", [*tables, biases, labels, inputs]):
        logits, targets = _sampled_logits(
            weights,
            biases,
            labels,
            inputs,
            num_sampled,
            num_classes,
            num_true,
            sampled_values,
            remove_accidental_hits,
            partition_strategy,
            None,
        )
        losses = sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
        return reduce_sum(losses, 1)


def sampled_softmax_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    partition_strategy: str = "mod",
    name: str | None = "sampled_softmax_loss",
    seed: int | None = None,
) -> Tensor:
    """Softmax cross entropy over the true and some drawn classes, a loss a row.

    Shapes and arguments are those of nce_loss. ``seed`` is the sampler's.
    Source:  S. Jean et al., ACL 2015, arXiv:1412.2007.
    """
    tables = weights if isinstance(weights, (list, tuple)) else [weights]
    with name_scope(name, "sampled_softmax_loss", [*tables, biases, labels, inputs]):
        logits, targets = _sampled_logits(
            weights,
            biases,
            labels,
            inputs,
            num_sampled,
            num_classes,
            num_true,
            sampled_values,
            remove_accidental_hits,
            partition_strategy,
            seed,
        )
        targets = apply_op("StopGradient", targets)
        return softmax_cross_entropy_with_logits_v2(labels=targets, logits=logits)


def nce_loss_v2(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    name: str | None = "nce_loss",
) -> Tensor:
    """nce_loss with the arguments of TensorFlow 2: partition_strategy is "div"."""
    return nce_loss(
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true,
        sampled_values,
        remove_accidental_hits,
        "div",
        name,
    )


def sampled_softmax_loss_v2(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: int | None = None,
    name: str | None = "sampled_softmax_loss",
) -> Tensor:
    """sampled_softmax_loss with the arguments of TensorFlow 2 (see nce_loss_v2)."""
    return sampled_softmax_loss(
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true,
        sampled_values,
        remove_accidental_hits,
        "div",
        name,
        seed,
    )
