"""Loops, branches and arrays in each other, with the values that TensorFlow has."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from tests.control.cases import CASES
from tests.control.record import RECORDED, in_tensorflow, values

EXPECTED: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
RTOL = 1e-5  # float32, and second derivatives of a few dozen operations


def check(found: list[Any], expected: list[Any]) -> None:
    assert [f is None for f in found] == [e is None for e in expected]
    for one, other in zip(found, expected):
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=RTOL, atol=RTOL)


def test_every_case_is_recorded() -> None:
    assert list(EXPECTED) == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_values_are_tensorflows(name: str) -> None:
    check(values(tf, name), EXPECTED[name])


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow"
)
@pytest.mark.parametrize("name", CASES)
def test_values_beside_tensorflow(name: str) -> None:
    check(values(tf, name), in_tensorflow(name))
