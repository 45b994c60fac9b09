"""Random programs: the NumPy backend against the interpreter, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from gpugrad.backends.numpy.backend import NumpyExecutable
from gpugrad.backends.numpy.streams import Workers
from gpugrad.config import Config
from gpugrad.kir.verify import check_program
from tests.backends.programs import Trial, trials

# Small enough for several tiles along each axis, and portions for all threads.
CONFIGS = [
    Config(),
    Config(num_threads=2, share_ns=0),
    Config(machine_code=0),
    Config(machine_code=0, num_threads=1, tile_bytes=16),
    Config(machine_code=0, num_threads=2, tile_bytes=64, share_ns=0),
    Config(machine_code=0, num_threads=4, tile_bytes=150, share_ns=0),
    Config(machine_code=0, num_threads=3, tile_bytes=600, share_ns=0),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.tile_bytes} bytes")
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(trials())
def test_equals_the_interpreter(config: Config, trial: Trial) -> None:
    check_program(trial.program)
    outputs, committed = trial.expected()
    inputs = [a.copy() for a in trial.inputs]
    executable = NumpyExecutable(trial.program, Workers(), config)
    for _ in range(2):  # nothing may be left behind by the first run
        results = executable.run(trial.inputs, _copies(trial.variables), 0)
        for found, wanted, view in zip(results, outputs, trial.program.outputs):
            assert found.dtype == view.dtype.np_dtype
            assert found.flags.c_contiguous
            _equal(found, wanted, executable.source)
    variables = _copies(trial.variables)
    executable.run(trial.inputs, variables, 0)
    for slot, wanted in committed.items():
        assert variables[slot].shape == wanted.shape
        _equal(variables[slot], wanted, executable.source)
    for before, after in zip(inputs, trial.inputs):
        np.testing.assert_array_equal(after, before)
    for slot, before in enumerate(trial.variables):
        if slot not in committed:
            np.testing.assert_array_equal(variables[slot], before)


def _copies(arrays: list[np.ndarray | None]) -> list[np.ndarray | None]:
    return [None if a is None else a.copy() for a in arrays]


def _equal(found: np.ndarray, wanted: np.ndarray, source: str) -> None:
    assert found.dtype == wanted.dtype
    if found.dtype.kind == "V":  # bfloat16, whose NaN NumPy does not recognise
        found, wanted = found.astype(np.float32), wanted.astype(np.float32)
    np.testing.assert_array_equal(found, wanted, source)
