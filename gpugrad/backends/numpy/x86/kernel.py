"""A Group as one function of machine code.

The axes are loops, the last of them in vectors. What does not vary along it is computed
once before it. Folds over the last axis stay in registers while a row is read; where a
row is read again for what depends on its folds (a softmax), what was costly to compute
comes from the frame. Other folds add up in arrays of doubles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gpugrad.backends.numpy.x86 import functions
from gpugrad.backends.numpy.x86.assembler import RAX, RCX, RDX, WIDEST, Const, Mem
from gpugrad.backends.numpy.x86.block import Block, Value
from gpugrad.backends.numpy.x86.frame import Frame, Surroundings
from gpugrad.backends.numpy.x86.stages import Refused, Stage, Stages
from gpugrad.kir import meaning
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import Apply, Expr, Lit, Load, Reduce
from gpugrad.kir.space import View

# The vector registers of the mask of a row's last vector, and of accumulators.
_MASK: Final = 15
_ACCUMULATORS: Final = (14, 13, 12, 11)
# Singles that are added up before the sum goes into a double.
_RUN: Final = 64


class Kernel(Frame):
    """Writes the function of one group."""

    def __init__(self, group: Group, around: Surroundings) -> None:
        super().__init__(Stages(group, around.partial, around.in_place), around)
        self._group = group
        self._kind, self._size = self._plan.kind, self._plan.size
        self._lanes, self._width = around.width // self._size, around.width
        self._length = group.extents[self._last]
        # By expression: its vector where it is the same along a row.
        self._uniform: dict[Expr, Value] = {}
        self._rows = {node: self._row() for node in self._plan.saved}
        self._mask = Value(pinned=_MASK)

    def _row(self) -> Mem:
        """Room for a row, at the index of the loop."""
        length = -(-self._length // self._lanes) * self._lanes
        return self._room(length * self._size)._replace(by=RCX, scale=self._size)

    # --- loops ------------------------------------------------------------------------

    def _nest(self, axis: int) -> None:
        """The loops from ``axis`` on. They leave the pointers behind what they read."""
        if axis == self._last:
            self._walk()
            return
        asm = self._asm
        counter, again = self._room(8), self._new_label()
        ranged = self._ranged and axis == 0
        if ranged:
            asm.load(RAX, self._bound(0))
        else:
            asm.number(RAX, 0)
        asm.store(counter, RAX)
        asm.label(again)
        self._nest(axis + 1)
        for pointer in {*self._views.values(), *self._folds.values()}:
            inner = axis + 1
            back = pointer.steps[inner] * self._group.extents[inner]
            step = pointer.steps[axis] - (back if inner != self._last else 0)
            self._advance(pointer.place, step)
        asm.add(counter, 1)
        if ranged:
            asm.load(RAX, counter)
            asm.compare_to(RAX, self._bound(1))
        else:
            asm.compare(counter, self._group.extents[axis])
        asm.jump("jl", again)

    def _walk(self) -> None:
        """Everything that is done with one row."""
        self._uniform.clear()
        for stage in self._plan.stages:
            self._compute_uniform(self._plan.inner_uniform(stage))
            if stage.folds or stage.stores:
                self._stage(stage)
            scalars = {s.expr: None for s in stage.scalars}
            self._compute_uniform(list(scalars))
            for store in stage.scalars:
                block = Block(self._kind)
                self._store_one(block, store)
                self._emit(block)

    def _emit(self, block: Block, taken: tuple[int, ...] = ()) -> None:
        block.emit(self._asm, self._vector_room, taken)

    def _store_one(self, block: Block, store: Store) -> None:
        """The first lane of what is the same along the row."""
        value = self._uniform_value(block, store.expr)
        name = "vmovss_store" if self._kind == "ps" else "vmovsd_store"
        if store.view.dtype.is_bool:
            raise Refused("one truth value a row")
        block.store(self._views[store.view].at(None), value, name)

    def _compute_uniform(self, wanted: list[Expr]) -> None:
        """Vectors, in the frame, of what is the same along the row."""
        block = Block(self._kind)
        found: dict[Expr, Value] = {}

        def value(node: Expr) -> Value:
            known = self._uniform.get(node) or found.get(node)
            if known is None:
                known = found[node] = self._value(block, node, value)
            return known

        slots: dict[Expr, Value] = {}
        for node in wanted:
            if node in self._uniform or type(node) is Lit:
                continue
            for inside in self._plan.uniform_order(node, self._uniform):
                value(inside)
            slot = self._vector_room()
            block.store(slot, value(node))
            slots[node] = Value(slot)
        self._emit(block)
        self._uniform |= slots

    def _uniform_value(self, block: Block, node: Expr) -> Value:
        if type(node) is Lit:
            return functions.number(block, node.value)
        return self._uniform[node]

    # --- one walk over a row ----------------------------------------------------------

    def _stage(self, stage: Stage) -> None:
        asm, lanes = self._asm, self._lanes
        inside = [f for f in stage.folds if self._plan.folds_last]
        accumulators = {f: Value(pinned=r) for f, r in zip(inside, _ACCUMULATORS)}
        for fold in inside[len(_ACCUMULATORS) :]:  # the others are in the frame
            accumulators[fold] = Value(self._vector_room())
        sums = {f: (self._vector_room(), self._vector_room())
                for f in inside if f.kind == "sum" and self._in_doubles}  # fmt: skip
        self._begin(accumulators, sums)
        ranged = self._ranged and self._last == 0
        self._start(ranged)
        end = self._new_label()
        if ranged or self._length >= lanes:
            chunk, again = self._new_label(), self._new_label()
            if ranged:
                asm.compare_to(RCX, self._full)
                asm.jump("jge", end)
            asm.label(chunk)
            self._limit(bool(sums), ranged)
            asm.label(again)
            self._body(stage, accumulators, masked=False)
            asm.add(RCX, lanes)
            asm.compare_to(RCX, RDX)
            asm.jump("jl", again)
            self._flush(accumulators, sums)
            if sums:
                self._compare_full(ranged)
                asm.jump("jl", chunk)
        asm.label(end)
        if self._length % lanes:
            done = self._new_label()
            if ranged:
                asm.compare_to(RCX, self._bound(1))
                asm.jump("jge", done)
            asm.vector("vmovups", _MASK, b=self._tail_mask())
            if self._width == WIDEST:
                asm.lanes(self._length % lanes * self._size // 4)
            self._body(stage, accumulators, masked=True)
            self._flush(accumulators, sums)
            asm.label(done)
        for fold in inside:
            self._finish_fold(fold, accumulators[fold], sums.get(fold))

    @property
    def _in_doubles(self) -> bool:
        return self._kind == "ps" and self._length > _RUN

    def _tail_mask(self) -> Const:
        rest = self._length % self._lanes
        ones = b"\xff" * (rest * self._size)
        return Const(ones.ljust(WIDEST, b"\0"), f"first {rest} lanes")

    def _start(self, ranged: bool) -> None:
        """rcx: the first index; for a range, also where whole vectors end."""
        asm = self._asm
        if not ranged:
            asm.number(RCX, 0)
            return
        self._full = self._room(8)
        asm.load(RAX, self._bound(1))
        asm.subtract_from(RAX, self._bound(0))
        asm.raw(
            bytes([0x48, 0x83, 0xE0, 256 - self._lanes]), f"and rax, -{self._lanes}"
        )
        asm.add_to(RAX, self._bound(0))
        asm.store(self._full, RAX)
        asm.load(RCX, self._bound(0))

    def _limit(self, in_runs: bool, ranged: bool) -> None:
        """rdx: where the inner loop ends, which is where whole vectors or a run end."""
        asm = self._asm
        full = self._length - self._length % self._lanes
        if in_runs:
            asm.address(RDX, Mem(RCX, _RUN))
            inside = self._new_label()
            if ranged:
                asm.compare_to(RDX, self._full)
            else:
                asm.compare(RDX, full)
            asm.jump("jle", inside)
        if ranged:
            asm.load(RDX, self._full)
        else:
            asm.number(RDX, full)
        if in_runs:
            asm.label(inside)

    def _compare_full(self, ranged: bool) -> None:
        if ranged:
            self._asm.compare_to(RCX, self._full)
        else:
            self._asm.compare(RCX, self._length - self._length % self._lanes)

    # --- folds along the row ----------------------------------------------------------

    def _begin(
        self, accumulators: dict[Reduce, Value], sums: dict[Reduce, tuple[Mem, Mem]]
    ) -> None:
        """Every accumulator as a fold of nothing."""
        asm = self._asm
        for fold, value in accumulators.items():
            block = Block(self._kind)
            identity = functions.number(block, meaning.identity(fold.kind, fold.dtype))
            reg = 0 if value.reg is None else value.reg
            asm.vector("vmovups", reg, b=identity.home)
            own = [value.home] if isinstance(value.home, Mem) else []
            for slot in (*own, *sums.get(fold, ())):
                asm.vector("vmovups_store", slot, b=reg)

    def _flush(
        self, accumulators: dict[Reduce, Value], sums: dict[Reduce, tuple[Mem, Mem]]
    ) -> None:
        """Add sums of a run to those in doubles, and begin anew."""
        asm = self._asm
        for fold, (low, high) in sums.items():
            value = accumulators[fold]
            reg = 1 if value.reg is None else value.reg
            if value.home is not None:
                asm.vector("vmovups", reg, b=value.home)
            asm.vector("vcvtps2pd", 0, b=reg)
            asm.vector("vaddpd", 0, 0, low)
            asm.vector("vmovups_store", low, b=0)
            self._upper(0, reg)
            asm.vector("vcvtps2pd", 0, b=0)
            asm.vector("vaddpd", 0, 0, high)
            asm.vector("vmovups_store", high, b=0)
            asm.vector("vxorps", reg, reg, reg)
            if isinstance(value.home, Mem):
                asm.vector("vmovups_store", value.home, b=reg)

    def _upper(self, target: int, reg: int) -> None:
        """The upper half of a vector."""
        if self._width == WIDEST:
            self._asm.upper(target, reg)
        else:
            self._asm.vector("vextractf128", target, b=reg, imm=1)

    def _finish_fold(
        self, fold: Reduce, value: Value, sums: tuple[Mem, Mem] | None
    ) -> None:
        """All lanes together, and the result in each of them."""
        block = Block(self._kind)
        if sums is not None:
            low, high = sums
            total = block.op("vaddpd", block.op("vmovups", Value(low)), Value(high))
            total = _across(block, total, "pd", "sum", self._width)
            total = block.op("vcvtsd2ss", total, total)
        else:
            total = _across(block, value, self._kind, fold.kind, self._width)
        wide = "vbroadcastss" if self._kind == "ps" else "vbroadcastsd"
        slot = self._vector_room()
        block.store(slot, block.op(wide, total))
        self._emit(block, _ACCUMULATORS)
        self._uniform[fold] = Value(slot)
        if fold in self._around.partial:
            self._add_partial(fold)

    def _add_partial(self, fold: Reduce) -> None:
        """Add the row's fold to that of other rows."""
        block = Block(self._kind)
        at, total = self._folds[fold].at(None), self._uniform[fold]
        if fold.kind == "sum":
            if self._kind == "ps":
                total = block.op("vcvtps2pd", total)
            added = block.op("vaddsd", block.op("vmovsd", Value(at)), total)
            block.store(at, added, "vmovsd_store")
        else:
            wide = "vbroadcastss" if self._kind == "ps" else "vbroadcastsd"
            combined = _EXTREMES[fold.kind](block, Value(at, wide), total)
            name = "vmovss_store" if self._kind == "ps" else "vmovsd_store"
            block.store(at, combined, name)
        self._emit(block)

    # --- one vector -------------------------------------------------------------------

    def _body(
        self, stage: Stage, accumulators: dict[Reduce, Value], masked: bool
    ) -> None:
        """What is done with one vector of the row, or with what is left at its end."""
        block = Block(self._kind, self._mask if masked else None)
        found: dict[Expr, Value] = {}
        late: list[tuple[Store, Value]] = []

        def value(node: Expr) -> Value:
            known = found.get(node)
            if known is None:
                if node in self._rows and node in stage.known:
                    known = Value(self._rows[node])
                elif self._plan.is_uniform(node):
                    known = self._uniform_value(block, node)
                else:
                    known = self._value(block, node, value)
                    if node in self._rows:
                        block.store(self._rows[node], known, full=True)
                found[node] = known
            return known

        for fold in stage.folds:
            for node in self._plan.inner_order(fold.arg, stage.known):
                value(node)
            self._fold(block, fold, value(fold.arg), accumulators.get(fold))
        for store in stage.stores:
            for node in self._plan.inner_order(store.expr, stage.known):
                value(node)
            if self._plan.late:
                result = value(store.expr)
                if type(store.expr) is Load:  # before a store changes it
                    result = block.op("vmovups", result)
                late.append((store, result))
            else:
                self._store(block, store, value(store.expr))
        for store, result in late:
            self._store(block, store, result)
        taken = [v.reg for v in accumulators.values() if v.reg is not None]
        self._emit(block, (*taken, *([_MASK] if masked else ())))

    def _value(self, block: Block, node: Expr, value: Callable[[Expr], Value]) -> Value:
        """The vector of a node, whose arguments have theirs."""
        if type(node) is Load:
            return self._load(block, self._plan.load(node))
        if type(node) is Lit:
            return functions.number(block, node.value)
        assert type(node) is Apply
        function = functions.function(node, self._kind)
        assert function is not None
        return function(block, *[value(a) for a in node.args])

    def _load(self, block: Block, view: View) -> Value:
        pointer, step = self._views[view], view.strides[self._last]
        size = view.dtype.itemsize
        if view.shape[self._last] == 1 or step == 0 or self._length == 1:
            if view.dtype.is_bool:
                raise Refused("one truth value a row")
            wide = "vbroadcastss" if self._kind == "ps" else "vbroadcastsd"
            return Value(pointer.at(None), wide)
        place = pointer.at(RCX, size)
        if not view.dtype.is_bool:
            return block.load(place)
        if block.mask is not None:
            raise Refused("truth values in rows of odd length")
        kind = "vpmovsxbd" if self._kind == "ps" else "vpmovsxbq"
        bits = "vpsubd" if self._kind == "ps" else "vpsubq"
        return block.op(bits, functions.number(block, 0.0), Value(place, kind))

    def _store(self, block: Block, store: Store, value: Value) -> None:
        place = self._views[store.view].at(RCX, store.view.dtype.itemsize)
        if not store.view.dtype.is_bool:
            block.store(place, value)
            return
        if block.mask is not None:
            raise Refused("truth values in rows of odd length")
        # -1 or 0 in every lane, as 1 or 0 in a byte.
        if self._width == WIDEST:
            block.store(place, block.op("vpabsd", value), f"to_bytes{self._kind}")
            return
        words = block.op("vpackssdw", value, block.op("vextractf128", value, imm=1))
        if self._kind == "pd":
            words = block.op("vpackssdw", words, words)
        data = block.op("vpabsb", block.op("vpacksswb", words, words))
        name = "vmovq_store" if self._kind == "ps" else "vmovd_store"
        block.store(place, data, name)

    def _fold(
        self, block: Block, fold: Reduce, value: Value, into: Value | None
    ) -> None:
        """Add a vector to an accumulator, or to sums in memory along the row."""
        if block.mask is not None:
            if fold.kind == "sum":
                value = block("vand", value, block.mask)
            else:
                nothing = meaning.identity(fold.kind, fold.dtype)
                identity = functions.number(block, nothing)
                value = block("vblendv", identity, value, block.mask)
        if into is not None and isinstance(into.home, Mem):
            if fold.kind == "sum":
                value = block("vadd", value, Value(into.home))
            else:
                value = _EXTREMES[fold.kind](block, Value(into.home), value)
            block.store(into.home, value, full=True)
            return
        if into is not None:
            if fold.kind == "sum":
                block.into(into, "vadd" + self._kind, into, value)
            else:
                combined = _EXTREMES[fold.kind](block, into, value)
                block.into(into, "vmovaps", combined)
            return
        pointer = self._folds[fold]
        if fold.kind != "sum":
            at = pointer.at(RCX, self._size)
            combined = _EXTREMES[fold.kind](block, Value(at), value)
            block.store(at, combined, full=True)
        elif self._kind == "pd":
            at = pointer.at(RCX, 8)
            block.store(at, block.op("vaddpd", value, Value(at)), full=True)
        else:
            high = block.op("upper", value)
            for half, offset in ((value, 0), (high, self._width)):
                at = pointer.at(RCX, 8, offset)
                wide = block.op("vcvtps2pd", half)
                block.store(at, block.op("vaddpd", wide, Value(at)), full=True)


_EXTREMES: Final = {"max": functions.maximum, "min": functions.minimum}


def _across(block: Block, value: Value, kind: str, fold: str, width: int) -> Value:
    """The fold of a vector's lanes, in the first of them."""

    def both(x: Value, y: Value) -> Value:
        if fold == "sum":
            return block.op("vadd" + kind, x, y)
        return _EXTREMES[fold](block, x, y)

    if width == WIDEST:
        value = both(value, block.op("upper", value))
    value = both(value, block.op("vextractf128", value, imm=1))
    if kind == "pd":
        return both(value, block.op("vpermilpd", value, imm=1))
    value = both(value, block.op("vpermilps", value, imm=0x4E))
    return both(value, block.op("vpermilps", value, imm=0xB1))
