"""Parts whose place only the run knows (kernels/slice_at.cuh): ``x[i]`` of a loop.

A start that is out of range is taken for the nearest place there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd
from typing import Any, Final, NamedTuple

from gpugrad.backends.cupy.calls.kernel import (
    COUNT_LIMIT,
    Parameter,
    Rule,
    blocks,
    load,
    make,
    store,
)
from gpugrad.backends.cupy.layout import WIDEST
from gpugrad.backends.cupy.literals import storage
from gpugrad.backends.cupy.text import Lowered
from gpugrad.kir.program import Call
from gpugrad.kir.space import Shape, View


class _Axis(NamedTuple):
    """``size`` places of the part, ``step`` elements apart, of ``extent`` in all.

    ``first``: where the part begins among them, as C text.
    """

    extent: int
    size: int
    step: int
    first: str = "0"


def _starts(call: Call, extents: Shape, sizes: Shape) -> dict[int, str]:
    """For each moving axis, where the part begins, as C text."""
    attrs: Any = dict(call.attrs)
    found = {}
    for number, (axis, kind) in enumerate(zip(attrs["axes"], attrs["kinds"]), 1):
        wraps = "false" if kind == "part" else "true"
        numbers = f"{extents[axis]}ll, {sizes[axis]}ll"
        found[axis] = f"start_inside<{wraps}>(in{number}, {numbers})"
    return found


def _merged(axes: Iterable[_Axis]) -> list[_Axis]:
    """Without axes of one place; neighbours that are one axis in memory as one."""
    found: list[_Axis] = []
    for axis in axes:
        if axis.extent == 1:
            continue
        if found:
            outer = found[-1]
            whole = outer.first == axis.first == "0" and axis.extent == axis.size
            if whole and outer.step == axis.size * axis.step:
                extent, size = outer.extent * axis.extent, outer.size * axis.size
                found[-1] = _Axis(extent, size, axis.step)
                continue
        found.append(axis)
    return found or [_Axis(1, 1, 0)]


def _run(axes: Sequence[_Axis], steps: Iterable[int], *views: View) -> int:
    """Elements an access: what divides the last axis, all steps and the starts."""
    *outer, last = axes
    if last.step != 1 or last.first != "0" or last.extent != last.size:
        return 1
    itemsize = views[0].dtype.itemsize
    numbers = [last.size, *[a.step for a in outer], *steps, *[v.offset for v in views]]
    return gcd(WIDEST, *[n * itemsize for n in numbers]) // itemsize


def _array(ctype: str, name: str, values: Iterable[Any]) -> str:
    return f"const {ctype} {name}[] = {{{', '.join(map(str, values))}}};\n"


def _made(
    call: Call, kind: str, axes: list[_Axis], body: str, function: str, run: int
) -> Lowered:
    """The kernel: ``function`` is called with the arrays that ``body`` declares."""
    *outer, last = axes
    in_runs = [
        *outer,
        _Axis(last.extent // run, last.size // run, last.step * run, last.first),
    ]
    total = call.outs[0].size // run
    body += _array("u32", "extents", [a.extent for a in in_runs])
    body += _array("i64", "steps", [a.step for a in in_runs])
    if kind == "put_at":
        body += _array("i64", "firsts", [a.first for a in in_runs])
        body += _array("i64", "sizes", [a.size for a in in_runs])
    element = storage(call.outs[0].dtype)
    parameters: list[Parameter] = [store(0, element), load(0, element)]
    for number, view in enumerate(call.args[1:], 1):
        parameters.append(load(number, storage(view.dtype)))
    body += f"{function.format(run=run, total=total)}"
    kernel = make(kind, body, parameters, ("slice_at.cuh",), blocks(total))
    return Lowered((kernel,))


def _fits(call: Call) -> bool:
    (out,) = call.outs
    dtype = out.dtype
    large = max(out.size, call.args[0].size) >= COUNT_LIMIT
    known = dtype.np_dtype is not None and dtype.name != "string"
    return known and not large and out.is_contiguous


def _slice_at(call: Call) -> Lowered | None:
    (out,), x = call.outs, call.args[0]
    if not _fits(call):
        return None
    if out.size == 0:
        return Lowered(())
    starts = _starts(call, x.shape, out.shape)
    axes = _merged(_Axis(n, n, s) for n, s in zip(out.shape, x.strides))
    terms = [f"{first} * {x.strides[axis]}ll" for axis, first in starts.items()]
    run = _run(axes, [x.strides[axis] for axis in starts], out, x)
    body = f"const i64 from = {' + '.join(terms)};\n"
    return _made(
        call, "slice_at", axes, body,
        "read_part<{run}>(out0, in0, from, extents, steps, {total}u);", run,
    )  # fmt: skip


def _put_at(call: Call) -> Lowered | None:
    (out,), part = call.outs, call.args[0]
    if not _fits(call) or part.size == 0:
        return None
    if out.size == 0:
        return Lowered(())
    starts = _starts(call, out.shape, part.shape)
    axes = _merged(
        _Axis(n, size, step, starts.get(axis, "0"))
        for axis, (n, size, step) in enumerate(zip(out.shape, part.shape, part.strides))
    )
    run = _run(axes, (), out, part)
    return _made(
        call, "put_at", axes, "",
        "put_part<{run}>(out0, in0, extents, firsts, sizes, steps, {total}u);", run,
    )  # fmt: skip


RULES: Final[dict[str, Rule]] = {"slice_at": _slice_at, "put_at": _put_at}
