"""Scans along an axis: Cumsum, Cumprod, CumulativeLogsumexp and their recurrence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad import shapes
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily, axes_input, same_as_input

family = OpFamily()


# --- what all scans share -------------------------------------------------------------


def _infer(op: Any) -> Any:
    rules.require_rank(op.inputs[-1]._shape, 0)
    return same_as_input(op)


def _lower_of(name: str, impl: Callable[..., None]) -> Callable[..., View]:
    def lower(b: Builder, site: Site) -> View:
        *views, where = site.inputs
        axis = shapes.axis(b.integers(where)[0], views[0].rank)
        (out,) = b.call(
            name,
            impl,
            views,
            ((site.dtypes[0], views[0].shape),),
            axis=axis,
            exclusive=bool(site.attrs.get("exclusive")),
            reverse=bool(site.attrs.get("reverse")),
        )
        return out

    return lower


def _wide(xp: Any, dtype: Any) -> Any:
    """The dtype to accumulate in: float32 for the half types."""
    return xp.float32 if dtype.itemsize == 2 and dtype.kind in "fV" else dtype


def _along(x: Any, axis: int, reverse: bool) -> Any:
    """``x`` with the scanned axis first, in the order of the scan; a view."""
    x = x.swapaxes(0, axis)
    return x[::-1] if reverse else x


def _store(
    out: Any, result: Any, axis: int, exclusive: bool, reverse: bool, start: Any
) -> None:
    out = _along(out, axis, reverse)
    if exclusive:
        out[:1] = start
        out[1:] = result[:-1]
    else:
        out[...] = result


def _accumulate(name: str, start: int) -> Callable[..., None]:
    def impl(
        xp: Any, outs: Any, x: Any, axis: int, exclusive: bool, reverse: bool
    ) -> None:
        x = _along(x, axis, reverse)
        result = getattr(xp, name)(x, axis=0, dtype=_wide(xp, x.dtype))
        _store(outs[0], result, axis, exclusive, reverse, start)

    return impl


# --- Cumsum ---------------------------------------------------------------------------

_SCAN_INPUTS = (Input("x"), axes_input("axis"))
_SCAN_ATTRS = {"exclusive": False, "reverse": False}

family.op(
    "Cumsum",
    _SCAN_INPUTS,
    attrs=_SCAN_ATTRS,
    infer=_infer,
    lower=_lower_of("cumsum", _accumulate("cumsum", 0)),
)


@family.gradient("Cumsum")
def _cumsum_grad(op: Any, dy: Any) -> Any:
    exclusive, reverse = op.attrs["exclusive"], not op.attrs["reverse"]
    axis = op.inputs[1]
    dx = op.graph.apply("Cumsum", dy, axis, exclusive=exclusive, reverse=reverse)
    return [dx, None]


def cumsum(
    x: Any,
    axis: Any = 0,
    exclusive: bool = False,
    reverse: bool = False,
    name: str | None = None,
) -> Any:
    """Running sums along an axis.

    ``exclusive`` leaves the element itself out, so that the first result is 0;
    ``reverse`` starts from the end.
    """
    return apply_op("Cumsum", x, axis, exclusive=exclusive, reverse=reverse, name=name)


# --- Cumprod --------------------------------------------------------------------------

family.op(
    "Cumprod",
    _SCAN_INPUTS,
    attrs=_SCAN_ATTRS,
    infer=_infer,
    lower=_lower_of("cumprod", _accumulate("cumprod", 1)),
)


@family.gradient("Cumprod")
def _cumprod_grad(op: Any, dy: Any) -> Any:
    """Exact with zeros, where TensorFlow's division by x gives 0.

    x[k] stands in the products y[j] for j >= k: the product before k, times the sum
    over j of dy[j] and the product from behind k up to j. The sum is a recurrence.
    """
    (x, axis), reverse = op.inputs, op.attrs["reverse"]
    x = rules.conj(x)
    before = op.graph.apply("Cumprod", x, axis, exclusive=True, reverse=reverse)
    if op.attrs["exclusive"]:
        behind = _recurrence(x, dy, axis, not reverse)
    else:
        behind = dy + _recurrence(x, x * dy, axis, not reverse)
    return [before * behind, None]


def cumprod(
    x: Any,
    axis: Any = 0,
    exclusive: bool = False,
    reverse: bool = False,
    name: str | None = None,
) -> Any:
    """Running products along an axis (see cumsum); an exclusive one starts with 1."""
    return apply_op("Cumprod", x, axis, exclusive=exclusive, reverse=reverse, name=name)


# --- LinearRecurrence -----------------------------------------------------------------
# z[0] = 0, z[k+1] = b[k] + a[k] * z[k] along an axis: gpugrad's own op, for Cumprod.


def _linear_recurrence(
    xp: Any, outs: Any, a: Any, b: Any, axis: int, exclusive: bool, reverse: bool
) -> None:
    """All prefixes by doubling: pairs (a, b) compose to (a1 a2, b2 + a2 b1)."""
    wide = _wide(xp, a.dtype)
    decay = _along(a, axis, reverse).astype(wide)
    state = _along(b, axis, reverse).astype(wide)
    step = 1
    while step < len(state):
        state[step:] = state[step:] + decay[step:] * state[:-step]
        decay[step:] = decay[step:] * decay[:-step]
        step *= 2
    _store(outs[0], state, axis, True, reverse, 0)


family.op(
    "LinearRecurrence",
    (Input("a"), Input("b"), axes_input("axis")),
    attrs={"reverse": False},
    infer=_infer,
    lower=_lower_of("linear_recurrence", _linear_recurrence),
)


def _recurrence(a: Any, b: Any, axis: Any, reverse: bool) -> Any:
    return a.graph.apply("LinearRecurrence", a, b, axis, reverse=reverse)


@family.gradient("LinearRecurrence")
def _linear_recurrence_grad(op: Any, dz: Any) -> Any:
    a, _, axis = op.inputs
    db = _recurrence(rules.conj(a), dz, axis, not op.attrs["reverse"])
    return [db * rules.conj(op.outputs[0]), db, None]


# --- CumulativeLogsumexp --------------------------------------------------------------


def _cumulative_logsumexp(
    xp: Any, outs: Any, x: Any, axis: int, exclusive: bool, reverse: bool
) -> None:
    wide = _wide(xp, x.dtype)
    total = _along(x, axis, reverse).astype(wide)
    step = 1
    while step < len(total):
        total[step:] = xp.logaddexp(total[step:], total[:-step])
        step *= 2
    _store(outs[0], total, axis, exclusive, reverse, float("-inf"))


def _infer_floats(op: Any) -> Any:
    rules.require_dtype(op, 0, rules.FLOATS)
    return _infer(op)


family.op(
    "CumulativeLogsumexp",
    _SCAN_INPUTS,
    attrs=_SCAN_ATTRS,
    infer=_infer_floats,
    lower=_lower_of("cumulative_logsumexp", _cumulative_logsumexp),
)


@family.gradient("CumulativeLogsumexp")
def _cumulative_logsumexp_grad(op: Any, dy: Any) -> Any:
    """The sum of dy[j] * exp(x[k] - y[j]), in logarithms, each sign by itself."""
    graph, (x, axis), y = op.graph, op.inputs, op.outputs[0]
    attrs = {"exclusive": op.attrs["exclusive"], "reverse": not op.attrs["reverse"]}
    assert dy.dtype.np_dtype is not None
    none = np.asarray(dy.dtype.min, dy.dtype.np_dtype)

    def side(logarithms: Any) -> Any:
        total = graph.apply("CumulativeLogsumexp", logarithms - y, axis, **attrs)
        return graph.apply("Exp", total + x)

    positive = graph.apply("SelectV2", dy > 0, graph.apply("Log", dy), none)
    negative = graph.apply("SelectV2", dy < 0, graph.apply("Log", -dy), none)
    return [side(positive) - side(negative), None]


def cumulative_logsumexp(
    x: Any,
    axis: Any = 0,
    exclusive: bool = False,
    reverse: bool = False,
    name: str | None = None,
) -> Any:
    """Running log(sum(exp)) along an axis (see cumsum), without overflow."""
    return apply_op(
        "CumulativeLogsumexp", x, axis, exclusive=exclusive, reverse=reverse, name=name
    )
