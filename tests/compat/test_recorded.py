"""Layers and recurrent networks against what TensorFlow made of the same programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

import gpugrad.compat.v1 as tf
from tests.compat.programs import PROGRAMS
from tests.compat.record import RECORDED, run

EXPECTED: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))


def test_every_program_is_recorded() -> None:
    assert EXPECTED.keys() == PROGRAMS.keys()


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    """Names, shapes, values, gradients, losses, and variables after their updates."""
    got, want = run(tf, name), EXPECTED[name]
    values, expected = got.pop("values"), want.pop("values")
    assert got == want
    loose = 2e-4 if PROGRAMS[name].dtype == "float32" else 1e-9
    for group, other in zip(values, expected, strict=True):
        assert group == pytest.approx(other, rel=loose, abs=loose)
