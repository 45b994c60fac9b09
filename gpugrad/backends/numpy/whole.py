"""Groups over whole arrays: so few points that the calls count as much as the elements.

In nanoseconds, on NumPy 2.4: a ufunc over arrays of one shape takes 290, with
broadcasting, for which it sets up an iterator, 760; an assignment that broadcasts takes
165. Sums of 512 rows of 16 take 1.4 us as a product with ones, 12 by add.reduce; their
maxima take 10 by way of argmax, 56 by maximum.reduce.
"""

from __future__ import annotations

from math import prod
from typing import Final, Protocol

import numpy as np

from gpugrad.backends.numpy.kernel import Kernel, Value, Writer
from gpugrad.dtypes import DType, float32, float64, int32, int64
from gpugrad.kir.program import Group
from gpugrad.kir.scalar import Apply, Expr, Load, Reduce
from gpugrad.kir.space import Shape, View, contiguous_strides

# Points up to which it pays to spread an operand by a copy, and to fold in these ways:
# from 9,216 elements on OpenBLAS starts threads.
_SPREAD_POINTS: Final = 4096
_FOLD_POINTS: Final = 8192
# Elements of one sum, and of one that is alone, that one BLAS call adds up, for
# exactness. Of a long vector it keeps 32 sums or more.
_RUN: Final = 512
_LONE_RUN: Final = 2048

_PLACES: Final = {"max": "argmax", "min": "argmin"}
_COMPARED: Final = {float32, float64, int32, int64} if np.intp is np.int64 else set()


class WholeWriter(Writer, Protocol):
    """What the kernel needs besides."""

    def ones(self, count: int, dtype: DType) -> str:
        """The name of a vector of ones."""
        ...

    def starts(self, rows: int, length: int) -> str:
        """The name of the places at which the rows of a matrix begin."""
        ...


