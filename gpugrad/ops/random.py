"""Random numbers: a function of seeds and of the number of the run.

Every op turns Philox words into its numbers. The words are keyed by the op's two
seeds and counted by the run, so that a run can be repeated on any backend, and two
runs of a session differ.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from math import erf, pi, prod, sqrt
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph import constant
from gpugrad.graph.build import (
    apply_op,
    convert_to_tensor,
    get_default_graph,
    name_scope,
)
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.philox import philox
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import Expr, Load, cast
from gpugrad.kir.space import Shape, View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import on_host

family = OpFamily()

# TensorFlow's seed for a graph that has none, when an op has one.
_DEFAULT_GRAPH_SEED = 87654321
_SEED_LIMIT = 2**31 - 1


# --- seeds ----------------------------------------------------------------------------


def set_random_seed(seed: int | None) -> None:
    """Seed the random ops that are made in the default graph from here on.

    Each op's own seed is then its place in the graph, unless it is given one: the same
    program draws the same numbers again. None: no seed.
    """
    get_default_graph().seed = seed


def get_seed(op_seed: int | None) -> tuple[int | None, int | None]:
    """The two seeds of a random op made now; both None if nothing was seeded."""
    graph = get_default_graph()
    if graph.seed is None and op_seed is None:
        return None, None
    if graph.seed is None:
        seed = _DEFAULT_GRAPH_SEED
    else:
        seed = graph.seed
        if op_seed is None:
            op_seed = len(graph._ops)
    pair = seed % _SEED_LIMIT, op_seed % _SEED_LIMIT  # type: ignore[operator]
    # Both zero would mean "not seeded".
    return (0, _SEED_LIMIT) if pair == (0, 0) else pair


def drawn_seeds(op_seed: int | None) -> dict[str, Any]:
    """The attributes of a random op: its seeds, drawn now if nothing was seeded."""
    seed, seed2 = get_seed(op_seed)
    if seed is None or seed2 is None:
        seed, seed2 = secrets.randbits(31) + 1, secrets.randbits(31)
    return {"seed": seed, "seed2": seed2}


def random_words(b: Builder, site: Site, count: int) -> View:
    """``count`` random uint32 words of this op and run."""
    seed, seed2 = site.attrs["seed"], site.attrs["seed2"]
    stateless = site.attrs.get("stateless", False)
    if (
        seed == 0 and seed2 == 0 and not stateless
    ):  # an op of an imported graph that was not seeded
        seed, seed2 = secrets.randbits(32), secrets.randbits(32)
    if stateless:  # the numbers of run 0, whichever this is
        run = b.literal(np.zeros((), np.int64), dtypes.int64)
    else:
        run = b.run_number()
    (words,) = b.call(
        "philox",
        philox,
        [run],
        [(dtypes.uint32, (count,))],
        key0=(seed ^ seed >> 32) & 0xFFFFFFFF,
        key1=(seed2 ^ seed2 >> 32) & 0xFFFFFFFF,
    )
    return words


def _parts(words: View, size: int) -> list[View]:
    """Consecutive pieces of ``size`` words."""
    return [words.slice((i,), (size,)) for i in range(0, words.size, size)]


# --- words to floats ------------------------------------------------------------------


def _precision(dtype: DType) -> int:
    """How many random bits a float in 0 .. 1 takes: all that stay exact."""
    return {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[dtype.name]


def _words_each(dtype: DType) -> int:
    return 2 if dtype is dtypes.float64 else 1


def _computed_in(dtype: DType) -> DType:
    return dtypes.float32 if rules.is_half(dtype) else dtype


def _whole(words: list[Expr], dtype: DType) -> Expr:
    """A whole number of ``_precision(dtype)`` random bits, in a float that holds it."""
    if dtype is dtypes.float64:
        high = cast(scalar.shift_right(words[0], 5), dtype)
        return high * 2.0**26 + cast(scalar.shift_right(words[1], 6), dtype)
    bits = scalar.shift_right(words[0], 32 - _precision(dtype))
    return cast(bits, _computed_in(dtype))


def _unit(words: list[Expr], dtype: DType) -> Expr:
    """A number in [0, 1)."""
    return _whole(words, dtype) * 2.0 ** -_precision(dtype)


# --- shapes ---------------------------------------------------------------------------

_SHAPE = Input("shape", default=dtypes.int32, static=True)
_ATTRS = {"seed": 0, "seed2": 0, "dtype": dtypes.float32}


def _static_shape(op: Any) -> shapes.Partial:
    rules.require_dtype(op, 0, (dtypes.int32, dtypes.int64))
    rules.require_rank(op.inputs[0]._shape, 1)
    sizes = constant.sizes(op.inputs[0])
    if sizes is None:
        return None
    if any(n is not None and n < 0 for n in sizes):
        raise ValueError(f"Random shapes must be >= 0, not {list(sizes)}.")
    return sizes


def _infer_floats(op: Any) -> Any:
    dtype = op.attrs["dtype"]
    if dtype not in rules.FLOATS:
        raise TypeError(f"Random floats have no dtype {dtype.name}.")
    return ((dtype, _static_shape(op)),)


def _shape(b: Builder, site: Site) -> Shape:
    shape = b.integers(site.inputs[0])
    if any(n < 0 for n in shape):
        raise ValueError(f"Random shapes must be >= 0, not {list(shape)}.")
    return shape


def _pointwise(
    number: Callable[[list[Expr], DType], Expr],
) -> Callable[[Builder, Site], View]:
    """A lowering that makes each number of words of its own."""

    def lower(b: Builder, site: Site) -> View:
        shape, dtype = _shape(b, site), site.dtypes[0]
        size = prod(shape)
        if size == 0:
            return b.new(dtype, shape)
        words = _parts(random_words(b, site, size * _words_each(dtype)), size)
        flat = b.map(lambda *w: number(list(w), dtype), *words, dtype=dtype)
        return b.reshape(flat, shape)

    return lower


def shape_tensor(shape: Any) -> Any:
    """The argument ``shape`` of a public function as a tensor."""
    if isinstance(shape, Tensor):
        return shape
    if isinstance(shape, (list, tuple)):
        shape = [n.value if isinstance(n, shapes.Dimension) else n for n in shape]
    return convert_to_tensor(shape, dtype_hint=dtypes.int32, name="shape")


# --- RandomUniform --------------------------------------------------------------------

family.op(
    "RandomUniform",
    [_SHAPE],
    attrs=_ATTRS,
    infer=_infer_floats,
    lower=_pointwise(_unit),
)
family.no_gradient("RandomUniform")


# --- RandomUniformInt -----------------------------------------------------------------


def _infer_integers(op: Any) -> Any:
    for bound in op.inputs[1:]:
        rules.require_rank(bound._shape, 0)
    rules.require_dtype(op, 1, (dtypes.int32, dtypes.int64))
    return ((op.inputs[1].dtype, _static_shape(op)),)


def _below(words: list[Expr], span: Expr) -> Expr:
    """A uint64 below ``span``, which is 1 at least."""
    wide = [cast(word, dtypes.uint64) for word in words]
    if len(wide) == 1:
        return scalar.shift_right(wide[0] * span, 32)
    word = scalar.bit_or(scalar.shift_left(wide[0], 32), wide[1])
    return scalar.floormod(word, scalar.maximum(span, 1))


def _check_bounds(xp: Any, outs: Any, low: Any, high: Any) -> None:
    """The lower bound, after a look at both; a GPU does not look."""
    if on_host(xp) and not low < high:
        raise ValueError(f"Need minval < maxval, got {low} >= {high}")
    outs[0][...] = low


def _lower_integers(b: Builder, site: Site) -> View:
    shape, dtype = _shape(b, site), site.dtypes[0]
    low, high = site.inputs[1:]
    known_low, known_high = b.known(low), b.known(high)
    if known_low is not None and known_high is not None and known_low >= known_high:
        raise ValueError(f"Need minval < maxval, got {known_low} >= {known_high}")
    size = prod(shape)
    if size == 0:
        return b.new(dtype, shape)
    if known_low is None or known_high is None:
        (low,) = b.call("check_bounds", _check_bounds, [low, high], [(low.dtype, ())])
    each = 1 if dtype is dtypes.int32 else 2

    def number(least: Expr, beyond: Expr, *words: Expr) -> Expr:
        start = cast(least, dtypes.int64)
        span = cast(cast(beyond, dtypes.int64) - start, dtypes.uint64)
        return start + cast(_below(list(words), span), dtypes.int64)

    words = _parts(random_words(b, site, size * each), size)
    return b.reshape(b.map(number, low, high, *words, dtype=dtype), shape)


family.op(
    "RandomUniformInt",
    [_SHAPE, Input("minval", attr="Tout"), Input("maxval", attr="Tout")],
    attrs={"seed": 0, "seed2": 0},
    infer=_infer_integers,
    lower=_lower_integers,
)
family.no_gradient("RandomUniformInt")

_UNIFORM_TYPES = (*rules.FLOATS, dtypes.int32, dtypes.int64)


def random_uniform(
    shape: Any,
    minval: Any = 0,
    maxval: Any = None,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Numbers from [minval, maxval), all equally likely; maxval is 1 for floats.

    For integers, int32 or int64, ``maxval`` must be given and the bounds be scalars;
    for floats they may be tensors that broadcast, and receive gradients.
    Raises:  InvalidArgumentError when run for integers with minval >= maxval; on a GPU
             only if both are known when the graph is compiled.
    """
    dtype = as_dtype(dtype).base_dtype
    if dtype not in _UNIFORM_TYPES:
        raise ValueError(
            f"Argument `dtype` got invalid value {dtype}. Accepted dtypes are "
            f"{_UNIFORM_TYPES}."
        )
    if maxval is None:
        if dtype.is_integer:
            raise ValueError(f"Must specify maxval for integer dtype {dtype!r}")
        maxval = 1
    from_zero = isinstance(minval, int) and minval == 0
    to_one = isinstance(maxval, int) and maxval == 1
    with name_scope(name, "random_uniform", [shape, minval, maxval]) as scope:
        shape = shape_tensor(shape)
        if not from_zero or dtype.is_integer:
            minval = convert_to_tensor(minval, dtype, name="min")
        if not to_one or dtype.is_integer:
            maxval = convert_to_tensor(maxval, dtype, name="max")
        seeds = drawn_seeds(seed)
        if dtype.is_integer:
            return apply_op(
                "RandomUniformInt", shape, minval, maxval, name=scope, **seeds
            )
        unit = apply_op("RandomUniform", shape, dtype=dtype, **seeds)
        if not from_zero:
            return apply_op("AddV2", unit * (maxval - minval), minval, name=scope)
        return unit if to_one else apply_op("Mul", unit, maxval, name=scope)


