"""check_program accepts a good program, and each of its rules refuses a bad one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.kir import scalar
from gpugrad.kir.program import Barrier, Call, Commit, Group, Program, Store
from gpugrad.kir.scalar import Index, Lit, Load, Reduce
from gpugrad.kir.space import Buffer, View, whole
from gpugrad.kir.verify import check_program

F32, I64 = dtypes.float32, dtypes.int64
FEED = Buffer(0, F32, 6, "input")
HELD = Buffer(1, F32, 6, "variable")
CONST = Buffer(2, F32, 3, "const")
COUNT = Buffer(3, I64, 1, "step")
SUMS = Buffer(4, F32, 2, "temp")
NEXT = Buffer(5, F32, 6, "temp")
OUT = Buffer(6, F32, 6, "output")

SPACE, ROWS = (2, 3), (False, True)
LOADS = (whole(FEED, SPACE), whole(HELD, SPACE), View(CONST, SPACE, (0, 1), 0))
TOTAL = Reduce("sum", scalar.mul(Load(0, F32), Load(2, F32)))
FOLD = Group(SPACE, ROWS, LOADS, (Store(View(SUMS, (2, 1), (1, 0), 0), TOTAL),))
SPREAD = Group(
    SPACE,
    (False, False),
    (whole(HELD, SPACE), View(SUMS, SPACE, (1, 0), 0)),
    (Store(whole(NEXT, SPACE), scalar.add(Load(0, F32), Load(1, F32))),),
)


def _scale(xp: Any, outs: tuple[Any, ...], x: Any, n: Any) -> None:
    outs[0][...] = x * n


SCALE = Call(
    "scale", _scale, (whole(NEXT, (6,)), View(COUNT, (), (), 0)), (whole(OUT, (6,)),)
)

GOOD = Program(
    steps=(FOLD, SPREAD, Barrier((whole(SUMS, (2,)), whole(NEXT, (6,)))), SCALE),
    inputs=(FEED,),
    variables=((7, HELD),),
    consts={2: np.zeros(3, np.float32)},
    outputs=(whole(OUT, SPACE),),
    commits=(Commit(7, whole(NEXT, SPACE)),),
    step=COUNT,
    offsets={4: 0, 5: 64},
    arena_bytes=128,
    origins=("fold", "spread", "gate", "scale"),
)


def test_accepts_a_good_program() -> None:
    check_program(GOOD)
    check_program(replace(GOOD, offsets={}, arena_bytes=0, origins=()))


def test_accepts_empty_views_wherever_they_begin() -> None:
    nothing = View(FEED, (0, 3), (3, 1), 99)
    out = Buffer(9, F32, 0, "output")
    store = Store(whole(out, (0, 3)), Load(0, F32))
    group = Group((0, 3), (False, False), (nothing,), (store,))
    view = whole(out, (0, 3))
    check_program(Program((group,), (FEED,), (), {}, (view,), ()))


def test_accepts_interleaved_stores() -> None:
    view = whole(NEXT, (6,))
    even, odd = view.slice((0,), (3,), (2,)), view.slice((5,), (3,), (-2,))
    stores = tuple(Store(v, Lit(i, F32)) for i, v in enumerate((even, odd)))
    check_program(_with(0, Group((3,), (False,), (), stores), GOOD.steps[:1]))


def _with(index: int, step: Any, steps: tuple[Any, ...] = GOOD.steps) -> Program:
    """The program with one step replaced, and without what depends on the others."""
    changed = (*steps[:index], step, *steps[index + 1 :])
    return replace(GOOD, steps=changed, origins=(), offsets={}, outputs=(), commits=())


def _fold(**fields: Any) -> Program:
    return _with(0, FOLD._replace(**fields), GOOD.steps[:1])


def _store(view: View, expr: Any) -> Program:
    return _fold(stores=(Store(view, expr),))


def _sums(view: View) -> Program:
    return _store(view, TOTAL)


TARGET = FOLD.stores[0].view
FULL = whole(NEXT, SPACE)

BAD: list[tuple[str, Callable[[], Program]]] = [
    # what comes from outside
    ("is listed as input", lambda: replace(GOOD, inputs=(SUMS,))),
    ("listed twice", lambda: replace(GOOD, inputs=(FEED, FEED))),
    ("is listed as variable", lambda: replace(GOOD, variables=((7, FEED),))),
    ("read twice", lambda: replace(
        GOOD, variables=((7, HELD), (7, Buffer(8, F32, 1, "variable"))))),
    ("is not one int64", lambda: replace(GOOD, step=COUNT._replace(size=2))),
    ("has no array", lambda: replace(GOOD, consts={})),
    ("not 3 float32", lambda: replace(GOOD, consts={2: np.zeros(3)})),
    ("not 3 float32", lambda: replace(GOOD, consts={2: np.zeros(2, "f")})),
    # what is read
    ("input buffer 0 is read but not", lambda: replace(GOOD, inputs=())),
    ("variable buffer 1 is read but not", lambda: replace(GOOD, variables=())),
    ("step buffer 3 is read but not", lambda: replace(GOOD, step=None)),
    ("temp buffer 4 is read but not", lambda: replace(
        GOOD, steps=(SPREAD, FOLD, *GOOD.steps[2:]))),
    ("Barrier.*buffer 5 is read but not", lambda: replace(
        GOOD, steps=(FOLD, GOOD.steps[2], SPREAD, SCALE))),
    ("is both", lambda: _fold(loads=(LOADS[0]._replace(
        buffer=FEED._replace(size=9)), *LOADS[1:]))),
    # views
    ("reaches elements 1 to 6 of 6", lambda: _fold(
        loads=(LOADS[0]._replace(offset=1), *LOADS[1:]))),
    ("reaches elements -3 to 2", lambda: _fold(
        loads=(LOADS[0]._replace(strides=(-3, 1)), *LOADS[1:]))),
    ("no proper shape", lambda: _fold(
        loads=(LOADS[0]._replace(strides=(1,)), *LOADS[1:]))),
    ("load 0 has shape", lambda: _fold(loads=(whole(FEED, (3, 2)), *LOADS[1:]))),
    ("2 flags|1 flags", lambda: _fold(reduced=(True,))),
    # what is written
    ("input buffer 0 is written", lambda: _sums(View(FEED, (2, 1), (1, 0), 0))),
    ("const buffer 2 is written", lambda: _sums(View(CONST, (2, 1), (1, 0), 0))),
    ("more than once", lambda: _sums(View(SUMS, (2, 1), (0, 0), 0))),
    ("over .* which it uses", lambda: _with(1, SPREAD._replace(
        extents=(2,), reduced=(False,), loads=(whole(SUMS, (2,)),),
        stores=(Store(View(SUMS, (2,), (-1,), 1), Load(0, F32)),)))),
    ("over .* which it uses", lambda: _fold(
        stores=(Store(FULL, Lit(1, F32)), Store(FULL, Lit(2, F32))))),
    ("over .* which it uses", lambda: _with(
        3, SCALE._replace(outs=(whole(NEXT, (6,)),)))),
    # expressions and stores
    ("in3 of 3 loads", lambda: _store(FULL, Load(3, F32))),
    ("in0 is float64, its view float32", lambda: _store(
        whole(Buffer(9, dtypes.float64, 6, "temp"), SPACE), Load(0, dtypes.float64))),
    ("i2 in a space of rank 2", lambda: _store(
        whole(Buffer(9, I64, 6, "temp"), SPACE), Index(2))),
    ("stores float32 into int64", lambda: _sums(
        View(Buffer(9, I64, 2, "temp"), (2, 1), (1, 0), 0))),
    ("stores rank 1 of rank 2", lambda: _sums(View(SUMS, (2,), (1,), 0))),
    ("stores view", lambda: _sums(View(SUMS, (1, 1), (0, 0), 0))),
    ("stores view", lambda: _sums(TARGET._replace(strides=(1, 1)))),
    ("stores one of 3 values", lambda: _store(TARGET, Load(0, F32))),
    ("stores one of 3 values", lambda: _store(
        TARGET, scalar.mul(TOTAL, scalar.cast(Index(1), F32)))),
    # results
    ("3 origins, 4 steps", lambda: replace(GOOD, origins=GOOD.origins[1:])),
    ("output 0: is a temp", lambda: replace(GOOD, outputs=(whole(NEXT, SPACE),))),
    ("output 0: .* not the whole", lambda: replace(
        GOOD, outputs=(whole(OUT, (3,)),))),
    ("output 0: .* not yet written", lambda: replace(GOOD, steps=GOOD.steps[:3],
                                                     origins=())),
    ("slot 7: comes twice", lambda: replace(GOOD, commits=GOOD.commits * 2)),
    ("slot 7: of a variable", lambda: replace(
        GOOD, commits=(Commit(7, whole(HELD, SPACE)),))),
    ("slot 7: .* not the whole", lambda: replace(
        GOOD, commits=(Commit(7, View(NEXT, SPACE, (3, -1), 2)),))),
    # memory
    ("buffer 5 has no offset", lambda: replace(GOOD, offsets={4: 0})),
    ("buffer 5 ends at 152", lambda: replace(GOOD, offsets={4: 0, 5: 128})),
    ("buffer 5 ends at", lambda: replace(GOOD, offsets={4: 64, 5: -4})),
    ("not aligned", lambda: replace(GOOD, offsets={4: 0, 5: 66})),
    ("4 and 5 are alive", lambda: replace(GOOD, offsets={4: 0, 5: 4})),
    ("5 and 4 are alive|4 and 5 are alive", lambda: replace(
        GOOD, offsets={4: 20, 5: 0})),
]  # fmt: skip


@pytest.mark.parametrize(("message", "make"), BAD, ids=[m for m, _ in BAD])
def test_refuses(message: str, make: Callable[[], Program]) -> None:
    with pytest.raises(AssertionError, match=message):
        check_program(make())


def test_memory_may_be_used_again_after_the_last_use() -> None:
    """Step 0 writes a, 1 reads a into b, 2 reads b into c: c may lie on a, not on b."""
    a, b, c = (Buffer(10 + i, F32, 6, "temp") for i in range(3))

    def copy(source: Buffer, target: Buffer) -> Group:
        store = Store(whole(target, (6,)), Load(0, F32))
        return Group((6,), (False,), (whole(source, (6,)),), (store,))

    def placed(where: int) -> Program:
        steps = (copy(FEED, a), copy(a, b), copy(b, c), copy(c, OUT))
        offsets = {10: 0, 11: 24, 12: where}
        outputs = (whole(OUT, (6,)),)
        return Program(steps, (FEED,), (), {}, outputs, (), None, offsets, 48)

    check_program(placed(0))
    with pytest.raises(AssertionError, match="step 2: temp buffers 11 and 12"):
        check_program(placed(24))


def test_committed_values_live_to_the_end() -> None:
    last = Buffer(12, F32, 6, "temp")
    store = Store(whole(last, SPACE), Load(0, F32))
    late = Group(SPACE, (False, False), (whole(FEED, SPACE),), (store,))
    program = replace(GOOD, steps=(*GOOD.steps, late), origins=())
    check_program(replace(program, offsets={4: 0, 5: 64, 12: 0}))
    with pytest.raises(AssertionError, match="5 and 12 are alive"):
        check_program(replace(program, offsets={4: 0, 5: 64, 12: 64}))
