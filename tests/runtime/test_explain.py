"""The memory plan in explain(), as text and as a picture."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.runtime.explain import Explanation, explain


def _explanation() -> Explanation:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [64, 64])
        y = x
        for _ in range(6):
            y = tf.matmul(y, x)
        return explain(y, {x: np.ones((64, 64), np.float32)})


def test_buffers_that_share_bytes_do_not_live_together() -> None:
    text = _explanation()
    rows = re.findall(
        r"^temp\d+ at (\d+): ([\d,]+) bytes, step (\d+) to step (\d+)$", text, re.M
    )
    assert len(rows) >= 5
    lives = [tuple(int(v.replace(",", "")) for v in row) for row in rows]
    for i, (offset, size, first, last) in enumerate(lives):
        assert size == 64 * 64 * 4
        for other in lives[:i]:
            apart = other[0] + other[1] <= offset or offset + size <= other[0]
            assert apart or other[3] < first or last < other[2]
    assert len({offset for offset, *_ in lives}) < len(lives)


def test_the_plan_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _explanation().draw_memory(tmp_path / "plan.png")
    written = (tmp_path / "plan.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert len(written) > 5000


def test_what_is_missing_is_said(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"gpugrad\[demo\]"):
        _explanation().draw_memory(tmp_path / "plan.png")
    assert not list(tmp_path.iterdir())
