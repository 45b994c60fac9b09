"""Random numbers that are a function of a seed tensor alone: the same in every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.dtypes import as_dtype
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input, OpSpec
from gpugrad.graph.tensor import Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.ops import random, rules, sampling
from gpugrad.ops.family import OpFamily

family = OpFamily()

_SEED = Input("seed", attr="Tseed", default=dtypes.int32, static=True)


def _seeded(b: Builder, site: Site, place: int) -> Site:
    """The site of the op that draws by attributes, which get the seed's values.

    A seed that only the run knows ends a stage: it is looked at on the host.
    """
    inputs = list(site.inputs)
    seed = b.integers(inputs.pop(place))
    if len(seed) != 2:
        raise ValueError(f"seed must have shape [2], not {site.inputs[place].shape}.")
    attrs = {
        **site.attrs,
        "seed": seed[0] & (1 << 64) - 1,
        "seed2": seed[1] & (1 << 64) - 1,
        "stateless": True,
    }
    return site._replace(attrs=attrs, inputs=tuple(inputs))


class _Unseeded(NamedTuple):
    """A node as the inference of the op that draws by attributes sees it."""

    inputs: tuple[Tensor, ...]
    attrs: dict[str, Any]
    spec: OpSpec


def _declare(op_type: str, like: str, source: OpFamily, place: int) -> None:
    """``op_type`` draws as the op ``like`` does, its input ``place`` being the seed."""
    spec = next(s for s in source.specs if s.type == like)
    attrs = {k: v for k, v in spec.attrs.items() if k not in ("seed", "seed2")}
    infer: Any = spec.infer
    lower: Any = spec.lower

    def infer_seeded(op: Any) -> Any:
        inputs = list(op.inputs)
        seed = inputs.pop(place)
        rules.require_rank(seed._shape, 1)
        if seed._shape is not None:
            rules.merge_dimensions(seed._shape[0], 2)
        return infer(_Unseeded(tuple(inputs), op.attrs, spec))

    family.op(
        op_type,
        (*spec.inputs[:place], _SEED, *spec.inputs[place:]),
        attrs=attrs,
        infer=infer_seeded,
        lower=lambda b, site: lower(b, _seeded(b, site, place)),
    )
    family.no_gradient(op_type)


_declare("StatelessRandomUniform", "RandomUniform", random.family, 1)
_declare("StatelessRandomUniformInt", "RandomUniformInt", random.family, 1)
_declare("StatelessRandomNormal", "RandomStandardNormal", random.family, 1)
_declare("StatelessTruncatedNormal", "TruncatedNormal", random.family, 1)
_declare("StatelessMultinomial", "Multinomial", sampling.family, 2)


def stateless_uniform(
    shape: Any,
    seed: Any,
    minval: Any = 0,
    maxval: Any = None,
    dtype: Any = dtypes.float32,
    name: str | None = None,
    alg: str = "auto_select",
) -> Tensor:
    """random_uniform by a ``seed`` of two integers: the same numbers in every run.

    ``minval`` and ``maxval`` are as for random_uniform; ``alg`` is Philox whatever it
    says. The numbers are not TensorFlow's.
    """
    dtype = as_dtype(dtype).base_dtype
    if maxval is None:
        if dtype.is_integer:
            raise ValueError(f"Must specify maxval for integer dtype {dtype!r}")
        maxval = 1
    with name_scope(name, "stateless_random_uniform", [shape, seed, minval, maxval]):
        sizes = random.shape_tensor(shape)
        low = convert_to_tensor(minval, dtype, name="min")
        high = convert_to_tensor(maxval, dtype, name="max")
        if dtype.is_integer:
            return apply_op("StatelessRandomUniformInt", sizes, seed, low, high)
        unit = apply_op("StatelessRandomUniform", sizes, seed, dtype=dtype)
        return unit * (high - low) + low


def _affine(op_type: str, label: str, text: str) -> Callable[..., Tensor]:
    def function(
        shape: Any,
        seed: Any,
        mean: Any = 0.0,
        stddev: Any = 1.0,
        dtype: Any = dtypes.float32,
        name: str | None = None,
        alg: str = "auto_select",
    ) -> Tensor:
        kind = as_dtype(dtype).base_dtype
        with name_scope(name, label, [shape, seed, mean, stddev]):
            sizes = random.shape_tensor(shape)
            scale = convert_to_tensor(stddev, kind, name="stddev")
            centre = convert_to_tensor(mean, kind, name="mean")
            return apply_op(op_type, sizes, seed, dtype=kind) * scale + centre

    function.__doc__ = text
    return function


stateless_normal = _affine(
    "StatelessRandomNormal",
    "stateless_random_normal",
    "random_normal by a ``seed`` of two integers (see stateless_uniform).",
)
stateless_truncated_normal = _affine(
    "StatelessTruncatedNormal",
    "stateless_truncated_normal",
    "truncated_normal by a ``seed`` of two integers (see stateless_uniform).",
)


def stateless_categorical(
    logits: Any,
    num_samples: Any,
    seed: Any,
    dtype: Any = dtypes.int64,
    name: str | None = None,
) -> Tensor:
    """categorical by a ``seed`` of two integers (see stateless_uniform)."""
    with name_scope(name, "stateless_categorical", [logits, seed]):
        return apply_op(
            "StatelessMultinomial",
            convert_to_tensor(logits, name="logits"),
            num_samples,
            seed,
            output_dtype=as_dtype(dtype),
        )
