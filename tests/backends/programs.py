"""Random Programs, and the reference that a backend's results are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from gpugrad import dtypes
from gpugrad.backends.numpy.backend import NumpyBackend, NumpyExecutable
from gpugrad.dtypes import DType
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder
from gpugrad.kir.interpret import interpret
from gpugrad.kir.program import Barrier, Commit, Group, Program, Step, Store
from gpugrad.kir.scalar import Expr, Index, Lit, Load, Reduce, cast
from gpugrad.kir.space import Buffer, Shape, View, whole
from gpugrad.kir.verify import check_program

EXTENTS = st.sampled_from([0, 1, 1, 2, 3, 5])
SHAPES = st.lists(EXTENTS, max_size=3).map(tuple)
FLOATS = [dtypes.float16, dtypes.float32, dtypes.float64]
INTEGERS = [dtypes.int8, dtypes.int32, dtypes.int64, dtypes.uint8, dtypes.uint32]
COMPLEX = [dtypes.complex64, dtypes.complex128]
if dtypes.bfloat16.np_dtype is not None:
    FLOATS.append(dtypes.bfloat16)
DTYPES = [*FLOATS, *INTEGERS, *COMPLEX, dtypes.bool_]


@dataclass
class Trial:
    """A Program, and what it is run on."""

    program: Program
    inputs: list[np.ndarray]
    variables: list[np.ndarray | None]

    def expected(self) -> tuple[list[np.ndarray], dict[int, np.ndarray]]:
        """The outputs and the committed values, by the reference."""
        program = self.program
        memory = {b.id: a.reshape(-1) for b, a in zip(program.inputs, self.inputs)}
        memory |= {k: a.reshape(-1) for k, a in program.consts.items()}
        for slot, buffer in program.variables:
            memory[buffer.id] = self.variables[slot].reshape(-1)
        # What nothing writes, the backend fills as it likes; here too, with zeros.
        interpret(program.steps, memory)

        def value(view: View) -> np.ndarray:
            return memory[view.buffer.id].reshape(view.shape).copy()

        outputs = [value(v) for v in program.outputs]
        return outputs, {c.slot: value(c.view) for c in program.commits}


def values(rng: np.random.Generator, dtype: DType, size: int) -> np.ndarray:
    """Small whole numbers: sums of them are exact in every order."""
    numbers = rng.integers(0 if dtype.is_unsigned else -3, 4, size)
    if dtype.is_complex:
        numbers = numbers + 1j * rng.integers(-3, 4, size)
    return numbers.astype(dtype.np_dtype)


def finish(
    builder: Builder,
    inputs: Sequence[View],
    results: Sequence[View],
    commits: Sequence[tuple[int, View]] = (),
) -> NumpyExecutable:
    """The program that returns copies of ``results``, checked and loaded."""
    outputs = []
    for view in results:
        out = builder.new(view.dtype, view.shape, "output")
        outputs.append(builder.copy(view, out))
    program = Program(
        steps=tuple(builder.steps),
        inputs=tuple(v.buffer for v in inputs),
        variables=tuple(builder.variables.items()),
        consts=builder.consts,
        outputs=tuple(outputs),
        commits=tuple(Commit(slot, view) for slot, view in commits),
        step=builder.step,
        origins=tuple(builder.origins),
    )
    check_program(program)
    return NumpyBackend().load(program)


def feed(builder: Builder, array: np.ndarray) -> View:
    """A feed of the array's type and shape."""
    return builder.new(dtypes.of_numpy(array.dtype), array.shape, "input")