# --- RandomStandardNormal -------------------------------------------------------------


def _lower_normal(b: Builder, site: Site) -> View:
    """Box and Muller's transform: two words (four for float64) make two numbers."""
    shape, dtype = _shape(b, site), site.dtypes[0]
    size = prod(shape)
    if size == 0:
        return b.new(dtype, shape)
    half, each = (size + 1) // 2, _words_each(dtype)
    words = tuple(_parts(random_words(b, site, 2 * half * each), half))
    loads: list[Expr] = [Load(i, dtypes.uint32) for i in range(2 * each)]
    # The half types take the bits of a float32: a coarse radius would show.
    inner = _computed_in(dtype)
    radius = scalar.sqrt(-2.0 * scalar.log(1 - _unit(loads[:each], inner)))
    angle = 2 * pi * _unit(loads[each:], inner)
    out = b.new(dtype, (2 * half,))
    stores = tuple(
        Store(part, cast(radius * function(angle), dtype))
        for part, function in zip(_parts(out, half), (scalar.cos, scalar.sin))
    )
    b.append(Group((half,), (False,), words, stores))
    return b.reshape(out.slice((0,), (size,)), shape)


family.op(
    "RandomStandardNormal",
    [_SHAPE],
    attrs=_ATTRS,
    infer=_infer_floats,
    lower=_lower_normal,
)
family.no_gradient("RandomStandardNormal")


