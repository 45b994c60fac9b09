"""Rows that meet at one place (kernels/rows.cuh): scatter and segment ops.

Places are sorted, stably, and each row of the result folds its own: no atomics on
floats, so that results repeat bit by bit. The work is linear in rows. With
Config.atomics sums are atomic additions instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final, NamedTuple

from gpugrad import config
from gpugrad.backends.cupy.calls.gather import extents
from gpugrad.backends.cupy.calls.kernel import (
    COUNT_LIMIT,
    Rule,
    all_contiguous,
    blocks,
    headers,
    load,
    make,
    scratch,
    store,
)
from gpugrad.backends.cupy.literals import computed, literal, storage
from gpugrad.backends.cupy.text import Kernel, Lowered, Number
from gpugrad.kir.program import Call
from gpugrad.kir.space import View

_HEADERS: Final = ("rows.cuh",)
# As in rows.cuh.
_TILE: Final = 2048
_DIGITS: Final = 16
_DIGIT_BITS: Final = 4
_COLUMNS: Final = 32
_LANES: Final = 8
_SHARED: Final = "__shared__ SortShared shared;\n"
_SIDE: Final = 65535  # of a grid, other than along x


class _Meeting(NamedTuple):
    """How rows of one place are folded, and how the fold meets what is there."""

    join: str
    meet: str = "MeetJoin"
    floats: bool = False


_MEETINGS: Final = {
    "sum": _Meeting("JoinSum"),
    "add": _Meeting("JoinSum"),
    "sub": _Meeting("JoinSum", "MeetSubtract"),
    "subtract": _Meeting("JoinSum", "MeetSubtract"),
    "prod": _Meeting("JoinProduct"),
    "multiply": _Meeting("JoinProduct"),
    "divide": _Meeting("JoinProduct", "MeetDivide", floats=True),
    "max": _Meeting("JoinMaximum"),
    "maximum": _Meeting("JoinMaximum"),
    "min": _Meeting("JoinMinimum"),
    "minimum": _Meeting("JoinMinimum"),
    "mean": _Meeting("JoinSum", "MeetMean", floats=True),
    "update": _Meeting("JoinLast", "MeetLast"),
    "set": _Meeting("JoinLast", "MeetLast"),
}


class _Job(NamedTuple):
    """``rows`` and ``place`` are arguments of the call, and so is ``base``, if any.

    ``of_each``: a fold for each of the rows, of all that have its place, instead of
    one for each place.
    """

    call: Call
    kind: str
    rows: int
    place: int
    sizes: Sequence[int]
    width: int
    base: int | None = None
    empty: Any = 0
    of_each: bool = False

    @property
    def rows_in(self) -> int:
        """Rows that are combined."""
        return self.call.args[self.place].size // max(len(self.sizes), 1)


def _combine(job: _Job) -> Lowered | None:
    call, dtype = job.call, job.call.outs[0].dtype
    places, count = prod(job.sizes), job.rows_in
    meeting = _MEETINGS.get(job.kind)
    if meeting is None or not job.sizes or not _fits(job, places):
        return None
    if not meeting.join.endswith("Last"):
        ordered = meeting.join in ("JoinMaximum", "JoinMinimum")
        if dtype.is_bool or (dtype.is_complex and (ordered or meeting.floats)):
            return None
        if meeting.floats and not dtype.is_floating:
            return None
    if call.outs[0].size == 0:
        return Lowered(())
    if config.current().atomics and _by_atomics(job):
        return _in_any_order(job)
    kernels, sizes, turn = _sorted_places(job, places)
    column_blocks = -(-job.width // _COLUMNS)
    element, value = storage(dtype), computed(dtype)
    base = "nullptr" if job.base is None else f"in{job.base}"
    read = {job.rows} | ({job.base} if job.base is not None else set())
    parameters = [store(0, element)]
    parameters += [load(n, element) for n in sorted(read)]
    parameters += [scratch(turn, "u32", False), scratch(2 + turn, "u32", False)]
    empty = literal(dtype.as_numpy_dtype(job.empty or 0), dtype)
    kernels.append(
        make(
            "fold_rows",
            f"__shared__ FoldShared<{value}> shared;\n"
            f"fold_rows<{meeting.join}, {meeting.meet}, {element}, {value}, "
            f"{'true' if job.of_each else 'false'}>(\n"
            f"    out0, {base}, in{job.rows}, scratch{turn}, scratch{2 + turn}, "
            f"{count}u, {job.width}ull, ({value})({empty}), "
            "shared);",
            parameters,
            headers("rows.cuh", dtype),
            (count if job.of_each else places, column_blocks, 1),
            (_COLUMNS, _LANES, 1),
        )
    )
    return Lowered(tuple(kernels), sizes)


_ATOMIC: Final = ("float32", "float64", "int32", "uint32", "uint64")
_SIGNS: Final = {"sum": 1, "add": 1, "sub": -1, "subtract": -1}


def _by_atomics(job: _Job) -> bool:
    """True for sums at places of a type for which there are atomic additions."""
    summed = job.kind in _SIGNS and not job.of_each
    return summed and job.call.outs[0].dtype.name in _ATOMIC


def _in_any_order(job: _Job) -> Lowered:
    """Without a sort: every element is added by an atomic."""
    call, dtype = job.call, job.call.outs[0].dtype
    element, index = storage(dtype), storage(call.args[job.place].dtype)
    base = "nullptr" if job.base is None else f"in{job.base}"
    empty = literal(dtype.as_numpy_dtype(job.empty or 0), dtype)
    total, added = call.outs[0].size, call.args[job.rows].size
    out = store(0, element)
    first = make(
        "start_rows",
        f"start_rows<{element}>(out0, {base}, ({element})({empty}), {total}ull);",
        (out, load(job.base, element)) if job.base is not None else (out,),
        _HEADERS,
        blocks(total),
    )
    then = make(
        "add_rows",
        f"add_rows<{_SIGNS[job.kind]}>(out0, in{job.rows}, in{job.place}, "
        f"{extents(job.sizes)}, {job.width}ull, {added}ull);",
        (out, load(job.rows, element), load(job.place, index)),
        _HEADERS,
        blocks(max(added, 1)),
    )
    return Lowered((first, then))


def _fits(job: _Job, places: int) -> bool:
    call = job.call
    views = (*call.args, *call.outs)
    if any(v.dtype.np_dtype is None or v.dtype.name == "string" for v in views):
        return False
    sides = -(-job.width // _COLUMNS) <= _SIDE
    small = max(places, job.rows_in, *(v.size for v in views)) < COUNT_LIMIT
    return all_contiguous(*views) and sides and small


def _sorted_places(job: _Job, places: int) -> tuple[list[Kernel], tuple[int, ...], int]:
    """Kernels that sort, scratch sizes in bytes, and which of the two holds the end.

    Scratch 0 and 1 are keys, 2 and 3 where they came from, 4 the histogram.
    """
    m = job.rows_in
    tiles = max(-(-m // _TILE), 1)
    index: View = job.call.args[job.place]
    count = ("m", Number("u32", m))
    kernels = [
        make(
            "places",
            f"make_places(scratch0, scratch2, in{job.place}, {extents(job.sizes)}, m, "
            f"{places}u);",
            (scratch(0, "u32"), scratch(2, "u32"),
             load(job.place, storage(index.dtype))),
            _HEADERS,
            blocks(max(m, 1)),
            numbers=(count,),
        )
    ]  # fmt: skip
    turn = 0
    for shift in range(0, max(places.bit_length(), 1), _DIGIT_BITS):
        numbers = (count, ("shift", Number("u32", shift)))
        kernels += [
            make(
                "sort_count",
                f"{_SHARED}sort_count(scratch4, scratch{turn}, m, (int)shift, shared);",
                (scratch(4, "u32"), scratch(turn, "u32", False)),
                _HEADERS,
                (tiles, 1, 1),
                numbers=numbers,
            ),
            make(
                "sort_scan",
                f"{_SHARED}sort_scan(scratch4, size, shared);",
                (scratch(4, "u32"),),
                _HEADERS,
                (1, 1, 1),
                numbers=(("size", Number("u32", _DIGITS * tiles)),),
            ),
            make(
                "sort_place",
                f"{_SHARED}sort_place(scratch{1 - turn}, scratch{3 - turn}, "
                f"scratch{turn}, scratch{2 + turn}, scratch4, m, (int)shift, shared);",
                (
                    scratch(1 - turn, "u32"),
                    scratch(3 - turn, "u32"),
                    scratch(turn, "u32", False),
                    scratch(2 + turn, "u32", False),
                    scratch(4, "u32", False),
                ),
                _HEADERS,
                (tiles, 1, 1),
                numbers=numbers,
            ),
        ]
        turn = 1 - turn
    each = 4 * max(m, 1)
    return kernels, (each, each, each, each, 4 * _DIGITS * tiles), turn


# --- the calls ------------------------------------------------------------------------


def _segments(call: Call) -> Lowered | None:
    attrs: Any = dict(call.attrs)
    n, width = call.outs[0].shape
    kind, empty = attrs["kind"], attrs.get("empty")
    return _combine(_Job(call, kind, 0, 1, (n,), width, empty=empty))


def _scatter_nd(call: Call) -> Lowered | None:
    sizes: Any = dict(call.attrs)["extents"]
    return _combine(_Job(call, "sum", 1, 0, sizes, call.outs[0].shape[1]))


def _tensor_scatter(call: Call) -> Lowered | None:
    attrs: Any = dict(call.attrs)
    width = call.outs[0].shape[1]
    return _combine(_Job(call, attrs["kind"], 2, 1, attrs["extents"], width, base=0))


def _scatter(call: Call) -> Lowered | None:
    """Variables: updates must have their full shape."""
    attrs: Any = dict(call.attrs)
    old, index, updates = call.args
    depth = index.shape[-1] if attrs["nd"] else 1
    sizes, rest = old.shape[:depth], old.shape[depth:]
    leading = index.shape[:-1] if attrs["nd"] else index.shape
    if updates.shape != leading + rest:
        return None
    return _combine(_Job(call, attrs["how"], 2, 1, sizes, prod(rest), base=0))


def _sum_equal_rows(call: Call) -> Lowered | None:
    size: Any = dict(call.attrs)["size"]
    width = prod(call.outs[0].shape[1:])
    return _combine(_Job(call, "sum", 0, 1, (size,), width, of_each=True))


RULES: Final[dict[str, Rule]] = {
    "segments": _segments,
    "scatter_nd": _scatter_nd,
    "tensor_scatter": _tensor_scatter,
    "scatter": _scatter,
    "sum_equal_rows": _sum_equal_rows,
}