class Draft:
    """Collects buffers and steps while a Program is drawn."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        self.count = 0
        self.readable: list[Buffer] = []
        self.steps: list[Step] = []
        self.inputs: list[tuple[Buffer, np.ndarray]] = []
        self.variables: list[tuple[Buffer, np.ndarray]] = []
        self.consts: dict[int, np.ndarray] = {}

    def buffer(self, dtype: DType, size: int, kind: str) -> Buffer:
        self.count += 1
        return Buffer(self.count, dtype, size, kind)

    def source(self, dtype: DType, size: int) -> Buffer:
        """Something to read: what an earlier step wrote, or new from outside."""
        fitting = [b for b in self.readable if b.dtype is dtype and b.size >= size]
        if fitting and self.draw(st.booleans()):
            return self.draw(st.sampled_from(fitting))
        kind = self.draw(st.sampled_from(["input", "const", "variable"]))
        buffer = self.buffer(dtype, size, kind)
        array = values(self.rng, dtype, size)
        if kind == "const":
            self.consts[buffer.id] = array
        else:
            # The shape of a feed is its own affair; only its size is agreed on.
            array = array.reshape((1, size)) if self.draw(st.booleans()) else array
            held = self.inputs if kind == "input" else self.variables
            held.append((buffer, array))
        self.readable.append(buffer)
        return buffer

    def view(self, dtype: DType, shape: Shape) -> View:
        """Any strided view of ``shape``: repeated, reversed, with gaps, from inside."""
        strides, span = [], 1
        for extent in shape:
            step = self.draw(st.sampled_from([0, 1, 1, 2, -1])) * span
            strides.append(step)
            span += abs(step) * max(extent - 1, 0)
        strides = [strides[i] for i in range(len(shape))]
        skipped = self.draw(st.integers(0, 2))
        back = sum(-s * (n - 1) for n, s in zip(shape, strides) if s < 0 and n)
        if self.draw(st.booleans()):
            size = int(np.prod(shape))
            return whole(self.source(dtype, size), shape)
        buffer = self.source(dtype, span + skipped)
        if 0 in shape:
            return View(buffer, shape, tuple(strides), 0)
        return View(buffer, shape, tuple(strides), back + skipped)

    def target(self, dtype: DType, shape: Shape, kept: Shape, kind: str) -> View:
        """Where to store ``kept`` of ``shape``: whole, or flipped and with gaps."""
        if kind == "temp" and kept == shape and self.draw(st.booleans()):
            size = int(np.prod(shape))
            base = whole(self.buffer(dtype, 2 * size, "temp"), shape)
            strides = tuple(-2 * s for s in base.strides)
            offset = 0 if size == 0 else 2 * size - 1
            return View(base.buffer, shape, strides, offset)
        view = whole(self.buffer(dtype, int(np.prod(kept)), kind), kept)
        strides = tuple(
            0 if k == 1 and n != 1 else s for n, k, s in zip(shape, kept, view.strides)
        )
        return View(view.buffer, kept, strides, 0)


def _leaf(draft: Draft, dtype: DType, extents: Shape, loads: list[View]) -> Expr:
    kind = draft.draw(st.sampled_from(["load", "load", "load", "lit", "index"]))
    if kind == "lit":
        return Lit(values(draft.rng, dtype, 1)[0], dtype)
    if kind == "index" and extents and not dtype.is_bool:
        return cast(Index(draft.draw(st.integers(0, len(extents) - 1))), dtype)
    same = [i for i, v in enumerate(loads) if v.dtype is dtype]
    if same and draft.draw(st.booleans()):
        return Load(draft.draw(st.sampled_from(same)), dtype)
    loads.append(draft.view(dtype, extents))
    return Load(len(loads) - 1, dtype)


def _operators(dtype: DType) -> list[scalar.ScalarOp]:
    """Functions that give the same bits however the arrays lie in memory."""
    if dtype.is_bool:
        return [scalar.logical_and, scalar.logical_or, scalar.logical_xor]
    exact = [scalar.add, scalar.sub, scalar.mul]
    if dtype.is_complex:
        return exact
    exact += [scalar.maximum, scalar.minimum]
    if dtype.is_integer:
        exact += [scalar.bit_and, scalar.bit_xor, scalar.shift_left]
    return exact


def expression(
    draft: Draft, dtype: DType, extents: Shape, loads: list[View], depth: int
) -> Expr:
    """Any expression of ``dtype`` that has no fold in it."""

    def again(of: DType = dtype) -> Expr:
        return expression(draft, of, extents, loads, depth - 1)

    if depth == 0:
        return _leaf(draft, dtype, extents, loads)
    form = draft.draw(st.sampled_from(["leaf", "binary", "binary", "select", "cast"]))
    if form == "binary":
        op = draft.draw(st.sampled_from(_operators(dtype)))
        return op(again(), again())
    if form == "select":
        return scalar.select(again(dtypes.bool_), again(), again())
    if form == "cast":
        if dtype.is_bool:
            other = draft.draw(st.sampled_from([*FLOATS, *INTEGERS]))
            return scalar.less(again(other), again(other))
        # Float to unsigned is undefined below zero, so floats come from integers.
        others = [dtypes.bool_, dtypes.int8, dtypes.uint8, dtype]
        return cast(again(draft.draw(st.sampled_from(others))), dtype)
    return _leaf(draft, dtype, extents, loads)


def _fold(draft: Draft, dtype: DType, arg: Expr) -> Expr:
    if dtype.is_bool:
        kinds = ["all", "any"]
    elif dtype.is_complex:
        kinds = ["sum"]
    elif dtype.is_integer:
        kinds = ["sum", "prod", "max", "min"]
    else:
        kinds = ["sum", "max", "min"]
    return Reduce(draft.draw(st.sampled_from(kinds)), arg)


def group(draft: Draft, kind: str) -> Group:
    """One kernel with one or two stores into ``kind`` buffers."""
    extents = draft.draw(SHAPES)
    reduced = tuple(draft.draw(st.booleans()) for _ in extents)
    loads: list[View] = []
    folded: list[Expr] = []
    stores: list[Store] = []
    for _ in range(draft.draw(st.integers(1, 3))):
        dtype = draft.draw(st.sampled_from(DTYPES))
        expr = expression(draft, dtype, extents, loads, draft.draw(st.integers(0, 3)))
        kept = extents
        if any(reduced) and draft.draw(st.booleans()):
            expr = _fold(draft, dtype, expr)
            if folded and draft.draw(st.booleans()):
                # What another store uses too, perhaps in another shape.
                expr = draft.draw(st.sampled_from(folded))
                dtype = expr.dtype
            if draft.draw(st.booleans()):
                op = draft.draw(st.sampled_from(_operators(dtype)))
                expr = op(expr, expr)
            folded.append(expr)
            form = draft.draw(st.sampled_from(["kept", "full", "back"]))
            if form == "back":
                more = expression(draft, dtype, extents, loads, 1)
                expr = draft.draw(st.sampled_from(_operators(dtype)))(more, expr)
            elif form == "kept":
                kept = tuple(1 if r else n for n, r in zip(extents, reduced))
        stores.append(Store(draft.target(dtype, extents, kept, kind), expr))
    return Group(extents, reduced, tuple(loads), tuple(stores))


def planned(program: Program) -> Program:
    """With an arena: every temp behind the last, as a memory pass that shares none."""
    offsets: dict[int, int] = {}
    end = 0
    for step in program.steps:
        for view in step.writes:
            buffer = view.buffer
            if buffer.kind == "temp" and buffer.id not in offsets:
                offsets[buffer.id] = end
                end += -(-buffer.size * buffer.dtype.size // 64) * 64
    return replace(program, offsets=offsets, arena_bytes=end)


@st.composite
def trials(draw: Callable[..., Any]) -> Trial:
    """A few kernels that read each other's results, with outputs and commits."""
    draft = Draft(draw)
    commits: list[Commit] = []
    for _ in range(draw(st.integers(0, 3))):
        step = group(draft, "temp")
        draft.steps.append(step)
        for store in step.stores:
            if store.view.is_whole and store.view.size == store.view.buffer.size:
                draft.readable.append(store.view.buffer)
                if draw(st.booleans()):
                    commits.append(Commit(len(commits), store.view))
        if len(step.stores) > 1:
            draft.steps.append(Barrier(tuple(s.view for s in step.stores)))
    last = group(draft, "output")
    draft.steps.append(last)
    outputs = tuple(s.view for s in last.stores)
    updates = [_update(draft) for _ in range(draw(st.integers(0, 2)))]
    return _trial(draft, outputs, commits, [u for group_ in updates for u in group_])


