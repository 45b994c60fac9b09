"""Random programs against TensorFlow: recorded everywhere, fresh where it is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.graph.spec import REGISTRY
from tests.oracle.compare import differences
from tests.oracle.program import Input, Line, Program
from tests.oracle.record import load
from tests.oracle.trial import against, ours, smallest, unoptimized

RECORDED = load()
NUMBERS = range(len(RECORDED))


def program(number: int) -> Program:
    """A recorded program; skips where its dtypes cannot be."""
    found, _ = RECORDED[number]
    if dtypes.bfloat16.np_dtype is None and "bfloat16" in found.forward:
        pytest.skip("bfloat16 needs ml_dtypes")
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_recorded(number):
    """Values, both derivatives, None, dtypes and static shapes are TensorFlow's."""
    parted = differences(program(number), RECORDED[number][1], ours(program(number)))
    assert not parted, program(number).script()


@pytest.mark.parametrize("number", NUMBERS[::3])
def test_without_passes(number):
    """What the compiler's passes do changes no result beyond rounding."""
    outcome = against(unoptimized, program(number))
    assert outcome.ill or not outcome.differences, program(number).script()


def test_fresh_programs():
    """150 programs drawn here, in a process of their own: TensorFlow lives there."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs TensorFlow: pip install '.[oracle]'")
    command = [sys.executable, "-m", "tests.oracle", "--programs", "150"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]


# --- the check can fail ---------------------------------------------------------------


def fed(name: str, *shape: int) -> Input:
    value = np.random.default_rng(len(name)).uniform(0.5, 1.5, shape).round(2)
    return Input(name, "placeholder", "float64", shape, value.tolist(), shape)


CHAIN = Program(
    inputs=(fed("x0", 2, 3), fed("x1", 3), fed("x2", 2, 3)),
    lines=(
        Line(("v0",), "x0 + x1"),
        Line(("v1",), "tf.exp(-v0)"),
        Line(("v2",), "tf.tanh(v1 * x2)"),
        Line(("v3", "v4"), "tf.nn.moments(v2, [0])"),
        Line(("v5",), "tf.concat([v3, v4, x1], 0)"),
    ),
    ys=("v5", "v2"),
    xs=("x0", "x1", "x2", "v2"),
    options=("gate_gradients=True", "unconnected_gradients='zero'"),
)


def spoil(monkeypatch, op_type, spoiled):
    """Put a wrong rule in the place of an op's rule."""
    rule, where = REGISTRY._gradients[op_type]

    def wrong(op, *dys):
        return spoiled(rule(op, *dys))

    monkeypatch.setitem(REGISTRY._gradients, op_type, (wrong, where))


def found_and_shrunk(monkeypatch, op_type, spoiled):
    """The core of CHAIN's failure when a rule is wrong; right rules are expected."""

    def right(what):
        with pytest.MonkeyPatch.context() as undone:
            undone.setattr(REGISTRY, "_gradients", rules)
            return ours(what)

    rules = dict(REGISTRY._gradients)
    assert not against(right, CHAIN).differences
    spoil(monkeypatch, op_type, spoiled)
    outcome = against(right, CHAIN)
    assert outcome.differences
    assert not outcome.ill
    core = smallest(outcome, right)
    assert core.differences
    return core


def test_a_rule_one_percent_off_is_found(monkeypatch):
    core = found_and_shrunk(monkeypatch, "Tanh", lambda dx: 1.01 * dx)
    assert [line.text for line in core.program.lines] == ["tf.tanh(v1 * x2)"]
    assert core.program.options == ()
    assert {d.key for d in core.differences} <= {"first 0", "second 0"}
    report = core.report(ours, ours)
    assert "import gpugrad.compat.v1 as tf" in report
    assert "v2 = tf.tanh(v1 * x2)" in report
    assert "numerically" in report


def test_a_wrong_none_is_found(monkeypatch):
    core = found_and_shrunk(monkeypatch, "Exp", lambda dx: None)
    assert [line.text for line in core.program.lines] == ["tf.exp(-v0)"]
    assert "none" in core.differences[0].what


def test_a_wrong_shape_or_dtype_is_found():
    one, other = ours(CHAIN), ours(CHAIN)
    answer = other["v5"]
    for change in (
        {"dtype": "float32"},
        {"shape": (None,)},
        {"arrays": (answer.arrays[0][None],)},
        {"arrays": (answer.arrays[0] * np.nan,)},
        {"arrays": (answer.arrays[0] * (1 + 1e-11),)},
    ):
        other["v5"] = type(answer)(**{**vars(answer), **change})
        assert [d.key for d in differences(CHAIN, one, other)] == ["v5"], change


def test_the_script_runs_by_itself(tmp_path):
    """What a failure prints is a program; TensorFlow runs it with one word changed."""
    path = tmp_path / "core.py"
    path.write_text(CHAIN.script())
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert CHAIN.script("tensorflow.compat.v1").count("tensorflow") == 1
