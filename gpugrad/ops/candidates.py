"""Classes drawn as negative examples."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from math import log1p, sqrt
from typing import Any, Final

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor
from gpugrad.graph.spec import Input
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily
from gpugrad.ops.mask import on_values
from gpugrad.ops.random import drawn_seeds, random_words

family = OpFamily()

# Added to the logit of a sample that is one of the true classes after all.
LEAST: Final = float(np.finfo(np.float32).min)

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
    weights = np.full(len(row), LEAST)
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