def _update(draft: Draft) -> list[tuple[Buffer, View]]:
    """A kernel that makes new values of variables, mostly out of the old ones."""
    draw = draft.draw
    extents = draw(SHAPES)
    size = int(np.prod(extents))
    loads: list[View] = []
    pairs = []
    stores = []
    dtype = draw(st.sampled_from(DTYPES))
    for _ in range(draw(st.integers(1, 3))):
        variable = draft.buffer(dtype, size, "variable")
        draft.variables.append((variable, values(draft.rng, dtype, size)))
        loads.append(whole(variable, extents))
        pairs.append((variable, whole(draft.buffer(dtype, size, "temp"), extents)))
    if draw(st.booleans()):
        draft.readable.extend(variable for variable, _ in pairs)
    for _, target in pairs:
        expr = expression(draft, dtype, extents, loads, draw(st.integers(1, 3)))
        stores.append(Store(target, expr))
    reduced = (False,) * len(extents)
    draft.steps.append(Group(extents, reduced, tuple(loads), tuple(stores)))
    return pairs


def _trial(
    draft: Draft,
    outputs: Sequence[View],
    commits: list[Commit],
    updates: Sequence[tuple[Buffer, View]],
) -> Trial:
    first_slot = len(commits)
    slots = {b.id: first_slot + i for i, (b, _) in enumerate(draft.variables)}
    commits = commits + [Commit(slots[b.id], view) for b, view in updates]
    program = Program(
        tuple(draft.steps),
        tuple(b for b, _ in draft.inputs),
        tuple((first_slot + i, b) for i, (b, _) in enumerate(draft.variables)),
        draft.consts,
        tuple(
            View(v.buffer, v.shape, whole(v.buffer, v.shape).strides, 0)
            for v in outputs
        ),
        tuple(commits),
        origins=tuple(f"node {i}" for i in range(len(draft.steps))),
    )
    if draft.draw(st.booleans()):
        program = planned(program)
    variables: list[np.ndarray | None] = [None] * first_slot
    variables += [a for _, a in draft.variables]
    return Trial(program, [a for _, a in draft.inputs], variables)
