"""Programs as TensorFlow 1's tutorials write them train as they do under TensorFlow."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from tests.programs.record import OURS, PROGRAMS, RECORDED, in_tensorflow, losses_of

RECORDED_LOSSES = json.loads(RECORDED.read_text(encoding="utf-8"))
# float32: sums in another order differ by about 1e-7, which a few dozen steps of
# training magnify, but not by a thousand.
RTOL = 1e-4


def run(name: str) -> list[float]:
    with tf.Graph().as_default():
        return losses_of(name, OURS)


def test_every_program_is_recorded() -> None:
    assert list(RECORDED_LOSSES) == PROGRAMS and len(PROGRAMS) >= 8
    assert all(len(losses) >= 20 for losses in RECORDED_LOSSES.values())


@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_are_tensorflows(name: str) -> None:
    np.testing.assert_allclose(run(name), RECORDED_LOSSES[name], rtol=RTOL)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow"
)
@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_beside_tensorflow(name: str) -> None:
    np.testing.assert_allclose(run(name), in_tensorflow(name), rtol=RTOL)


def test_a_rule_that_is_off_shows() -> None:
    """A twentieth off the learning rate, and the losses part."""
    changed = OURS + "tf.train.GradientDescentOptimizer = (\n"
    changed += (
        "    lambda rate, make=tf.train.GradientDescentOptimizer: make(rate * 1.05)"
    )
    with tf.Graph().as_default(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tf.train, "GradientDescentOptimizer", tf.train.GradientDescentOptimizer
        )
        found = losses_of("softmax_regression", changed + "\n)\n")
    expected = RECORDED_LOSSES["softmax_regression"]
    assert not np.allclose(found, expected, rtol=RTOL)
