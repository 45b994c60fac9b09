"""The lines of one Group: each node of its expressions is one NumPy call.

This is where fused groups are to be walked in cache-sized tiles.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from gpugrad.backends.numpy.storage import Scratch
from gpugrad.dtypes import DType, float32
from gpugrad.kir import meaning
from gpugrad.kir.program import Group
from gpugrad.kir.scalar import (
    Apply,
    Expr,
    Index,
    Lit,
    Load,
    Reduce,
    cast_op,
    children,
    postorder,
    select,
)
from gpugrad.kir.space import Shape, View


class Writer(Protocol):
    """What a kernel needs of the code generator."""

    scratch: Scratch
    plans: dict[tuple[Expr, ...], Plan]

    def line(self, text: str) -> None: ...

    def bind(self, value: Any, name: str) -> str: ...

    def dtype(self, dtype: DType) -> str: ...

    def literal(self, literal: Lit) -> str: ...

    def indices(self, axis: int, extents: Shape) -> str: ...

    def view(self, view: View) -> str: ...


class Value(NamedTuple):
    """Where a node's values are: a name, their shape, and the scratch slot if any.

    The shape has the rank of the space, and extent 1 where nothing varies.
    """

    name: str
    shape: Shape
    slot: int | None = None


class Plan:
    """What only the expressions decide; many groups share them, and so this."""

    __slots__ = ("folded", "order", "uses")

    def __init__(self, exprs: tuple[Expr, ...]) -> None:
        self.order = tuple(postorder(*exprs))
        # How often each node is read: by its parents and by stores.
        self.uses = dict.fromkeys(self.order, 0)
        self.folded: set[Expr] = set()
        for node in self.order:
            for child in children(node):
                self.uses[child] += 1
            if type(node) is Reduce:
                self.folded.add(node.arg)
        for expr in exprs:
            self.uses[expr] += 1


# NumPy deprecated their positional out.
_KEYWORD_OUT = (np.maximum, np.minimum)


class Kernel:
    """Writes one Group."""

    def __init__(self, writer: Writer, group: Group) -> None:
        self._writer = writer
        self._group = group
        exprs = tuple([store.expr for store in group.stores])
        plan = writer.plans.get(exprs)
        if plan is None:
            plan = writer.plans[exprs] = Plan(exprs)
        self._order = plan.order
        self._folded = plan.folded
        self._uses = plan.uses.copy()
        self._values: dict[Expr, Value] = {}
        self._targets: dict[Expr, View] = {}

    def write(self) -> None:
        """All lines of the group."""
        for store in self._group.stores:
            # Let each value be computed right where it is to go.
            if type(store.expr) is Apply or type(store.expr) is Reduce:
                self._targets.setdefault(store.expr, store.view)
        for node in self._order:
            self._compute(node)
        for store in self._group.stores:
            if self._targets.get(store.expr) is not store.view:
                target = self._writer.view(store.view)
                self._writer.line(f"{target}[...] = {self._values[store.expr].name}")
            self._used(store.expr)

    # --- nodes ------------------------------------------------------------------------

    def _compute(self, node: Expr) -> None:
        if type(node) is Apply:
            self._apply(node)
        elif type(node) is Load:
            self._load(node)
        elif type(node) is Reduce:
            self._reduce(node)
        elif type(node) is Lit:
            rank = len(self._group.extents)
            self._values[node] = Value(self._writer.literal(node), (1,) * rank)
        else:
            assert type(node) is Index
            extents = self._group.extents
            shape = tuple(n if i == node.axis else 1 for i, n in enumerate(extents))
            name = self._writer.indices(node.axis, extents)
            self._values[node] = Value(name, shape)

    def _load(self, node: Load) -> None:
        """NumPy broadcasts by itself: load each element once, without leading 1s."""
        view = self._group.loads[node.slot].unbroadcast()
        shape = view.shape
        if shape and shape[0] == 1:
            lead = next((i for i, n in enumerate(shape) if n != 1), len(shape))
            view = View(view.buffer, shape[lead:], view.strides[lead:], view.offset)
        self._values[node] = Value(self._writer.view(view), shape)

    def _apply(self, node: Apply) -> None:
        args = [self._values[a] for a in node.args]
        shape = args[0].shape
        for arg in args[1:]:
            if arg.shape != shape:
                shape = tuple([n if m == 1 else m for m, n in zip(shape, arg.shape)])
        if node in self._folded:
            shape = self._along_folds(shape)
        if node.op is cast_op or node.op is select:
            out = self._place(node, shape)
            write = self._cast if node.op is cast_op else self._select
            write(node, args, out.name)
        else:
            function = self._function(node)
            in_place = isinstance(function, np.ufunc)
            out = self._place(node, shape, reuse=in_place)
            name = self._writer.bind(function, node.op.name)
            inputs = ", ".join([a.name for a in args])
            by_name = not in_place or function in _KEYWORD_OUT
            into = f"out={out.name}" if by_name else out.name
            self._writer.line(f"{name}({inputs}, {into})")
        self._values[node] = out
        for child in node.args:
            self._used(child)

    def _function(self, node: Apply) -> meaning.Function:
        last = node.args[-1]
        nonzero = type(last) is Lit and last.value != 0
        return meaning.function(node.op, node.args[0].dtype, nonzero)

    def _cast(self, node: Apply, args: list[Value], out: str) -> None:
        source = args[0].name
        if node.args[0].dtype.is_complex and not (
            node.dtype.is_complex or node.dtype.is_bool
        ):
            source += ".real"
        self._writer.line(f"{out}[...] = {source}")

    def _select(self, node: Apply, args: list[Value], out: str) -> None:
        condition, if_true, if_false = args
        self._writer.line(f"{out}[...] = {if_false.name}")
        self._writer.line(f"copyto({out}, {if_true.name}, where={condition.name})")

    def _reduce(self, node: Reduce) -> None:
        group, writer, kind = self._group, self._writer, node.kind
        axes = tuple(i for i, r in enumerate(group.reduced) if r)
        arg = self._full_argument(node.arg)
        shape = tuple(1 if r else n for n, r in zip(arg.shape, group.reduced))
        out = self._place(node, shape)
        wide = meaning.accumulator(kind, node.dtype)
        if any(group.extents[axis] == 0 for axis in axes):
            empty = Lit(meaning.identity(kind, node.dtype), node.dtype)
            writer.line(f"{out.name}[...] = {writer.literal(empty)}")
        else:
            fold = writer.bind(meaning.REDUCTION[kind].reduce, f"reduce_{kind}")
            if wide == node.dtype.np_dtype:
                dtype = writer.dtype(node.dtype)
                writer.line(f"{fold}({arg.name}, {axes}, {dtype}, {out.name}, True)")
            else:
                sums, slot = writer.scratch.take(float32, shape)
                dtype = writer.dtype(float32)
                writer.line(f"{fold}({arg.name}, {axes}, {dtype}, {sums}, True)")
                writer.line(f"{out.name}[...] = {sums}")
                writer.scratch.give_back(slot)
        self._values[node] = out
        if arg.slot is not None and arg is not self._values[node.arg]:
            writer.scratch.give_back(arg.slot)
        self._used(node.arg)

    def _full_argument(self, node: Expr) -> Value:
        """The argument of a fold, with every element that the fold counts."""
        value = self._values[node]
        shape = self._along_folds(value.shape)
        if type(node) is Load:
            # Of the rank of the space, for the numbers of the axes to be right.
            whole = self._group.loads[node.slot]
            view = View(whole.buffer, shape, whole.strides, whole.offset)
            return Value(self._writer.view(view), shape)
        if shape == value.shape and type(node) is not Lit:
            return value
        name, slot = self._writer.scratch.take(node.dtype, shape)
        self._writer.line(f"{name}[...] = {value.name}")
        return Value(name, shape, slot)

    # --- places -----------------------------------------------------------------------

    def _along_folds(self, shape: Shape) -> Shape:
        """``shape`` with the full extent along the folded axes."""
        group = self._group
        return tuple(
            n if r else m for m, n, r in zip(shape, group.extents, group.reduced)
        )

    def _place(self, node: Apply | Reduce, shape: Shape, reuse: bool = False) -> Value:
        """Where to compute ``node``: its target, a dying argument, or scratch."""
        target = self._targets.get(node)
        if target is not None:
            # A call may broadcast into a larger target, but a fold does not, and
            # other readers of the value need it in its own shape.
            alone = type(node) is Apply and self._uses[node] == 1
            if alone or target.shape == shape:
                return Value(self._writer.view(target), target.shape)
            del self._targets[node]
        if reuse and type(node) is Apply:
            for arg in node.args:
                value = self._values[arg]
                if (
                    value.slot is not None
                    and self._uses[arg] == node.args.count(arg)
                    and arg.dtype is node.dtype
                    and value.shape == shape
                ):
                    # Ours now: _used() must not give it back.
                    self._values[arg] = Value(value.name, shape)
                    return value
        return Value(*_named(self._writer.scratch.take(node.dtype, shape), shape))

    def _used(self, node: Expr) -> None:
        self._uses[node] -= 1
        if self._uses[node] == 0:
            slot = self._values[node].slot
            if slot is not None:
                self._writer.scratch.give_back(slot)


def _named(taken: tuple[str, int], shape: Shape) -> tuple[str, Shape, int]:
    return taken[0], shape, taken[1]
