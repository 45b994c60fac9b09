"""Operations on values that repeat earlier ones are not built again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.runtime import devices, eager, memory


def value(*numbers: float) -> Any:
    return gg.function(lambda x: x * 1.0)(np.array(numbers, np.float32))


def test_a_call_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    v, built = value(1, 2, 3), []
    monkeypatch.setattr(eager, "Graph", lambda: built.append(1) or gg.Graph())
    for turn in range(3):
        other = value(turn, 0, 0)
        assert (v * other).numpy().tolist() == [turn, 0, 0]
        assert gg.reduce_sum(v + turn * np.ones(3, np.float32)).numpy() == 6 + 3 * turn
        assert v[1:].numpy().tolist() == [2, 3]
        assert np.maximum(v, other).numpy().tolist() == [max(1, turn), 2, 3]
        assert gg.concat([v, other], 0).shape == [6]
        np.testing.assert_array_equal(np.sum(v, axis=0), 6)
    assert len(built) == 7


def test_calls_that_differ_are_told_apart() -> None:
    v = value(-0.0, 1)
    assert np.signbit((v + 0.0).numpy()).tolist() == [False, False]
    assert np.signbit((v + -0.0).numpy()).tolist() == [True, False]
    with pytest.raises(TypeError):
        v + True
    assert (v + 1).numpy().tolist() == [1, 2]
    with pytest.raises(TypeError):
        v + True
    assert (v * value(3, 4)).shape == [2]
    assert (v * value(3)).shape == [2]
    whole = gg.cast(v, gg.int32)
    assert (whole + 1).dtype is gg.int32
    for number in (2.0, 3.0):  # an array in a list is a constant, not a value
        rows = [np.array([number, number], np.float32)]
        assert gg.add(v, rows).numpy().tolist() == [[number, number + 1]]
    assert gg.reduce_sum(v, axis=0).shape == []
    assert gg.reduce_sum(v, axis=0, keepdims=True).shape == [1]
    assert gg.reduce_sum(v, keepdims=True).shape == [1]


def test_attributes_that_are_arrays_are_told_apart() -> None:
    for numbers in ([1.0, 2.0], [3.0, 4.0]):
        attrs = {"value": np.array(numbers, np.float32), "dtype": gg.float32}
        assert eager.apply_now("Const", (), attrs, None).numpy().tolist() == numbers


def test_a_failed_call_names_its_own_line() -> None:
    v = value(1, 2)
    lines = set()
    gg.gather(v, np.array([1], np.int32))
    for _ in range(2):
        with pytest.raises(gg.errors.InvalidArgumentError) as first:
            gg.gather(v, np.array([7], np.int32))
        lines.add(str(first.value))
    with pytest.raises(gg.errors.InvalidArgumentError) as second:
        gg.gather(v, np.array([7], np.int32))
    assert len(lines) == 1
    assert str(second.value) not in lines
    assert gg.gather(v, np.array([1], np.int32)).numpy().tolist() == [2]


def test_random_values_differ_from_call_to_call() -> None:
    v = value(*range(100))
    drawn = {tuple(gg.nn.dropout(v, rate=0.5).numpy()) for _ in range(4)}
    assert len(drawn) == 4


def test_kept_calls_are_few_and_give_their_memory_back() -> None:
    v = value(1, 2)
    for number in range(eager._KEPT + 5):
        v + float(number)
    assert len(eager._kept) == eager._KEPT
    memory.release(devices.backend())
    assert (v + float(eager._KEPT)).numpy()[0] == eager._KEPT + 1


def test_calls_in_threads() -> None:
    v = value(*range(50))

    def work(factor: int) -> bool:
        x = value(factor)
        return all(float((v * x)[2]) == 2 * factor for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
