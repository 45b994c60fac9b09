"""Expressions made simpler, exactly: the same bits, NaN, infinities and -0.0 too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import copysign
from typing import Any, Final

import numpy as np

from gpugrad.compiler.fold import LIMIT
from gpugrad.dtypes import DType
from gpugrad.kir import scalar
from gpugrad.kir.interpret import evaluate
from gpugrad.kir.program import Group, Program, Store
from gpugrad.kir.scalar import (
    Apply,
    Expr,
    Index,
    Lit,
    Load,
    Reduce,
    ScalarOp,
    cast_op,
    postorder,
)
from gpugrad.kir.space import View

# --- one function ---------------------------------------------------------------------


def _is(expr: Expr, value: float, negative: bool = False) -> bool:
    """True for the literal ``value``; of the two zeros, for the one that is meant."""
    if type(expr) is not Lit or not (expr.dtype.is_floating or expr.dtype.is_integer):
        return False
    found = float(expr.value)
    return found == value and (copysign(1, found) < 0) == negative


def _add(args: Sequence[Expr], dtype: DType) -> Expr | None:
    # x + 0.0 turns -0.0 into 0.0; x + -0.0 is x. Of integers there is one zero.
    for x, y in (args, args[::-1]):
        if _is(y, 0, negative=dtype.is_floating):
            return x
        if type(y) is Apply and y.op is scalar.neg:
            return made(scalar.sub, (x, y.args[0]))
    return None


def _sub(args: Sequence[Expr], dtype: DType) -> Expr | None:
    x, y = args
    if _is(y, 0):
        return x
    if type(y) is Apply and y.op is scalar.neg:
        return made(scalar.add, (x, y.args[0]))
    return None


def _mul(args: Sequence[Expr], dtype: DType) -> Expr | None:
    for x, y in (args, args[::-1]):
        if _is(y, 1):
            return x
        if _is(y, -1, negative=True):
            return made(scalar.neg, (x,))
        if type(x) is Apply and x.op is scalar.neg and type(y) is Lit:
            return made(scalar.mul, (x.args[0], _negative(y)))
    return None


def _negative(literal: Lit) -> Lit:
    with np.errstate(all="ignore"):
        return Lit(-literal.value, literal.dtype)


def _div(args: Sequence[Expr], dtype: DType) -> Expr | None:
    x, y = args
    if _is(y, 1):
        return x
    if type(y) is Lit and dtype.is_floating and y.value != 0:
        # Exact where the divisor and its reciprocal are powers of two.
        mantissa, exponent = np.frexp(np.float64(y.value))
        limit = {2: 12, 4: 120, 8: 1000}[dtype.itemsize]
        if abs(mantissa) == 0.5 and abs(int(exponent)) < limit:
            return made(scalar.mul, (x, Lit(1 / float(y.value), dtype)))
    return None


def _neg(args: Sequence[Expr], dtype: DType) -> Expr | None:
    (x,) = args
    if type(x) is not Apply:
        return None
    if x.op is scalar.neg:
        return x.args[0]
    if x.op is scalar.mul:
        for y, factor in (x.args, x.args[::-1]):
            if type(factor) is Lit:
                return made(scalar.mul, (y, _negative(factor)))
    return None


def _pow(args: Sequence[Expr], dtype: DType) -> Expr | None:
    # A square is rounded once, which no power function does better.
    x, y = args
    if _is(y, 1):
        return x
    if _is(y, 2):
        return made(scalar.mul, (x, x))
    return None


def _twice(op: ScalarOp) -> Callable[[Sequence[Expr], DType], Expr | None]:
    def undo(args: Sequence[Expr], dtype: DType) -> Expr | None:
        (x,) = args
        return x.args[0] if type(x) is Apply and x.op is op else None

    return undo


def _once(op: ScalarOp) -> Callable[[Sequence[Expr], DType], Expr | None]:
    def repeat(args: Sequence[Expr], dtype: DType) -> Expr | None:
        (x,) = args
        return x if type(x) is Apply and x.op is op else None

    return repeat


def _select(args: Sequence[Expr], dtype: DType) -> Expr | None:
    condition, if_true, if_false = args
    if if_true is if_false:
        return if_true
    if type(condition) is Lit:
        return if_true if condition.value else if_false
    if type(if_true) is Apply and if_true.op is scalar.select:
        inner, value, other = if_true.args
        if other is if_false:
            both = made(scalar.logical_and, (condition, inner))
            return made(scalar.select, (both, value, other))
    return None


def _holds(inner: DType, outer: DType) -> bool:
    """True if every value of ``inner`` has its own place in ``outer``."""
    if inner.is_bool:
        return True
    a, b = inner.np_dtype, outer.np_dtype
    if inner.name == "bfloat16":
        return outer.is_floating and outer.itemsize >= 4
    if outer.name == "bfloat16" or a is None or b is None:
        return False
    return bool(np.can_cast(a, b, "safe")) and not outer.is_bool


def _cast(args: Sequence[Expr], dtype: DType) -> Expr | None:
    (x,) = args
    if x.dtype is dtype:
        return x
    if type(x) is Apply and x.op is cast_op:
        inner = x.args[0]
        if inner.dtype is dtype and _holds(dtype, x.dtype):
            return inner
        # What neither type on the way can change may take the direct one.
        if (
            _holds(inner.dtype, x.dtype)
            and _holds(inner.dtype, dtype)
            and not (x.dtype.is_complex or dtype.is_complex or inner.dtype.is_complex)
        ):
            return made(cast_op, (inner,), dtype)
    return None


_RULES: Final[dict[ScalarOp, Callable[[Sequence[Expr], DType], Expr | None]]] = {
    scalar.add: _add,
    scalar.sub: _sub,
    scalar.mul: _mul,
    scalar.div: _div,
    scalar.neg: _neg,
    scalar.pow_: _pow,
    scalar.conj: _twice(scalar.conj),
    scalar.logical_not: _twice(scalar.logical_not),
    scalar.bit_not: _twice(scalar.bit_not),
    scalar.abs_: _once(scalar.abs_),
    scalar.select: _select,
    cast_op: _cast,
}


def made(op: ScalarOp, args: tuple[Expr, ...], dtype: DType | None = None) -> Expr:
    """``op(*args)``, or something simpler that is equal to the last bit.

    ``dtype`` is the target of a cast.
    """
    if type(args[0]) is Lit and all(type(a) is Lit for a in args):
        return _computed(op, args, dtype)
    rule = _RULES.get(op)
    if rule is not None:
        simpler = rule(args, args[0].dtype if dtype is None else dtype)
        if simpler is not None:
            return simpler
    return Apply(op, args, dtype)


def _computed(op: ScalarOp, args: tuple[Expr, ...], dtype: DType | None) -> Expr:
    """The literal that a function of literals is."""
    expr = Apply(op, args, dtype)
    if not expr.dtype.is_scalar:
        return expr
    try:
        value = evaluate(expr, [], ())
    except (ValueError, ArithmeticError):
        return expr  # which fails when it runs, as the message of a node
    return Lit(value.reshape(())[()], expr.dtype)


# --- whole expressions ----------------------------------------------------------------


def rebuilt(
    expr: Expr, loads: Sequence[Expr], index: Sequence[Expr] | None = None
) -> Expr:
    """``expr`` over other loads, and over other coordinates, made simpler."""
    if type(expr) is Apply:
        # Nearly all expressions that come from one op are a single function.
        args: list[Any] = [_leaf(a, loads, index) for a in expr.args]
        if None not in args:
            dtype = expr.dtype if expr.op is cast_op else None
            return made(expr.op, tuple(args), dtype)
    done: dict[Expr, Expr] = {}
    for node in postorder(expr):
        new = _leaf(node, loads, index)
        if new is None:
            if type(node) is Reduce:
                new = Reduce(node.kind, done[node.arg])
            else:
                assert type(node) is Apply
                dtype = node.dtype if node.op is cast_op else None
                new = made(node.op, tuple([done[a] for a in node.args]), dtype)
        done[node] = new
    return done[expr]


def _leaf(
    node: Expr, loads: Sequence[Expr], index: Sequence[Expr] | None
) -> Expr | None:
    if type(node) is Load:
        return loads[node.slot]
    if type(node) is Lit:
        return node
    if type(node) is Index:
        return node if index is None else index[node.axis]
    return None


# --- the pass -------------------------------------------------------------------------


def simplify(program: Program) -> Program:
    """Make every expression simpler, and small constants of one value part of it.

    Requires: nothing.
    Ensures:  no load of a one-element constant, none that no expression names, no
              fold over a single point, and what made() leaves of every function.
    """
    known: dict[Expr, Expr] = {}
    steps = list(program.steps)
    changed = False
    for number, step in enumerate(steps):
        if type(step) is Group:
            simpler = _simplified(step, program, known)
            if simpler is not step:
                steps[number] = simpler
                changed = True
    return replace(program, steps=tuple(steps)) if changed else program


def _simplified(group: Group, program: Program, known: dict[Expr, Expr]) -> Group:
    loads: list[Expr] = []
    literals = False
    for slot, view in enumerate(group.loads):
        value = _literal(view, program)
        literals |= value is not None
        loads.append(value or Load(slot, view.dtype))
    pairs = zip(group.extents, group.reduced)
    single = True not in group.reduced or all(n == 1 for n, r in pairs if r)
    stores = []
    same = True
    for store in group.stores:
        expr = store.expr
        new = None if literals else known.get(expr)
        if new is None:
            new = rebuilt(expr, loads)
            if not literals:
                known[expr] = new
        if single and True in group.reduced:
            new = _unfolded(new)
        same &= new is expr
        stores.append(store if new is expr else Store(store.view, new))
    if same and not literals:
        return group
    return pruned(group._replace(stores=tuple(stores)))


def _literal(view: View, program: Program) -> Lit | None:
    """The literal that a view of a constant repeats, if it does."""
    buffer = view.buffer
    if buffer.kind != "const" or not 0 < buffer.size <= LIMIT:
        return None
    if not buffer.dtype.is_scalar:
        return None
    value = program.consts[buffer.id].reshape(-1)
    if buffer.size > 1 and value.tobytes() != value[:1].tobytes() * buffer.size:
        return None
    return Lit(value[0], buffer.dtype)


def _unfolded(expr: Expr) -> Expr:
    """Without folds, each of which is over one point."""
    done: dict[Expr, Expr] = {}
    for node in postorder(expr):
        new: Expr = node
        if type(node) is Reduce:
            new = done[node.arg]
        elif type(node) is Apply:
            dtype = node.dtype if node.op is cast_op else None
            new = made(node.op, tuple([done[a] for a in node.args]), dtype)
        done[node] = new
    return done[expr]


def pruned(group: Group) -> Group:
    """``group`` without the loads that no expression names."""
    exprs = [s.expr for s in group.stores]
    used = sorted({e.slot for e in postorder(*exprs) if type(e) is Load})
    if len(used) == len(group.loads):
        return group
    loads: list[Expr] = [Load(i, v.dtype) for i, v in enumerate(group.loads)]
    for place, slot in enumerate(used):
        loads[slot] = Load(place, loads[slot].dtype)
    return group._replace(
        loads=tuple(group.loads[i] for i in used),
        stores=tuple(Store(s.view, rebuilt(s.expr, loads)) for s in group.stores),
    )
