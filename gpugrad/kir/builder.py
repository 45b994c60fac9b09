"""What an op's ``lower`` writes with: views in, steps appended, views out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.kir.program import HOME, Barrier, Call, Group, InPlace, Step, Store
from gpugrad.kir.scalar import Expr, Index, Lit, Load, Reduce, cast
from gpugrad.kir.space import Buffer, Shape, View, contiguous_strides
from gpugrad.shapes import Partial


class Handle(NamedTuple):
    """A variable as lowering sees it: its slot in the store, and what it holds.

    ``shape`` is that of its value now; None when it has not been initialised.
    """

    slot: int
    name: str
    dtype: DType
    shape: Shape | None


class NeedsValue(Exception):
    """A lowering asked for the value of a view that only the run can give.

    The planner ends the stage there, runs it, and goes on with the value.
    """

    def __init__(self, view: View) -> None:
        super().__init__("value needed to compile")
        self.view = view


class Uninitialized(Exception):
    """A lowering read a variable that has no value."""

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle.name)
        self.handle = handle


class Site(NamedTuple):
    """One op at lowering: attributes, input views, and the dtypes of its outputs.

    ``control`` holds what the op's control inputs produced. ``inputs`` of dtype
    resource are Handles. ``wanted``, for ops on the host: which outputs are read.
    ``shapes``: what the graph knows of the outputs' shapes, for ops that lower.
    """

    attrs: dict[str, Any]
    inputs: tuple[Any, ...]
    dtypes: tuple[DType, ...]
    control: tuple[View, ...] = ()
    wanted: tuple[bool, ...] = ()
    shapes: tuple[Partial, ...] = ()


def broadcast_shape(*shapes: Shape) -> Shape:
    """NumPy's broadcast of fully known shapes; ValueError if they do not fit."""
    first = shapes[0]
    for other in shapes[1:]:
        if other != first:
            return np.broadcast_shapes(*shapes)
    return first


