"""Prefixes along an axis (kernels/scan.cuh): Cumsum and its family."""

from __future__ import annotations

from math import isqrt, prod
from typing import Any, Final

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
from gpugrad.backends.cupy.text import Lowered
from gpugrad.kir.program import Call

# So many columns keep a GPU busy without cutting any.
_COLUMNS: Final = 1 << 14
_CHUNK: Final = 64
_SIDE: Final = 65535

# The scan over a value's type, the size of its state in values, and the start.
_SCANS: Final = {
    "cumsum": ("ScanOf<JoinSum, {c}>", 1, 0),
    "cumprod": ("ScanOf<JoinProduct, {c}>", 1, 1),
    "cumulative_logsumexp": ("ScanOf<JoinLogAddExp, {c}>", 1, float("-inf")),
    "linear_recurrence": ("ScanAffine<{c}>", 2, 0),
}


def _scan(call: Call) -> Lowered | None:
    (out,), dtype = call.outs, call.outs[0].dtype
    if not all_contiguous(out, *call.args) or out.size >= COUNT_LIMIT:
        return None
    if out.size == 0:
        return Lowered(())
    attrs: Any = dict(call.attrs)
    exclusive = attrs["exclusive"] or call.name == "linear_recurrence"
    axis, value, element = attrs["axis"], computed(dtype), storage(dtype)
    length, inner = out.shape[axis], prod(out.shape[axis + 1 :])
    columns = out.size // length
    chunk = length
    if columns < _COLUMNS and length > _CHUNK:
        chunk = max(_CHUNK, isqrt(length), -(-length // _SIDE))
    chunks = -(-length // chunk)
    pattern, values, start = _SCANS[call.name]
    scan = pattern.format(c=value)
    elements = ", ".join(f"({value})widen(in{n}[at])" for n in range(len(call.args)))
    if values == 2:
        elements = f"Affine<{value}>{{{elements}}}"
    read = f"[&](u64 at) {{ return {elements}; }}"
    loads = [load(n, element) for n in range(len(call.args))]
    state = f"{scan}::State"
    shape = f"{columns}ull, {length}ull, {inner}ull, {chunk}ull"
    reverse = "true" if attrs["reverse"] else "false"
    kernels = []
    grid = (blocks(columns)[0], chunks, 1)
    states = "nullptr"
    parameters = [store(0, element), *loads]
    if chunks > 1:
        states = "scratch0"
        kernels += [
            make(
                "scan_chunks",
                f"scan_chunks<{scan}>(scratch0, {read}, {shape}, {reverse});",
                (scratch(0, state), *loads),
                headers("scan.cuh", dtype),
                grid,
            ),
            make(
                "scan_carry",
                f"scan_carry<{scan}>(scratch0, {columns}ull, {chunks}ull);",
                (scratch(0, state),),
                headers("scan.cuh", dtype),
                blocks(columns),
            ),
        ]
        parameters.append(scratch(0, state, False))
    first = literal(dtype.as_numpy_dtype(start), dtype)
    kernels.append(
        make(
            "scan_write",
            f"scan_write<{scan}, {element}, {value}>(\n"
            f"    out0, {states}, {read}, ({value})({first}), {shape}, "
            f"{'true' if exclusive else 'false'}, {reverse});",
            parameters,
            headers("scan.cuh", dtype),
            grid,
        )
    )
    # Scratch is counted in the widest value, complex128.
    size = columns * chunks * values * 16 if chunks > 1 else 0
    return Lowered(tuple(kernels), (size,) if size else ())


RULES: Final[dict[str, Rule]] = dict.fromkeys(_SCANS, _scan)