class WholeKernel(Kernel):
    """Writes a group over whole arrays."""

    _writer: WholeWriter

    def __init__(self, writer: WholeWriter, group: Group) -> None:
        super().__init__(writer, group)
        self._spread: dict[tuple[Expr, Shape], Value] = {}

    def write(self) -> None:
        """All lines of the group."""
        super().write()
        for value in self._spread.values():
            self._free(value)

    # --- operands of one shape --------------------------------------------------------

    def _operands(self, node: Apply, args: list[Value], shape: Shape) -> list[Value]:
        if not 1 < prod(shape) <= _SPREAD_POINTS:
            return args
        return [self._operand(e, v, shape) for e, v in zip(node.args, args)]

    def _operand(self, arg: Expr, value: Value, shape: Shape) -> Value:
        """``value`` as an array of ``shape`` without gaps, or of rank 0."""
        if prod(value.shape) == 1:
            if value.slot is None:  # of rank 0, unless it is a result
                return value
            return Value(self._alias(value.slot, arg.dtype, ()), value.shape)
        if value.shape == shape and (type(arg) is not Load or self._is_dense(arg)):
            return value
        spread = self._spread.get((arg, shape))
        if spread is None:
            spread = self._spread[arg, shape] = self._new(arg.dtype, shape)
            self._writer.line(f"{spread.name}[...] = {value.name}")
        return spread

    def _is_dense(self, load: Load) -> bool:
        view = self._group.loads[load.slot]
        return view.is_contiguous or sum(n != 1 for n in view.shape) == 1

    def _alias(self, slot: int, dtype: DType, shape: Shape) -> str:
        return self._writer.scratch.alias(slot, dtype, shape)

    # --- folds ------------------------------------------------------------------------

    def _reduce(self, node: Reduce) -> None:
        extents, reduced = self._group.extents, self._group.reduced
        kept = prod([n for n, r in zip(extents, reduced) if not r])
        run = prod([n for n, r in zip(extents, reduced) if r])
        rows = list(reduced) == sorted(reduced)  # the folded axes are the last ones
        target = self._targets.get(node)
        if (
            not 1 < kept * run <= _FOLD_POINTS
            or self._along_folds(self._values[node.arg].shape) != extents
            or (target is not None and not target.is_contiguous)
            or type(node.arg) not in (Apply, Load)
        ):
            super()._reduce(node)
        elif node.kind == "sum" and node.dtype in (float32, float64):
            columns = list(reduced) == sorted(reduced, reverse=True)
            most = _LONE_RUN if kept == 1 else _RUN
            if run <= most and (rows or columns):
                self._sum(node, kept, run, rows)
            else:
                super()._reduce(node)
        elif node.kind in _PLACES and node.dtype in _COMPARED and rows and kept > 1:
            self._extreme(node, kept, run)
        else:
            super()._reduce(node)

    def _sum(self, node: Reduce, kept: int, run: int, rows: bool) -> None:
        """A product with ones."""
        ones = self._writer.ones(run, node.dtype)
        source, copy = self._argument(node.arg)
        shape = (run,) if kept == 1 else (kept, run) if rows else (run, kept)
        matrix = self._named(source, node.dtype, shape)
        out = self._result(node, () if kept == 1 else (kept,))
        first, second = (matrix, ones) if rows else (ones, matrix)
        self._writer.line(f"{first}.dot({second}, {out})")
        self._read(node, copy)

    def _extreme(self, node: Reduce, kept: int, run: int) -> None:
        """The place in each row, where a NaN comes first, and what is there."""
        writer = self._writer
        source, copy = self._argument(node.arg)
        matrix = self._named(source, node.dtype, (kept, run))
        flat = self._named(source, node.dtype, (kept * run,))
        places = self._new(int64, (kept,))
        out = self._result(node, (kept,))
        add, starts = writer.bind(np.add, "add"), writer.starts(kept, run)
        writer.line(f"{matrix}.{_PLACES[node.kind]}(1, {places.name})")
        writer.line(f"{add}({places.name}, {starts}, {places.name})")
        writer.line(f"{flat}.take({places.name}, None, {out}, 'clip')")
        self._free(places)
        self._read(node, copy)

    def _argument(self, arg: Expr) -> tuple[View | int, int | None]:
        """Where the argument of a fold lies together: a view, or a slot of scratch.

        The second is the slot of a copy, if one had to be made.
        """
        value, extents = self._values[arg], self._group.extents
        if value.slot is None:
            if type(arg) is Load:
                view = self._group.loads[arg.slot]
            else:
                view = self._targets[arg]
            if view.is_contiguous and view.shape == extents:
                return view, None
        elif value.shape == extents:
            return value.slot, None
        copy = self._new(arg.dtype, extents)
        self._writer.line(f"{copy.name}[...] = {value.name}")
        assert copy.slot is not None
        return copy.slot, copy.slot

    def _result(self, node: Reduce, flat: Shape) -> str:
        """Where the results go, as a vector or, if there is one, of rank 0."""
        extents = zip(self._group.extents, self._group.reduced)
        shape = tuple([1 if r else n for n, r in extents])
        target = self._targets.get(node)
        if target is not None and target.shape == shape and self._uses[node] == 1:
            # Nothing else reads it: it needs no name of that shape.
            name = self._named(target, node.dtype, flat)
            self._values[node] = Value(name, shape)
            return name
        out = self._values[node] = self._place(node, shape)
        source = self._targets[node] if out.slot is None else out.slot
        return self._named(source, node.dtype, flat)

    def _named(self, source: View | int, dtype: DType, shape: Shape) -> str:
        """The name of an array of ``shape`` over memory that lies together."""
        if isinstance(source, int):
            return self._alias(source, dtype, shape)
        view = View(source.buffer, shape, contiguous_strides(shape), source.offset)
        return self._writer.view(view)

    def _read(self, node: Reduce, copy: int | None) -> None:
        """The argument has been read."""
        if copy is not None:
            self._writer.scratch.give_back(copy)
        self._used(node.arg)
