"""The lines of one Group: each node of its expressions is one NumPy call.

A small group is written over whole arrays; of a large one, the lines are those of one
tile, and tiling.py says how the tiles cover the group.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from gpugrad.backends.numpy.folds import sum_columns, sum_rows
from gpugrad.backends.numpy.storage import Scratch
from gpugrad.dtypes import DType, float32, int8, int16, int32, int64
from gpugrad.kir import meaning
from gpugrad.kir.in_place import taken
from gpugrad.kir.program import Group, Store
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
    in_place: dict[int, int]

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
        folds: dict[Expr, int] = {}
        for node in self.order:
            for child in children(node):
                self.uses[child] += 1
            if type(node) is Reduce:
                folds[node.arg] = folds.get(node.arg, 0) + 1
        for expr in exprs:
            self.uses[expr] += 1
        # What only folds read is computed with every element that they count; what
        # others read besides keeps its own shape.
        self.folded = {node for node, n in folds.items() if n == self.uses[node]}


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
        self._choose_targets()
        for node in self._order:
            self._compute(node)
        for store in self._group.stores:
            if self._targets.get(store.expr) is not store.view:
                target = self._writer.view(store.view)
                self._writer.line(f"{target}[...] = {self._values[store.expr].name}")
            self._used(store.expr)

    # --- targets ----------------------------------------------------------------------

    def _choose_targets(self) -> None:
        """Let each value be computed right where it is to go, if that can be."""
        group = self._group
        over = {store: slot for slot, store in taken(group, self._writer.in_place)}
        for number, store in enumerate(group.stores):
            if not self._is_direct(store):
                continue
            if number not in over or self._is_read(over[number], store.expr):
                self._targets.setdefault(store.expr, store.view)

    def _is_direct(self, store: Store) -> bool:
        """True for a value that can be computed in the memory of its store."""
        return type(store.expr) is Apply or type(store.expr) is Reduce

    def _is_read(self, slot: int, node: Expr) -> bool:
        """True if a load has been read when ``node`` is written over it."""
        for later in reversed(self._order):
            reads = any(type(c) is Load and c.slot == slot for c in children(later))
            if later is node:
                # A ufunc reads an element before it writes it; other lines are several.
                return not reads or self._is_ufunc(node)
            if reads:
                return False
        raise AssertionError("a value is stored that is not computed")

    def _is_ufunc(self, node: Expr) -> bool:
        if type(node) is not Apply or node.op is cast_op:
            return False
        return isinstance(self._function(node), np.ufunc)

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
        if node.op is cast_op:
            out = self._place(node, shape)
            self._cast(node, args, out)
        elif node.op is select:
            out = self._select(node, args, shape)
        else:
            function = self._function(node)
            in_place = isinstance(function, np.ufunc)
            out = self._place(node, shape, reuse=in_place)
            name = self._writer.bind(function, node.op.name)
            operands = self._operands(node, args, out.shape)
            inputs = ", ".join([a.name for a in operands])
            by_name = not in_place or function in _KEYWORD_OUT
            into = f"out={out.name}" if by_name else out.name
            self._writer.line(f"{name}({inputs}, {into})")
        self._values[node] = out
        for child in node.args:
            self._used(child)

    def _operands(self, node: Apply, args: list[Value], shape: Shape) -> list[Value]:
        """What the function of ``node`` is given. NumPy broadcasts by itself."""
        return args

    def _function(self, node: Apply) -> meaning.Function:
        last = node.args[-1]
        nonzero = type(last) is Lit and last.value != 0
        return meaning.function(node.op, node.args[0].dtype, nonzero)

    def _cast(self, node: Apply, args: list[Value], out: Value) -> None:
        source = args[0].name
        if node.args[0].dtype.is_complex and not (
            node.dtype.is_complex or node.dtype.is_bool
        ):
            source += ".real"
        self._writer.line(f"{out.name}[...] = {source}")

    def _select(self, node: Apply, args: list[Value], shape: Shape) -> Value:
        condition, if_true, if_false = args
        out = None
        if node not in self._targets and node.args[2] not in node.args[:2]:
            out = self._taken_over(node, node.args[2], shape)
        if out is None:
            out = self._place(node, shape)
            self._writer.line(f"{out.name}[...] = {if_false.name}")
        self._writer.line(f"copyto({out.name}, {if_true.name}, where={condition.name})")
        return out

    def _reduce(self, node: Reduce) -> None:
        group, writer, kind = self._group, self._writer, node.kind
        axes = tuple(i for i, r in enumerate(group.reduced) if r)
        arg = self._full_argument(node.arg)
        shape = tuple(1 if r else n for n, r in zip(arg.shape, group.reduced))
        out = self._place(node, shape)
        if any(group.extents[axis] == 0 for axis in axes):
            empty = Lit(meaning.identity(kind, node.dtype), node.dtype)
            writer.line(f"{out.name}[...] = {writer.literal(empty)}")
        elif meaning.accumulator(kind, node.dtype) == node.dtype.np_dtype:
            self._fold(node, arg, axes, node.dtype, out)
        else:
            sums = self._new(float32, shape)
            self._fold(node, arg, axes, float32, sums)
            writer.line(f"{out.name}[...] = {sums.name}")
            self._free(sums)
        self._values[node] = out
        self._folded_argument(node, arg)

    def _fold(
        self, node: Reduce, arg: Value, axes: Shape, dtype: DType, out: Value
    ) -> None:
        """The line that folds ``arg`` in one go, carried in ``dtype``."""
        writer, kind = self._writer, node.kind
        fold = writer.bind(meaning.REDUCTION[kind].reduce, f"reduce_{kind}")
        carried = writer.dtype(dtype)
        writer.line(f"{fold}({arg.name}, {axes}, {carried}, {out.name}, True)")

    def _folded_argument(self, node: Reduce, arg: Value) -> None:
        """The argument has been read."""
        if arg is not self._values[node.arg]:
            self._free(arg)
        self._used(node.arg)

    def _full_argument(self, node: Expr) -> Value:
        """The argument of a fold, with every element that the fold counts."""
        value = self._values[node]
        shape = self._along_folds(value.shape)
        if type(node) is Load and value.slot is None:
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
                value = self._taken_over(node, arg, shape)
                if value is not None:
                    return value
        return self._new(node.dtype, shape)

    def _taken_over(self, node: Apply, arg: Expr, shape: Shape) -> Value | None:
        """The scratch of an argument that nothing else reads; None if it is no fit."""
        value = self._values[arg]
        if (
            value.slot is None
            or self._uses[arg] != node.args.count(arg)
            or arg.dtype is not node.dtype
            or value.shape != shape
        ):
            return None
        # Ours now: _used() must not give it back.
        self._values[arg] = Value(value.name, shape)
        return value

    def _new(self, dtype: DType, shape: Shape) -> Value:
        name, slot = self._writer.scratch.take(dtype, shape)
        return Value(name, shape, slot)

    def _used(self, node: Expr) -> None:
        self._uses[node] -= 1
        if self._uses[node] == 0:
            self._free(self._values[node])

    def _free(self, value: Value) -> None:
        if value.slot is not None:
            self._writer.scratch.give_back(value.slot)


# --- one tile of a large group --------------------------------------------------------

# The whole numbers of each width: selecting is arithmetic on the bits.
_BITS: Final = {1: int8, 2: int16, 4: int32, 8: int64}
_SUMMED: Final = ("float32", "float64", "complex64", "complex128")


class TileWriter(Writer, Protocol):
    """What the kernel of a tile needs besides."""

    def partial(self, node: Reduce) -> str | None:
        """The partial fold that a tile's fold goes into; None if there is one tile."""
        ...


