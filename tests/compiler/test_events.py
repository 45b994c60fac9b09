"""Waits between streams: enough, and not one too many."""

from __future__ import annotations

import numpy as np
import pytest

from gpugrad.kir.order import order_problem
from tests.backends.schedules import all_waits, draw, random_streams, without


@pytest.mark.parametrize("seed", range(60))
def test_every_single_wait_is_needed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    draft = draw(rng, int(rng.integers(5, 40)))
    streams = random_streams(rng, draft.trial.program, int(rng.integers(2, 6)))
    for share in (False, True):
        program = draft.on(streams, share)
        assert order_problem(program) is None
        waits = list(all_waits(program))
        assert waits
        for number, other in waits:
            assert order_problem(without(program, number, other)) is not None