def random_normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Numbers from the normal distribution.

    ``mean`` and ``stddev`` may be tensors that broadcast, and receive gradients.
    """
    return _affine(
        "RandomStandardNormal", "random_normal", shape, mean, stddev, dtype, seed, name
    )


def _affine(
    op_type: str,
    label: str,
    shape: Any,
    mean: Any,
    stddev: Any,
    dtype: Any,
    seed: int | None,
    name: str | None,
) -> Tensor:
    dtype = as_dtype(dtype).base_dtype
    with name_scope(name, label, [shape, mean, stddev]) as scope:
        shape = shape_tensor(shape)
        mean = convert_to_tensor(mean, dtype, name="mean")
        stddev = convert_to_tensor(stddev, dtype, name="stddev")
        numbers = apply_op(op_type, shape, dtype=dtype, **drawn_seeds(seed))
        return apply_op("AddV2", numbers * stddev, mean, name=scope)


# --- TruncatedNormal ------------------------------------------------------------------

# How much of the normal distribution lies within two standard deviations.
_WITHIN_TWO = erf(sqrt(2.0))


def _truncated(words: list[Expr], dtype: DType) -> Expr:
    """The quantile of a number of (-1, 1): no number is drawn again."""
    inner = _computed_in(dtype)
    bits = _precision(inner)
    # Odd multiples of 2**-bits, so that both signs are alike.
    place = _whole(words, inner) * 2.0 ** (1 - bits) + (2.0**-bits - 1)
    number = sqrt(2.0) * scalar.erfinv(place * _WITHIN_TWO)
    return scalar.maximum(scalar.minimum(number, 2.0), -2.0)


family.op(
    "TruncatedNormal",
    [_SHAPE],
    attrs=_ATTRS,
    infer=_infer_floats,
    lower=_pointwise(_truncated),
)
family.no_gradient("TruncatedNormal")


def truncated_normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Numbers from the normal distribution cut off at two standard deviations.

    ``mean`` and ``stddev`` may be tensors that broadcast, and receive gradients.
    """
    return _affine(
        "TruncatedNormal", "truncated_normal", shape, mean, stddev, dtype, seed, name
    )