class TileKernel(Kernel):
    """Writes what is done with one tile of a group: arrays in cache, long loops.

    Here a line costs more than the call of it, so this takes more lines where they
    are fewer nanoseconds an element.
    """

    _writer: TileWriter

    def write(self) -> None:
        """All lines of the tile."""
        self._choose_targets()
        for node in self._order:
            self._compute(node)
        for store in self._group.stores:
            added = type(store.expr) is Reduce and self._writer.partial(store.expr)
            if not added and self._targets.get(store.expr) is not store.view:
                target = self._writer.view(store.view)
                self._writer.line(f"{target}[...] = {self._values[store.expr].name}")
            self._used(store.expr)

    def _is_direct(self, store: Store) -> bool:
        if type(store.expr) is Reduce:
            return True
        return type(store.expr) is Apply and self._is_dense(store.view)

    @staticmethod
    def _is_dense(view: View) -> bool:
        """True when the innermost loop walks from element to element."""
        return not view.shape or view.strides[-1] == 1 or view.shape[-1] == 1

    def _load(self, node: Load) -> None:
        view = self._group.loads[node.slot].unbroadcast()
        value = Value(self._writer.view(view), view.shape)
        if not self._is_dense(view) and not self._is_copied(node):
            packed = self._new(node.dtype, view.shape)
            self._writer.line(f"{packed.name}[...] = {value.name}")
            value = packed
        self._values[node] = value

    def _is_copied(self, node: Load) -> bool:
        """True for a load that is stored as it is, and nothing else."""
        stored = sum(s.expr is node for s in self._group.stores)
        return self._uses[node] == stored

    def _select(self, node: Apply, args: list[Value], shape: Shape) -> Value:
        """Without branches: a ``where`` costs 4.5 to 7 ns an element it cannot guess.

        if_false + (if_true - if_false) * condition, on the bits as whole numbers, is
        exact, for they wrap around; it takes 0.5 ns.
        """
        bits = _BITS.get(node.dtype.itemsize)
        if bits is None or node.dtype.np_dtype == np.object_:
            return super()._select(node, args, shape)
        out = self._place(node, shape)
        condition, if_true, if_false = args
        writer = self._writer
        mask = self._new(bits, condition.shape)
        target = self._bits(node, out, bits)
        multiply = writer.bind(np.multiply, "mul")
        writer.line(f"{mask.name}[...] = {condition.name}")
        chosen = self._bits(node.args[1], if_true, bits)
        if _is_zero(node.args[2]):
            writer.line(f"{multiply}({chosen}, {mask.name}, {target})")
        else:
            other = self._bits(node.args[2], if_false, bits)
            subtract, add = writer.bind(np.subtract, "sub"), writer.bind(np.add, "add")
            writer.line(f"{subtract}({chosen}, {other}, {target})")
            writer.line(f"{multiply}({target}, {mask.name}, {target})")
            writer.line(f"{add}({target}, {other}, {target})")
        self._free(mask)
        return out

    def _bits(self, node: Expr, value: Value, bits: DType) -> str:
        """The name of the same bytes as whole numbers."""
        if value.slot is not None:
            return self._writer.scratch.alias(value.slot, bits, value.shape)
        return f"{value.name}.view({self._writer.dtype(bits)})"

    def _reduce(self, node: Reduce) -> None:
        into = self._writer.partial(node)
        if into is None:
            super()._reduce(node)
            return
        axes = tuple(i for i, r in enumerate(self._group.reduced) if r)
        arg = self._full_argument(node.arg)
        shape = tuple(1 if r else n for n, r in zip(arg.shape, self._group.reduced))
        wide = meaning.accumulator(node.kind, node.dtype)
        dtype = node.dtype if wide == node.dtype.np_dtype else float32
        part = self._new(dtype, shape)
        self._fold(node, arg, axes, dtype, part)
        function = meaning.REDUCTION[node.kind]
        combine = self._writer.bind(function, f"combine_{node.kind}")
        self._writer.line(f"{combine}({into}, {part.name}, out={into})")
        self._free(part)
        self._values[node] = Value(into, shape)
        self._folded_argument(node, arg)

    def _fold(
        self, node: Reduce, arg: Value, axes: Shape, dtype: DType, out: Value
    ) -> None:
        """Sums of rows and columns that lie together, by BLAS."""
        rank = len(self._group.extents)
        blas = (
            node.kind == "sum"
            and (arg.slot is not None or type(node.arg) is Load)
            and node.dtype.name in _SUMMED
            and arg.shape == self._group.extents
            and 0 < len(axes) < rank
        )
        if blas and axes == tuple(range(len(axes))):
            self._sum(sum_columns, arg, out)
        elif blas and axes == tuple(range(rank - len(axes), rank)):
            self._sum(sum_rows, arg, out)
        else:
            super()._fold(node, arg, axes, dtype, out)

    def _sum(self, function: Any, arg: Value, out: Value) -> None:
        name = self._writer.bind(function, function.__name__)
        self._writer.line(f"{name}({arg.name}, {out.name})")


def _is_zero(node: Expr) -> bool:
    """True for a literal of which every bit is 0."""
    return type(node) is Lit and not any(node.value.tobytes())