class Builder:
    """Appends steps to a program under construction."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.origins: list[Any] = []
        self.origin: Any = None
        self.consts: dict[int, np.ndarray] = {}
        self.variables: dict[int, Buffer] = {}
        self.shapes: dict[int, Shape] = {}  # of variables, by buffer
        self.state: dict[int, View] = {}
        self.step: Buffer | None = None
        self._count = 0
        self._known: dict[Any, Expr] = {}
        # Vectors made of scalars, by buffer: each can be had without the others.
        self._packed: dict[int, tuple[View, ...]] = {}

    # --- storage ----------------------------------------------------------------------

    def buffer(self, dtype: DType, size: int, kind: str = "temp") -> Buffer:
        """A new buffer."""
        self._count += 1
        return Buffer(self._count - 1, dtype, size, kind)

    def new(self, dtype: DType, shape: Shape, kind: str = "temp") -> View:
        """A new buffer of ``shape``, not yet written."""
        size = 1
        for extent in shape:
            size *= extent
        return View(self.buffer(dtype, size, kind), shape, contiguous_strides(shape), 0)

    def literal(self, value: np.ndarray, dtype: DType) -> View:
        """A constant."""
        value = np.ascontiguousarray(value).reshape(np.shape(value))
        view = self.new(dtype, value.shape, "const")
        self.consts[view.buffer.id] = value
        return view

    def known(self, view: View) -> np.ndarray | None:
        """The values of a view of a constant, None for any other."""
        data = self.consts.get(view.buffer.id)
        if data is None:
            return None
        if view.is_whole:
            return data.reshape(view.shape)
        bytes_ = tuple(s * data.itemsize for s in view.strides)
        flat = data.reshape(-1)[view.offset :] if view.size else data.reshape(-1)[:0]
        return np.lib.stride_tricks.as_strided(flat, view.shape, bytes_)

    def value(self, view: View) -> np.ndarray:
        """The values of a view that shapes depend on; NeedsValue if not yet known."""
        known = self.known(view)
        if known is None:
            raise NeedsValue(view)
        return known

    def integers(self, view: View) -> tuple[int, ...]:
        """The value of a static input as a flat tuple of Python integers."""
        return tuple(int(v) for v in self.value(view).reshape(-1).tolist())

    def scalars(self, view: View) -> list[int | View]:
        """The entries of a vector: integers where they are known, views elsewhere."""
        if self.known(view) is not None:
            return list(self.integers(view))
        parts = self._packed.get(view.buffer.id) if view.is_whole else None
        if parts is None:
            (step,) = view.strides
            return [
                View(view.buffer, (), (), view.offset + k * step)
                for k in range(view.size)
            ]
        known = [self.known(part) for part in parts]
        return [p if v is None else int(v) for p, v in zip(parts, known)]

    def remember_parts(self, vector: View, parts: Sequence[View]) -> None:
        """``vector`` is a buffer of its own that holds ``parts``, all scalars."""
        self._packed[vector.buffer.id] = tuple(parts)

    # --- steps ------------------------------------------------------------------------

    def append(self, step: Step) -> None:
        """Add a step after all others."""
        self.steps.append(step)
        self.origins.append(self.origin)

    def _operands(
        self, views: Sequence[View], shape: Shape
    ) -> tuple[tuple[View, ...], list[Expr]]:
        loads: list[View] = []
        exprs: list[Expr] = []
        for view in views:
            buffer = view.buffer
            if buffer.kind == "const" and view.size == 1 and buffer.dtype.is_scalar:
                exprs.append(Lit(self.value(view).reshape(())[()], buffer.dtype))
                continue
            exprs.append(Load(len(loads), buffer.dtype))
            loads.append(view if view.shape == shape else view.broadcast(shape))
        return tuple(loads), exprs

    def map(
        self,
        fn: Callable[..., Expr],
        *views: View,
        shape: Shape | None = None,
        dtype: DType | None = None,
    ) -> View:
        """``fn`` of the views' elements at every point of their broadcast shape.

        ``fn`` takes one expression a view. ``dtype`` casts the result.
        """
        if shape is None:
            shape = broadcast_shape(*[v.shape for v in views])
        loads, exprs = self._operands(views, shape)
        # Most ops stand many times in a graph: the same function of the same loads.
        key = (fn, dtype, *exprs)
        expr = self._known.get(key)
        if expr is None:
            expr = fn(*exprs)
            if dtype is not None:
                expr = cast(expr, dtype)
            self._known[key] = expr
        out = self.new(expr.dtype, shape)
        self.append(Group(shape, (False,) * len(shape), loads, (Store(out, expr),)))
        return out

    def generate(self, fn: Callable[..., Expr], shape: Shape, dtype: DType) -> View:
        """``fn`` of the int64 coordinates, one expression an axis."""
        expr = cast(fn(*[Index(axis) for axis in range(len(shape))]), dtype)
        out = self.new(dtype, shape)
        self.append(Group(shape, (False,) * len(shape), (), (Store(out, expr),)))
        return out

    def store(self, into: View, fn: Callable[..., Expr], *views: View) -> None:
        """Like map, but written through an existing view (part of a buffer, say)."""
        loads, exprs = self._operands(views, into.shape)
        expr = cast(fn(*exprs), into.dtype)
        reduced = (False,) * len(into.shape)
        self.append(Group(into.shape, reduced, loads, (Store(into, expr),)))

    def store_each(
        self,
        into: Sequence[View],
        fn: Callable[..., Sequence[Expr]],
        *views: View,
    ) -> None:
        """Like store, for views of one shape; ``fn`` gives an expression for each."""
        shape = into[0].shape
        loads, exprs = self._operands(views, shape)
        stores = [Store(v, cast(e, v.dtype)) for v, e in zip(into, fn(*exprs))]
        self.append(Group(shape, (False,) * len(shape), loads, tuple(stores)))

    def copy(self, view: View, into: View | None = None) -> View:
        """The elements of ``view`` in a new buffer, or written through ``into``."""
        if into is None:
            into = self.new(view.dtype, view.shape)
        self.store(into, lambda x: x, view)
        return into

    def fill(self, value: Any, dtype: DType, shape: Shape) -> View:
        """``value`` at every point."""
        out = self.new(dtype, shape)
        self.store_value(out, value)
        return out

    def store_value(self, into: View, value: Any) -> None:
        """Write one literal through ``into``."""
        reduced = (False,) * len(into.shape)
        self.append(
            Group(into.shape, reduced, (), (Store(into, Lit(value, into.dtype)),))
        )

    def contiguous(self, view: View) -> View:
        """The view itself if it is contiguous, else a copy."""
        return view if view.is_contiguous else self.copy(view)

    def reshape(self, view: View, shape: Shape) -> View:
        """The same elements in C order under another shape; copies only if it must."""
        again = view.reshape(shape)
        if again is None:
            again = self.copy(view).reshape(shape)
            assert again is not None
        return again

    def reduce(
        self,
        kind: str,
        view: View,
        axes: Sequence[int],
        keepdims: bool = False,
        before: Callable[..., Expr] | None = None,
        after: Callable[[Expr], Expr] | None = None,
        others: Sequence[View] = (),
    ) -> View:
        """Fold ``before(element)`` over ``axes``, then apply ``after``.

        ``kind`` is one of scalar.REDUCTIONS; axes are non-negative. An empty fold
        gives the kind's identity. ``before`` takes an element of each of ``others``
        as well; they broadcast to the shape of ``view``.
        """
        reduced = tuple(i in axes for i in range(view.rank))
        loads: tuple[View, ...] = (view,)
        exprs: list[Expr] = [Load(0, view.dtype)]
        if others:
            loads, exprs = self._operands((view, *others), view.shape)
        expr = exprs[0]
        if before is not None:
            expr = before(*exprs)
        expr = Reduce(kind, expr)
        if after is not None:
            expr = after(expr)
        kept = tuple(1 if r else n for r, n in zip(reduced, view.shape))
        out = self.new(expr.dtype, kept)
        strides = tuple(0 if r else s for r, s in zip(reduced, out.strides))
        target = View(out.buffer, kept, strides, 0)
        self.append(Group(view.shape, reduced, loads, (Store(target, expr),)))
        return out if keepdims else out.drop_axes(tuple(axes))

    def call(
        self,
        name: str,
        impl: Callable[..., None],
        args: Sequence[View],
        outs: Sequence[tuple[DType, Shape]],
        pure: bool = True,
        flops: int = 0,
        in_place: InPlace | None = None,
        labels: tuple[str, ...] = (),
        **attrs: Any,
    ) -> tuple[View, ...]:
        """A library call ``impl(xp, outs, *args, **attrs)``; attrs are hashable.

        ``flops``: its operations, where they are more than its bytes tell.
        ``in_place``: which argument the first result may be. ``labels``: see Call.
        """
        results = tuple(self.new(dtype, shape) for dtype, shape in outs)
        given = tuple(attrs.items())
        call = Call(
            name,
            impl,
            tuple(args),
            results,
            given,
            pure,
            HOME,
            flops,
            in_place,
            labels,
        )
        self.append(call)
        return results

    def barrier(self, members: Sequence[View]) -> None:
        """Nothing that comes later starts before the members are written."""
        members = tuple(m for m in members if m.buffer.kind == "temp")
        if len(members) > 1:
            self.append(Barrier(members))

    # --- state ------------------------------------------------------------------------

    def read(self, handle: Handle) -> View:
        """The variable's value at this place in the program's order."""
        now = self.state.get(handle.slot)
        if now is not None:
            return now
        if handle.shape is None:
            raise Uninitialized(handle)
        view = self.new(handle.dtype, handle.shape, "variable")
        self.variables[handle.slot] = view.buffer
        self.shapes[view.buffer.id] = view.shape
        self.state[handle.slot] = view
        return view

    def assign(self, handle: Handle, value: View) -> View:
        """The variable's value from here on; it is stored after the last step."""
        if value.buffer.kind not in ("temp", "const") or not value.is_whole:
            # Commits run one after the other, over the variables' own memory: a
            # value that is a view of a variable or of a feed would be torn.
            value = self.copy(value)
        self.state[handle.slot] = value
        return value

    def run_number(self) -> View:
        """One int64 that differs from run to run: random ops count by it."""
        if self.step is None:
            self.step = self.buffer(dtypes.int64, 1, "step")
        return View(self.step, (), (), 0)
