"""Folding and algebra: what becomes simpler, and the same to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.compiler.algebra import made, simplify
from gpugrad.compiler.fold import LIMIT, fold_constants
from gpugrad.kir import scalar as s
from gpugrad.kir.builder import Builder
from gpugrad.kir.interpret import evaluate
from gpugrad.kir.program import Call, Group
from gpugrad.kir.scalar import Apply, Expr, Lit, Load, Reduce, cast
from gpugrad.kir.verify import check_program
from tests.compiler.test_passes import close

F16, F32, F64, I32 = dtypes.float16, dtypes.float32, dtypes.float64, dtypes.int32
X, Y, N = Load(0, F32), Load(1, F32), Load(0, I32)
B = Load(0, dtypes.bool_)

SIMPLER: list[tuple[Expr, Expr]] = [
    (X * 1.0, X),
    (1.0 * X, X),
    (X * -1.0, -X),
    (X + -0.0, X),
    (X - 0.0, X),
    (N + 0, N),
    (0 + N, N),
    (N * 1, N),
    (X / 1.0, X),
    (X / 8.0, X * 0.125),
    (X + -Y, X - Y),
    (X - -Y, X + Y),
    (s.neg(-X), X),
    (-(X * 3.0), X * -3.0),
    ((-X) * 3.0, X * -3.0),
    (s.pow_(X, 2.0), X * X),
    (s.pow_(X, 1.0), X),
    (s.logical_not(s.logical_not(B)), B),
    (s.abs_(s.abs_(X)), s.abs_(X)),
    (s.select(s.less(X, Y), Y, Y), Y),
    (s.select(Lit(True, dtypes.bool_), X, Y), X),
    (s.select(Lit(False, dtypes.bool_), X, Y), Y),
    (
        s.select(B, s.select(s.less(X, Y), X, Y), Y),
        s.select(s.logical_and(B, s.less(X, Y)), X, Y),
    ),
    (cast(cast(X, F64), F32), X),
    (cast(cast(Load(0, F16), F32), F64), cast(Load(0, F16), F64)),
    (cast(cast(B, I32), F32), cast(B, F32)),
    (Lit(2.0, F32) * Lit(3.0, F32), Lit(6.0, F32)),
]
KEPT: list[Expr] = [
    X + 0.0,  # -0.0 becomes 0.0
    X * 0.0,  # NaN and -0.0
    X - X,  # infinity
    X / X,
    X / 3.0,
    0.0 - X,  # 0.0 - 0.0 is not -0.0
    X - -0.0,
    s.pow_(X, 0.5),  # of -0.0 and of -infinity
    cast(cast(X, F16), F32),
    cast(cast(X, I32), F32),
    cast(cast(N, F32), I32),
    s.floordiv(Lit(1, I32), Lit(0, I32)),  # fails when it runs
]
VALUES = np.array(
    [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-45, 3e38, 7.0], np.float32
)


def simple(expr: Expr) -> Expr:
    assert isinstance(expr, Apply)
    args = tuple(simple(a) if isinstance(a, Apply) else a for a in expr.args)
    return made(expr.op, args, expr.dtype if expr.op is s.cast_op else None)


@pytest.mark.parametrize(("expr", "wanted"), SIMPLER, ids=repr)
def test_becomes_simpler(expr: Expr, wanted: Expr) -> None:
    assert simple(expr) is wanted
    inputs = [VALUES[:, None], VALUES[None, :]]
    if expr is not wanted and {e.dtype for e in s.postorder(expr)} == {F32}:
        before, after = evaluate(expr, inputs), evaluate(wanted, inputs)
        np.testing.assert_array_equal(before, np.broadcast_to(after, before.shape))
        same = np.signbit(before) == np.signbit(after)
        assert (same | np.isnan(before)).all()


@pytest.mark.parametrize("expr", KEPT, ids=repr)
def test_stays(expr: Expr) -> None:
    assert simple(expr) is expr


@pytest.mark.parametrize(
    ("values", "same"),
    [([2.0, 2.0], True), ([2.0, 3.0], False), ([0.0, -0.0], False)],
)
def test_constants_of_one_value_are_literals(values: list[float], same: bool) -> None:
    b = Builder()
    x = b.new(F32, (3, 2), "input")
    constant = b.literal(np.array(values, np.float32), F32).broadcast((3, 2))
    program = close(b, [x], [b.map(lambda u, v: u * v, x, constant)])
    group = simplify(program).steps[0]
    assert type(group) is Group
    assert len(group.loads) == (1 if same else 2)
    if same:
        assert group.stores[0].expr is X * Lit(2.0, F32)


def test_one_element_constants_are_literals() -> None:
    b = Builder()
    x = b.new(F32, (4,), "input")
    two = b.literal(np.array([2.0], np.float32), F32).broadcast((4,))
    program = simplify(close(b, [x], [b.map(s.mul, x, two)]))
    check_program(program)
    step = program.steps[0]
    assert isinstance(step, Group)
    assert step.loads == (x,)
    assert step.stores[0].expr is X * 2.0


def test_a_fold_over_one_point_goes() -> None:
    b = Builder()
    x = b.new(F32, (4, 1), "input")
    program = simplify(close(b, [x], [b.reduce("sum", x, (1,))]))
    check_program(program)
    exprs = [st.expr for g in program.steps for st in g.stores]  # type: ignore[union-attr]
    assert not any(isinstance(e, Reduce) for e in exprs)


def test_loads_that_are_not_needed_go() -> None:
    b = Builder()
    x, y = b.new(F32, (4,), "input"), b.new(F32, (4,), "input")
    z = b.map(lambda e, f: s.select(Lit(False, dtypes.bool_), e, f), x, y)
    program = simplify(close(b, [x, y], [z]))
    step = program.steps[0]
    assert isinstance(step, Group)
    assert step.loads == (y,)


# --- folding --------------------------------------------------------------------------


def double(xp: Any, outs: Any, x: Any) -> None:
    outs[0][...] = 2 * x


def test_small_constants_are_computed_once() -> None:
    b = Builder()
    c = b.literal(np.arange(4, dtype=np.float32), F32)
    (d,) = b.call("double", double, [b.map(s.sqrt, c)], [(F32, (4,))])
    x = b.new(F32, (4,), "input")
    program = fold_constants(close(b, [x], [b.map(s.add, d, x)]))
    check_program(program)
    assert len(program.steps) == 2
    np.testing.assert_array_equal(
        program.consts[d.buffer.id], 2 * np.sqrt(np.arange(4, dtype=np.float32))
    )


def test_what_is_large_random_impure_or_wrong_is_not_folded() -> None:
    b = Builder()
    large = b.map(s.neg, b.literal(np.ones(LIMIT + 1, np.float32), F32))
    (drawn,) = b.call("draw", double, [b.run_number()], [(dtypes.int64, ())])
    c = b.literal(np.zeros(3, np.int32), I32)
    (said,) = b.call("say", double, [c], [(I32, (3,))], pure=False)
    wrong = b.map(lambda e: s.floordiv(e, e), c)
    results = [large, drawn, said, wrong]
    program = close(b, [], results, step=b.step)
    assert fold_constants(program) is program
    assert isinstance(program.steps[1], Call)
