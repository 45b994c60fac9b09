"""The interpreter, by hand-made kernels whose results can be read off."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.kir import scalar
from gpugrad.kir.interpret import array_of, evaluate, interpret
from gpugrad.kir.program import Barrier, Call, Group, Store
from gpugrad.kir.scalar import Index, Lit, Load, Reduce
from gpugrad.kir.space import Buffer, View, whole

F32 = dtypes.float32
IN, OUT, TOP = (Buffer(i, F32, 6, "temp") for i in range(3))
X = np.arange(6, dtype=np.float32)


def test_views_share_memory() -> None:
    view = whole(IN, (2, 3)).slice((1, 2), (2, 2), (-1, -2))
    array = array_of(view, X)
    assert np.shares_memory(array, X)
    assert array.tolist() == [[5, 3], [2, 0]]
    assert array_of(whole(IN, (2, 3)).broadcast((2, 2, 3)), X).shape == (2, 2, 3)


def test_elementwise_with_broadcast() -> None:
    row = View(IN, (2, 3), (0, 1), 3)
    expr = scalar.mul(Load(0, F32), Load(1, F32))
    group = Group((2, 3), (False,) * 2, (whole(IN, (2, 3)), row),
                  (Store(whole(OUT, (2, 3)), expr),))  # fmt: skip
    memory = interpret([group], {0: X})
    assert memory[1].tolist() == [0, 4, 10, 9, 16, 25]


def test_row_sums_and_their_broadcast_back() -> None:
    """Both stores see the state before the group."""
    total = Reduce("sum", Load(0, F32))
    sums = Store(View(TOP, (2, 1), (1, 0), 0), total)
    shares = Store(whole(OUT, (2, 3)), scalar.div(Load(0, F32), total))
    group = Group((2, 3), (False, True), (whole(IN, (2, 3)),), (sums, shares))
    memory = interpret([group], {0: X, 2: np.zeros(6, np.float32)})
    assert memory[2].tolist() == [3, 12, 0, 0, 0, 0]
    np.testing.assert_allclose(memory[1], X / [3, 3, 3, 12, 12, 12], rtol=1e-7)


def test_folds_count_every_point() -> None:
    """Of what is constant along an axis too: 3 twos are 6, the indices 0 + 1 + 2."""
    kinds = [Lit(2, F32), scalar.cast(Index(1), F32), Load(0, F32)]
    for arg, wanted in zip(kinds, (6, 3, 3 * X[:2])):
        column = View(IN, (2, 3), (1, 0), 0)
        store = Store(View(OUT, (2, 1), (1, 0), 0), Reduce("sum", arg))
        memory = interpret([Group((2, 3), (False, True), (column,), (store,))], {0: X})
        np.testing.assert_array_equal(memory[1][:2], np.broadcast_to(wanted, 2))


def test_calls_and_barriers() -> None:
    def double(xp: Any, outs: tuple[Any, ...], x: Any, times: int) -> None:
        outs[0][...] = x * times

    view = whole(IN, (6,))
    steps = [
        Call("double", double, (view.slice((0,), (3,), (2,)),),
             (whole(OUT, (6,)).slice((3,), (3,)),), (("times", 2),)),
        Barrier((view, whole(OUT, (6,)))),
    ]  # fmt: skip
    assert interpret(steps, {0: X})[1][3:].tolist() == [0, 4, 8]


def test_evaluate_finds_the_space_itself() -> None:
    expr = scalar.add(Load(0, F32), scalar.cast(Index(0), F32))
    column = np.ones((3, 1), np.float32)
    assert evaluate(expr, [column]).tolist() == [[1], [2], [3]]
    assert evaluate(Lit(3, F32), [], ()).shape == ()


def test_expressions_that_share_much_have_short_texts() -> None:
    """Written out, the last one would have 2**64 parts."""
    expr = Load(0, dtypes.float32)
    assert repr(expr * expr + expr) == "add(mul(in0, in0), in0)"
    for _ in range(64):
        expr = expr * expr
    assert len(repr(expr)) < 2000
    assert repr(expr).startswith("v0 = mul(in0, in0); v1 = mul(v0, v0)")
