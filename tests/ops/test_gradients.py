"""Every differentiable op has a row; every row agrees with differences, twice."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

import pytest

import gpugrad.compat.v1 as tf
from gpugrad.graph.spec import NO_GRADIENT, REGISTRY
from tests.ops import harness
from tests.ops.harness import Case

FILES = sorted(Path(__file__).parent.glob("cases_*.py"))
CASES: list[Case] = []
for _file in FILES:
    CASES += importlib.import_module(f"tests.ops.{_file.stem}").CASES

# Rules with nothing to difference: they give None or zeros, raise, or only repeat
# what a row of another op checks.
WITHOUT_A_SLOPE = {
    "PreventGradient",  # raises
    "ArgMax", "ArgMin", "Floor", "Ceil", "Round", "Rint", "FloorDiv", "TruncateDiv",
    "Sign",
    # Their inputs are variables, not tensors: tests/graph/test_variables.py.
    "ReadVariableOp", "ResourceGather",
}  # fmt: skip


def ids(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]  # pytest numbers those of one name


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_first_order(case: Case) -> None:
    analytic, numeric, scale = harness.slopes(case)
    assert abs(analytic - numeric) <= harness.RTOL * scale, (analytic, numeric)


SECOND = [case for case in CASES if case.order >= 2]


@pytest.mark.parametrize("case", SECOND, ids=ids(SECOND))
def test_second_order(case: Case) -> None:
    analytic, numeric, scale = harness.slopes(case, order=2)
    assert abs(analytic - numeric) <= harness.RTOL * scale, (analytic, numeric)


BY_OP: dict[str, list[Case]] = {}
for _case in CASES:
    BY_OP.setdefault(_case.op, []).append(_case)


@pytest.mark.parametrize("op", sorted(BY_OP.keys() - WITHOUT_A_SLOPE))
def test_the_check_can_fail(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule 1% off is caught by a row of the op; else its rows prove nothing."""
    rule, where = REGISTRY._gradients[op]

    @functools.wraps(rule)
    def wrong(op: object, *dys: object) -> object:
        gradients = rule(op, *dys)
        if not isinstance(gradients, (list, tuple)):
            return _scaled(gradients)
        return [_scaled(g) for g in gradients]

    monkeypatch.setitem(REGISTRY._gradients, op, (wrong, where))
    for case in BY_OP[op]:
        analytic, numeric, scale = harness.slopes(case)
        if abs(analytic - numeric) > harness.RTOL * scale:
            return
    # Rules of gradients show in second order only.
    for case in BY_OP[op]:
        analytic, numeric, scale = harness.slopes(case, order=2)
        if abs(analytic - numeric) > harness.RTOL * scale:
            return
    pytest.fail(f"no row of {op} notices that its rule is wrong")


def _scaled(gradient: tf.Tensor | None) -> tf.Tensor | None:
    if gradient is None:
        return None
    dense = tf.convert_to_tensor(gradient)
    if dense.dtype is tf.variant:  # a list has no product, but a sum
        return dense.graph.apply("SumLists", [dense, dense])
    if dense.dtype.is_complex or dense.dtype.is_floating:
        return tf.cast(1.01, dense.dtype) * dense
    return gradient


def test_every_rule_has_a_row() -> None:
    rows = {case.op for case in CASES}
    types = {spec.type for spec in REGISTRY}
    rules = {
        name
        for name, (rule, _) in REGISTRY._gradients.items()
        if rule is not NO_GRADIENT and name in types
    }
    assert rules - rows - WITHOUT_A_SLOPE == set()
    assert rows - rules == set()


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_a_row_contains_its_op(case: Case) -> None:
    """The graph of the row, or that of its gradient, holds the op under test."""
    with tf.Graph().as_default() as graph:
        xs = [tf.placeholder(v.dtype, v.shape) for v in harness.draw(case, 0)]
        y = case.build(*xs)
        ys = list(y) if isinstance(y, (list, tuple)) else [y]
        ys = [t for t in ys if t.dtype.is_floating or t.dtype.is_complex]
        if case.op not in {op.type for op in graph.get_operations()}:
            tf.gradients(ys, xs, grad_ys=[tf.ones_like(t) for t in ys])
        assert case.op in {op.type for op in graph.get_operations()}
