"""The nodes that gradients() adds, against those that TensorFlow adds."""

from __future__ import annotations

import json
from typing import Any

import pytest

import gpugrad.compat.v1 as tf
from tests.autodiff.programs import PROGRAMS
from tests.autodiff.record import RECORDED, run

EXPECTED: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))


def test_every_program_is_recorded() -> None:
    assert EXPECTED.keys() == PROGRAMS.keys()


@pytest.mark.parametrize("name", PROGRAMS)
def test_nodes(name: str) -> None:
    """Names, types, inputs, control edges, groups and devices, in order."""
    got = run(tf, name)
    assert got["nodes"] == EXPECTED[name]["nodes"]
    assert got["results"] == EXPECTED[name]["results"]
