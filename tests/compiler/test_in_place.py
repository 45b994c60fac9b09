"""Results written over what their kernel read last: when, and that nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.cupy.codegen import lower
from gpugrad.backends.numpy.backend import NumpyExecutable
from gpugrad.backends.numpy.streams import Workers
from gpugrad.compiler.memory import plan_memory
from gpugrad.config import Config
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.in_place import may_take, owners
from gpugrad.kir.program import Commit, Group, Program, Store
from gpugrad.kir.scalar import Expr, Load, Reduce, cast
from gpugrad.kir.space import Buffer, View, whole
from gpugrad.kir.verify import check_program
from gpugrad.runtime.memory_plan import text
from tests.backends.programs import Trial
from tests.compiler.test_passes import close

F32, I32 = dtypes.float32, dtypes.int32
OLD, NEW, MORE = (Buffer(i, F32, 12, "temp") for i in range(3))
SPACE = (3, 4)
TANH = scalar.tanh(Load(0, F32))


READ, WRITTEN = whole(OLD, SPACE), Store(whole(NEW, SPACE), TANH)


def group(
    loads: Any = (READ,),
    stores: Any = (WRITTEN,),
    reduced: tuple[bool, ...] = (False, False),
    extents: tuple[int, ...] = SPACE,
) -> Group:
    """A kernel that turns OLD into NEW, but for what is given."""
    return Group(extents, reduced, tuple(loads), tuple(stores))


# --- the rule -------------------------------------------------------------------------


def test_a_kernel_of_points_may_write_over_what_it_reads() -> None:
    assert may_take(group(), 0, 1)
    turned = View(OLD, SPACE, (1, 3), 0), View(NEW, SPACE, (1, 3), 0)
    assert may_take(group(turned[:1], [Store(turned[1], TANH)]), 0, 1)
    both = Load(0, F32) + Load(1, F32)
    two = [whole(OLD, SPACE), View(MORE, SPACE, (0, 1), 0)]
    assert may_take(group(two, [Store(whole(NEW, SPACE), both)]), 0, 1)
    assert not may_take(group(two, [Store(whole(NEW, SPACE), both)]), 2, 1)


SUM = scalar.sub(Load(0, F32), Reduce("sum", Load(0, F32)))
NOT: list[Group] = [
    # in another order, in part, or more than once
    group([View(OLD, SPACE, (1, 3), 0)]),
    group([View(OLD, SPACE, (-4, 1), 8)]),
    group([View(OLD, SPACE, (0, 1), 0)]),
    group([View(OLD, SPACE, (0, 1), 0)], [Store(View(NEW, SPACE, (0, 1), 0), TANH)]),
    group([View(OLD, (3,), (1,), 0)], [Store(View(NEW, (3,), (1,), 0), TANH)],
          (False,), (3,)),
    group([whole(OLD, SPACE), View(OLD, SPACE, (0, 1), 0)],
          [Store(whole(NEW, SPACE), Load(0, F32) + Load(1, F32))]),
    group(stores=[Store(whole(NEW, SPACE), TANH), Store(whole(NEW, SPACE), TANH)]),
    # of another size or type
    group([View(OLD._replace(size=13), SPACE, (4, 1), 0)]),
    group(stores=[Store(whole(NEW._replace(dtype=I32), SPACE), cast(TANH, I32))]),
    # folds read what other points write; what is stored as it is may be stored late
    group(stores=[Store(whole(NEW, SPACE), SUM)], reduced=(False, True)),
    group(stores=[Store(whole(NEW, SPACE), Load(0, F32))]),
    group(stores=[Store(whole(NEW, SPACE), TANH),
                  Store(whole(MORE, SPACE), Load(0, F32))]),
    # what does not belong to the program
    group([whole(OLD._replace(kind="input"), SPACE)]),
    group([whole(OLD._replace(kind="variable"), SPACE)]),
    group(stores=[Store(whole(NEW._replace(kind="output"), SPACE), TANH)]),
]  # fmt: skip


@pytest.mark.parametrize("step", NOT)
def test_other_kernels_may_not(step: Group) -> None:
    assert not may_take(step, 0, 1)


def test_chains_have_one_owner() -> None:
    assert owners({3: 2, 2: 1, 9: 8}) == {3: 1, 2: 1, 9: 8}


# --- the pass and the proof -----------------------------------------------------------


def chain(**rest: Any) -> Program:
    b = Builder()
    x = b.new(F32, (64,), "input")
    y = b.map(scalar.tanh, x)
    z = b.map(scalar.exp, y)
    return close(b, [x], [b.map(scalar.neg, z)], **rest)


def test_one_buffer_for_a_chain() -> None:
    program = plan_memory(chain())
    assert program.arena_bytes == 512
    assert program.in_place == {2: 1, 3: 2}
    assert "temp2 at 0: 256 bytes, step 1 to step 2, in place of temp1" in text(program)
    check_program(program)


def test_values_that_are_kept_stay() -> None:
    """Here variables take both; neither may be written over."""
    first, second = (whole(Buffer(i, F32, 64, "temp"), (64,)) for i in (1, 2))
    program = plan_memory(chain(commits=(Commit(0, first), Commit(1, second))))
    assert not program.in_place
    check_program(program)


def test_a_value_that_is_read_later_stays() -> None:
    b = Builder()
    x = b.new(F32, (64,), "input")
    y = b.map(scalar.tanh, x)
    z = b.map(scalar.exp, y)
    program = plan_memory(close(b, [x], [b.map(scalar.add, y, z)]))
    assert list(program.in_place.values()) == [y.buffer.id]
    assert z.buffer.id not in program.in_place


def test_a_result_that_was_written_before_stays() -> None:
    b = Builder()
    x = b.new(F32, (64,), "input")
    z = b.map(scalar.exp, x)
    used = b.map(scalar.neg, z)
    y = b.map(scalar.tanh, x)
    b.store(z, scalar.tanh, y)
    program = plan_memory(close(b, [x], [z, used]))
    assert z.buffer.id not in program.in_place
    check_program(program)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: replace(p, in_place={}),
        lambda p: replace(p, in_place={2: 1}),
        lambda p: replace(p, in_place={2: 1, 3: 1}),
        lambda p: replace(p, offsets={**p.offsets, 2: 64}, arena_bytes=1024),
        # a second reader, a commit, a view in another order
        lambda p: replace(
            p,
            steps=(*p.steps[:2], p.steps[0]._replace(
                loads=p.steps[1].loads,
                stores=(Store(whole(Buffer(9, F32, 64, "output"), (64,)), TANH),),
            ), *p.steps[2:]),
            origins=(),
        ),
        lambda p: replace(p, commits=(Commit(0, p.steps[0].stores[0].view),)),
        lambda p: replace(
            p,
            steps=(p.steps[0], p.steps[1]._replace(
                loads=(View(p.steps[1].loads[0].buffer, (64,), (-1,), 63),)
            ), *p.steps[2:]),
        ),
    ],
)  # fmt: skip
def test_the_proof_finds_what_is_wrong(spoil: Callable[[Any], Any]) -> None:
    with pytest.raises(AssertionError, match="alive and share bytes"):
        check_program(spoil(plan_memory(chain())))


def test_several_streams_take_nothing_in_place() -> None:
    program = chain()
    steps = (*program.steps[:1], program.steps[1]._replace(stream=1))
    program = replace(program, steps=(*steps, *program.steps[2:]))
    assert not plan_memory(program).in_place


# --- what runs it ---------------------------------------------------------------------


def test_kernels_promise_nothing_of_such_arrays() -> None:
    b = Builder()
    x = b.new(F32, (64,), "input")
    y = b.map(scalar.tanh, x)
    z = b.map(scalar.mul, y, x)
    program = plan_memory(close(b, [x], [b.map(scalar.neg, z)]))
    step = program.steps[1]
    assert isinstance(step, Group)
    (kernel,) = lower(step, program.in_place).kernels
    parameters = kernel.text[kernel.text.index("(") : kernel.text.index("{")]
    assert parameters.count("__restrict__") == 1
    (kernel,) = lower(step).kernels
    parameters = kernel.text[kernel.text.index("(") : kernel.text.index("{")]
    assert parameters.count("__restrict__") == 3


_UNARY = (scalar.neg, scalar.abs_, scalar.sign, scalar.floor)
_BINARY = (scalar.add, scalar.sub, scalar.mul, scalar.maximum)


def _expression(rng: np.random.Generator, parts: list[Expr]) -> Expr:
    """One more function of what there is."""
    pick = [parts[i] for i in rng.integers(0, len(parts), 3)]
    form = rng.integers(0, 4)
    if form == 0:
        return _UNARY[rng.integers(0, len(_UNARY))](pick[0])
    if form == 1:
        return scalar.select(scalar.less(pick[0], pick[1]), pick[1], pick[2])
    if form == 2:
        return cast(cast(pick[0], I32), F32)
    return _BINARY[rng.integers(0, len(_BINARY))](pick[0], pick[1])


def trial(seed: int, size: int) -> Trial:
    """Kernels that read and write several arrays, some over others."""
    rng = np.random.default_rng(seed)
    b = Builder()
    shape = (size // 4, 4)
    x = b.new(F32, shape, "input")
    values = [b.map(scalar.neg, x), b.map(scalar.abs_, x)]
    for _ in range(4):
        loads = [values[i] for i in rng.integers(0, len(values), 3)]
        loads = list(dict.fromkeys(loads))
        turned = rng.random() < 0.2
        if turned:
            loads = [v.transpose((1, 0)) for v in loads]
        parts: list[Expr] = [Load(i, F32) for i in range(len(loads))]
        for _ in range(int(rng.integers(1, 6))):
            parts.append(_expression(rng, parts))
        stores = []
        for _ in range(int(rng.integers(1, 4))):
            view = b.new(F32, shape)
            expr = parts[rng.integers(0, len(parts))]
            stores.append(Store(view.transpose((1, 0)) if turned else view, expr))
            values.append(view)
        extents = loads[0].shape
        b.append(Group(extents, (False, False), tuple(loads), tuple(stores)))
        values = values[-3:]
    program = plan_memory(close(b, [x], values[-1:]))
    check_program(program)
    return Trial(program, [rng.integers(-4, 5, shape).astype(np.float32)], [])


@pytest.mark.parametrize("size", [12, 4096])
@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_lost(seed: int, size: int) -> None:
    """Whole or tile by tile, in one thread or two, by NumPy or machine code."""
    case = trial(seed, size)
    ((wanted,), _) = case.expected()
    tiles = Config(tile_bytes=1 << 12, share_ns=1, num_threads=2)
    for settings, machine_code in product((Config(), tiles), (0, 32, None)):
        settings = replace(settings, machine_code=machine_code)
        executable = NumpyExecutable(case.program, Workers(), settings)
        (found,) = executable.run(case.inputs, [], 0)
        np.testing.assert_array_equal(found, wanted)


def test_there_is_something_to_lose() -> None:
    taken = [len(trial(seed, 12).program.in_place) for seed in range(60)]
    assert sum(taken) > 100
