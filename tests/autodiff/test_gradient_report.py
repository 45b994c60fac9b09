"""check_gradients: what is right, what is wrong, and what cannot be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg

DRAWN = np.random.RandomState(0)
X, W = DRAWN.normal(size=(3, 4)), DRAWN.normal(size=(4, 2))
Z = DRAWN.normal(size=4) + 1j * DRAWN.normal(size=4)


@pytest.mark.parametrize(
    ("f", "args", "order"),
    [
        (lambda x, w: gg.tanh(x @ w), (X, W), 3),
        (lambda x: {"a": gg.sin(x), "b": (gg.reduce_sum(x * x), 3)}, (X,), 2),
        (lambda z: z * z * gg.math.conj(z), (Z,), 2),
        (lambda x, i: gg.gather(gg.exp(x), i), (X, np.array([0, 0, 2])), 2),
        (lambda x: gg.constant(2.0, gg.float64) * x, (X,), 2),
        (lambda x, w: x * 2.0, (X, W), 1),
        (lambda x: gg.map_fn(lambda row: gg.sin(row) * row, x), (X,), 2),
        (gg.exp, (np.zeros((0, 3)),), 2),
        (gg.tanh, (X.astype(np.float32),), 1),
    ],
)
def test_right(f: Callable[..., Any], args: tuple[Any, ...], order: int) -> None:
    report = gg.check_gradients(f, *args, order=order)
    assert report.ok and report, report
    floats = sum(np.asarray(a).dtype.kind in "fc" for a in args)
    assert len(report.checks) == floats * order


def scaled(first: float, second: float) -> Callable[[Any], Any]:
    """The sine with rules that are off by factors."""

    @gg.custom_gradient
    def cosine(x: Any) -> Any:
        return gg.cos(x), lambda dy: -second * dy * gg.sin(x)

    @gg.custom_gradient
    def sine(x: Any) -> Any:
        return gg.sin(x), lambda dy: first * dy * cosine(x)

    return sine


@pytest.mark.parametrize(
    ("factors", "verdicts"),
    [
        ((1.0, 1.0), ["ok", "ok"]),
        ((1.01, 1.0), ["WRONG", "ok"]),
        ((1.0, 1.01), ["ok", "WRONG"]),
        ((1.0, 0.99999), ["ok", "WRONG"]),
    ],
)
def test_one_per_cent_off(factors: tuple[float, float], verdicts: list[str]) -> None:
    for seed in range(3):
        report = gg.check_gradients(scaled(*factors), X, seed=seed)
        assert [check.verdict for check in report.checks] == verdicts
        assert report.ok is (set(verdicts) == {"ok"})


def test_the_wrong_argument_is_named() -> None:
    report = gg.check_gradients(lambda x, w: x @ scaled(1.01, 1.0)(w), X, W, order=1)
    assert [(c.argument, c.verdict) for c in report.checks] == [(0, "ok"), (1, "WRONG")]
    table = str(report).splitlines()
    assert table[0].split() == [
        "order", "argument", "analytic", "numeric", "tolerance", "verdict",
    ]  # fmt: skip
    assert table[2].split()[:2] == ["1", "1"] and table[2].endswith("WRONG")


def test_what_cannot_be_told() -> None:
    kink = gg.check_gradients(gg.abs, np.array([1e-8, 1.0]), order=1)
    assert [c.verdict for c in kink.checks] == ["unsure"] and not kink.ok
    coarse = gg.check_gradients(gg.exp, np.array([30.0]), order=1, step=0.1)
    assert [c.verdict for c in coarse.checks] == ["unsure"]


def test_misuse() -> None:
    noisy = lambda x: x * gg.random.normal([4], dtype=gg.float64)  # noqa: E731
    with pytest.raises(ValueError, match="Random numbers have no derivative"):
        gg.check_gradients(noisy, X)
    with pytest.raises(ValueError, match="No argument"):
        gg.check_gradients(lambda i: i, np.array([1]))
    with pytest.raises(ValueError, match="nothing of a floating"):
        gg.check_gradients(lambda x: gg.shape(x), X)
    with pytest.raises(ValueError, match="at least 1"):
        gg.check_gradients(gg.exp, X, order=0)
