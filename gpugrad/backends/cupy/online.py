"""Two folds in one pass, although the second needs the result of the first.

They are known by their expressions alone:

- sum[exp(t - m)] where m comes of max[t]: the pass carries the maximum so far and the
  sum for it, which is scaled whenever the maximum grows.
- sum[(x - m) * (x - m)] where m comes of sum[x]: the pass carries the moments of the
  points so far about their own mean, joined as Chan, Golub and LeVeque do, so that
  nothing cancels however large the mean is.

Both hold whatever m is, since the result is moved to it at the end
(kernels/online.cuh). Rows in registers do without: there a second pass is free.
"""

from __future__ import annotations

from typing import NamedTuple

from gpugrad.backends.cupy.layout import Nest, varying
from gpugrad.backends.cupy.literals import computed
from gpugrad.kir.scalar import (
    Apply,
    Expr,
    Reduce,
    cast_op,
    exp,
    mul,
    postorder,
    sub,
)


class Pair(NamedTuple):
    """``second`` is a fold of ``value - offset``, and ``offset`` needs ``first``.

    ``state``: the struct of kernels/online.cuh that carries both.
    """

    state: str
    first: Reduce
    second: Reduce
    value: Expr
    offset: Expr

    @property
    def ctype(self) -> str:
        """The state's type as C text."""
        return f"{self.state}<{computed(self.second.dtype)}>"


def pairs(nest: Nest) -> tuple[Pair, ...]:
    """The pairs among the folds of ``nest``, each fold in one pair at most."""
    differs = varying(nest)
    found: list[Pair] = []
    taken: set[Reduce] = set()
    for node in postorder(*[o.expr for o in nest.outputs]):
        if type(node) is Reduce and node.kind == "sum":
            pair = _paired(node)
            if pair and pair.offset not in differs and pair.value in differs:
                folds = {pair.first, pair.second}
                if not taken & folds:
                    found.append(pair)
                    taken |= folds
    return tuple(found)


def _paired(second: Reduce) -> Pair | None:
    if not second.dtype.is_floating:
        return None
    arg = _exact(second.arg)
    if type(arg) is not Apply:
        return None
    if arg.op is exp:
        state, kind = "MaxSum", "max"
    elif arg.op is mul and arg.args[0] is arg.args[1]:
        state, kind = "Moments", "sum"
    else:
        return None
    away = _exact(arg.args[0])
    if type(away) is not Apply or away.op is not sub:
        return None
    value, offset = away.args
    outer = _outer_folds(offset)
    if len(outer) != 1:
        return None
    (first,) = outer
    same = first.kind == kind and _exact(first.arg) is _exact(value)
    types = {computed(e.dtype) for e in (first, second, value)}
    if not same or len(types) > 1:
        return None
    return Pair(state, first, second, value, offset)


def _exact(expr: Expr) -> Expr:
    """``expr`` without casts that keep every value."""
    while type(expr) is Apply and expr.op is cast_op:
        source, target = expr.args[0].dtype, expr.dtype
        if not (source.is_floating and target.is_floating):
            break
        if source.itemsize >= target.itemsize:
            break
        expr = expr.args[0]
    return expr


def _outer_folds(expr: Expr) -> set[Reduce]:
    """The folds in ``expr`` that are not in other folds."""
    found: set[Reduce] = set()
    stack = [expr]
    while stack:
        node = stack.pop()
        if type(node) is Reduce:
            found.add(node)
        elif type(node) is Apply:
            stack.extend(node.args)
    return found
