"""Static shapes against those of a run, for shapes known in part or not at all.

Rows of gradient tests give examples of differentiable ops; EXAMPLES of all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.graph.spec import NO_GRADIENT, REGISTRY
from tests.ops import harness
from tests.ops.harness import Case
from tests.ops.test_gradients import CASES, ids

Shape = tuple[int, ...]

# What a placeholder says of a shape.
VARIANTS: dict[str, Callable[[Shape], Any]] = {
    "known": lambda shape: shape,
    "every other size": lambda shape: [
        n if i % 2 else None for i, n in enumerate(shape)
    ],
    "no size": lambda shape: [None] * len(shape),
    "no rank": lambda shape: None,
}


# Rows that build something that depends on a rank or on a size.
NEED_A_SHAPE = {
    "MatrixSolveLs", "Qr", "Svd", "TensorArrayFlow", "TensorArrayRows",
    "TensorListFromTensor", "TensorListResize", "TensorListStack", "Unpack",
    "GatherV2-nce", "GatherV2-repeat", "GatherV2-sampled softmax", "IRFFT-unknown",
    "LogSoftmax-axis -2", "MatMul-tensordot", "RFFT-grown", "RFFT-unknown",
    "Slice-linspace", "Softmax-axis 0", "SoftmaxCrossEntropyWithLogits-rank 3, axis 1",
    "TopKV2-sort",
}  # fmt: skip

# Ops whose outputs have a size that only the values of their inputs tell.
SIZED_BY_VALUES = {
    "BroadcastGradientArgs", "ComputeAccidentalHits", "DenseBincount", "ListDiff",
    "PyFunc", "PyFuncStateless", "RandomStandardNormal", "RandomUniform",
    "RandomUniformInt", "Range", "TruncatedNormal", "Unique", "UniqueWithCounts",
    "Where", "StatelessRandomUniformInt", "StatelessRandomUniform",
    "StatelessRandomNormal", "StatelessTruncatedNormal",
}  # fmt: skip


def run(
    build: Callable[..., Any],
    values: list[np.ndarray],
    variant: str,
    smooth: bool = True,
    sized: bool = True,
) -> list[np.ndarray] | None:
    """The outputs of ``build`` and their gradients; None if it has to know more.

    ``smooth``: there are gradients. ``sized``: known inputs give known outputs.

    What comes out fits what inference said of it.
    """
    graph = tf.Graph()
    with graph.as_default():
        shapes = [VARIANTS[variant](v.shape) for v in values]
        xs = [tf.placeholder(v.dtype, s) for v, s in zip(values, shapes)]
        try:
            y = build(*xs)
            ys = list(y) if isinstance(y, (list, tuple)) else [y]
            slopes = []
            if smooth:
                tops = [t for t in ys if t.dtype.is_floating or t.dtype.is_complex]
                ones = [tf.ones_like(t) for t in tops]
                slopes = tf.gradients(tops, xs, grad_ys=ones)
        except (ValueError, TypeError, NotImplementedError):
            assert variant != "known"
            return None
        slopes = [tf.convert_to_tensor(g) for g in slopes if g is not None]
    with tf.Session(graph=graph) as session:
        found = session.run([*ys, *slopes], dict(zip(xs, values)))
    for tensor, value in zip([*ys, *slopes], found, strict=True):
        assert tensor.shape.is_compatible_with(np.shape(value)), (tensor, value)
        assert np.asarray(value).dtype == tensor.dtype.as_numpy_dtype or (
            tensor.dtype is tf.string
        )
        if variant == "known" and sized:
            assert tensor.shape.is_fully_defined(), tensor
    return list(found)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_rows(case: Case) -> None:
    """Values and gradients do not depend on what is known while building."""
    values = harness.draw(case, 0)
    wanted = run(case.build, values, "known")
    assert wanted is not None
    for variant in list(VARIANTS)[1:]:
        found = run(case.build, values, variant)
        if found is None:
            assert {case.op, case.name} & NEED_A_SHAPE, variant
            continue
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


# --- ops without a gradient -----------------------------------------------------------


def raw(op_type: str, **attrs: Any) -> Callable[..., Any]:
    """One op of this type of everything that is given."""
    return lambda *xs: xs[0].graph.apply(op_type, *xs, **attrs)


def fixed(function: Callable[..., Any], *after: Any, **options: Any) -> Any:
    """``function`` of the tensors and then of these constants."""
    return lambda *xs: function(*xs, *after, **options)


F = np.linspace(-2, 2, 6).reshape(2, 3)
ROW = np.array([0.5, 1.5, 2.5])
I = np.arange(6, dtype=np.int32).reshape(2, 3)  # noqa: E741
J = np.array([1, 2, 3], np.int32)
B = np.array([[True, False, True], [False, True, True]])
TRUE = np.array([[0], [3]])
SEEDED = {"seed": 3, "seed2": 5}
DRAW = {"num_true": 1, "num_sampled": 4, "range_max": 9, **SEEDED}
SIZES = np.array([2, 3], np.int32)
IMAGE = np.arange(24.0).reshape(1, 4, 3, 2)
FILTER = np.arange(8.0).reshape(2, 2, 2)
WINDOW = {"strides": (1, 1, 1, 1), "rates": (1, 1, 1, 1), "padding": "SAME"}

STATELESS = (
    "StatelessRandomUniform",
    "StatelessRandomNormal",
    "StatelessTruncatedNormal",
)

EXAMPLES: dict[str, tuple[Any, ...]] = {
    **{
        t: (raw(t), F, ROW)
        for t in (
            *("ApproximateEqual", "Equal", "Greater", "GreaterEqual"),
            *("Less", "LessEqual", "NotEqual"),
        )
    },
    **{
        t: (raw(t), I, J)
        for t in (
            *("BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift"),
            *("Mod", "TruncateMod"),
        )
    },
    **{t: (raw(t), B, B[0]) for t in ("LogicalAnd", "LogicalOr")},
    **{t: (raw(t), F) for t in ["IsFinite", "IsInf", "IsNan", "OnesLike", "ZerosLike"]},
    **{t: (raw(t), F) for t in ["Shape", "Size", "Rank", "StopGradient"]},
    **{t: (fixed(raw(t, keep_dims=True), [0]), B) for t in ("All", "Any")},
    **{
        t: (raw(t, dtype=tf.float64, **SEEDED), SIZES)
        for t in ["RandomUniform", "RandomStandardNormal", "TruncatedNormal"]
    },
    **{
        t: (raw(t, unique=True, **DRAW), TRUE)
        for t in ["LogUniformCandidateSampler", "UniformCandidateSampler"]
    },
    **{t: (raw(t), F, F) for t in ("SoftsignGrad",)},
    **{
        t: (raw(t, out_type=tf.int64), np.sort(F), F)
        for t in ("LowerBound", "UpperBound")
    },
    **{
        t: (raw(t), np.array([3, 1, 3, 2])) for t in ("Unique", "UniqueWithCounts")
    },
    "AllCandidateSampler": (
        raw("AllCandidateSampler", num_true=1, num_sampled=4, unique=True), TRUE),
    "FixedUnigramCandidateSampler": (
        raw("FixedUnigramCandidateSampler", unique=False,
            unigrams=(1.0,) * 9, **DRAW), TRUE),
    "ComputeAccidentalHits": (
        fixed(raw("ComputeAccidentalHits", num_true=1), [3, 5, 0]), TRUE),
    "BelowLimit": (raw("BelowLimit", limit=7), J[0]),
    "Bitcast": (raw("Bitcast", type=tf.int32), F),
    "BroadcastArgs": (raw("BroadcastArgs"), SIZES, np.array([1, 3], np.int32)),
    "BroadcastGradientArgs": (
        raw("BroadcastGradientArgs"), SIZES, np.array([1, 3], np.int32)),
    "ConcatOffset": (
        lambda x: x.graph.apply("ConcatOffset", 0, [x, x]), SIZES),
    "DenseBincount": (
        lambda x, w: x.graph.apply("DenseBincount", x, 7, w), I, F),
    "Dilation2DBackpropFilter": (
        raw("Dilation2DBackpropFilter", **WINDOW), IMAGE, FILTER, IMAGE),
    "Dilation2DBackpropInput": (
        raw("Dilation2DBackpropInput", **WINDOW), IMAGE, FILTER, IMAGE),
    "IgammaGradA": (raw("IgammaGradA"), F + 3, ROW),
    "InTopKV2": (fixed(raw("InTopKV2"), 1), F.astype("f"), np.array([0, 1], np.int32)),
    "Invert": (raw("Invert"), I),
    "InvertPermutation": (raw("InvertPermutation"), np.array([2, 0, 1], np.int32)),
    "LinSpace": (fixed(raw("LinSpace"), 4), np.array(0.5), np.array(2.0)),
    "ListDiff": (raw("ListDiff"), J, np.array([2], np.int32)),
    "Lu": (raw("Lu"), np.array([[[2.0, 1], [1, 3]]])),
    "MatrixLogarithm": (raw("MatrixLogarithm"), np.array([[[2.0 + 0j, 1], [1, 3]]])),
    "LogicalNot": (raw("LogicalNot"), B),
    "LRNGrad": (raw("LRNGrad"), IMAGE, IMAGE, IMAGE),
    "Multinomial": (fixed(raw("Multinomial", **SEEDED), 5), F),
    "OneHot": (fixed(raw("OneHot", axis=-1), 4, 1.0, 0.0), I),
    "PyFunc": (lambda x: tf.py_func(lambda a: a + 1, [x], tf.float64), F),
    "PyFuncStateless": (
        lambda x: tf.py_func(lambda a: a + 1, [x], tf.float64, stateful=False), F),
    "RandomShuffle": (raw("RandomShuffle", **SEEDED), F),
    "RandomUniformInt": (fixed(raw("RandomUniformInt", **SEEDED), 2, 9), SIZES),
    "Range": (raw("Range"), np.array(1), np.array(7), np.array(2)),
    "ShapeN": (lambda x, y: x.graph.apply("ShapeN", [x, y], out_type=tf.int32), F, ROW),
    "StatelessMultinomial": (
        fixed(raw("StatelessMultinomial", output_dtype=tf.int64), 5, [1, 2]), F),
    "StatelessRandomUniformInt": (
        fixed(raw("StatelessRandomUniformInt"), [1, 2], 2, 9), SIZES),
    **{
        t: (fixed(raw(t, dtype=tf.float64), [1, 2]), SIZES)
        for t in STATELESS
    },
    "StringFormat": (
        lambda x: x.graph.apply("StringFormat", [x], template="%s"), F),
    "UnravelIndex": (fixed(raw("UnravelIndex"), [2, 4]), J),
    "Where": (raw("Where"), B),
}  # fmt: skip

# Without an output, of variables or lists, or tested where they belong: the ops of
# control flow, data sets and summaries.
WITHOUT_AN_EXAMPLE = {
    "Assert", "CheckCase", "Const", "IteratorGetNext", "MakeIterator", "NoOp",
    "Placeholder", "PrintV2", "TensorListLength", "TensorListReserve",
    "TensorListZeros", "VarHandleOp",
    "VarIsInitializedOp", "VariableShape", "ZerosLikeSaved",
}  # fmt: skip


@pytest.mark.parametrize("op", EXAMPLES)
def test_examples(op: str) -> None:
    build, *arrays = EXAMPLES[op]
    values = [np.asarray(v) for v in arrays]
    wanted = run(build, values, "known", False, op not in SIZED_BY_VALUES)
    assert wanted is not None
    for variant in list(VARIANTS)[1:]:
        found = run(build, values, variant, False)
        assert found is not None, variant
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_every_op_has_a_row_or_an_example() -> None:
    types = {spec.type for spec in REGISTRY}
    ruled = {t for t in types if REGISTRY.gradient(t) not in (None, NO_GRADIENT)}
    left = types - ruled - EXAMPLES.keys() - WITHOUT_AN_EXAMPLE
    left -= {t for t in left if "Summary" in t or t.startswith("Resource")}
    left -= {t for t in left if "Assign" in t}
    assert left == set()
    assert EXAMPLES.keys() <= types - ruled


def test_the_check_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inference that says the wrong size is found, and one that says too little."""
    spec = REGISTRY.find("IsNan")
    for wrong in ((2, 4), (2, None)):
        lying = replace(spec, infer=lambda op, s=wrong: ((tf.bool, s),))
        monkeypatch.setitem(REGISTRY.specs, "IsNan", lying)
        with pytest.raises(AssertionError):
            run(raw("IsNan"), [F], "known", smooth=False)
