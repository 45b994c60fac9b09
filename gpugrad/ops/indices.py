"""Indices into arrays: looked at on the CPU, and as places of the flat array."""

from __future__ import annotations

from math import prod
from typing import Any

from gpugrad.errors import InvalidArgumentError
from gpugrad.kir.space import View
from gpugrad.ops.static import on_host


def check_indices(xp: Any, index: Any, size: int, shape: tuple[int, ...]) -> None:
    """InvalidArgumentError for an index outside of [0, size); the CPU only looks.

    On a GPU the look would make the host wait; there an index that is out of range is
    the user's to avoid, as in TensorFlow. ``shape`` is that of the indices before they
    were flattened, for the message.
    """
    if not on_host(xp) or index.size == 0:
        return
    # As a number without a sign, one below 0 is larger than any size.
    if index.view(f"u{index.itemsize}").max() < size:
        return
    flat = index.reshape(-1)
    bad = int(xp.argmax((flat < 0) | (flat >= size)))
    place = ",".join(str(int(i)) for i in xp.unravel_index(bad, shape))
    raise InvalidArgumentError(
        None, None, f"indices[{place}] = {int(flat[bad])} is not in [0, {size})"
    )


def check_vectors(xp: Any, vectors: Any, extents: tuple[int, ...]) -> None:
    """The same of index vectors [m, k], for k axes of ``extents``."""
    if not on_host(xp) or vectors.size == 0:
        return
    bad = ((vectors < 0) | (vectors >= xp.array(extents, xp.int64))).any(axis=1)
    if bad.any():
        row = int(xp.argmax(bad))
        raise InvalidArgumentError(
            None,
            None,
            f"indices[{row}] = {vectors[row].tolist()} does not index into shape "
            f"{list(extents)}",
        )


def flat_indices(xp: Any, vectors: Any, extents: tuple[int, ...]) -> Any:
    """Row-major positions [m] of index vectors [m, k] in axes of ``extents``."""
    check_vectors(xp, vectors, extents)
    flat = xp.zeros(vectors.shape[0], xp.int64)
    for axis, extent in enumerate(extents):
        flat = flat * extent + vectors[:, axis]
    return flat


def index_plan(
    shape: tuple[int, ...], indices: View
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """For index vectors into ``shape``: the axes indexed, [rows, rest], [m, k]."""
    depth = indices.shape[-1]
    if depth > len(shape):
        raise ValueError(
            f"indices.shape[-1] = {depth} is more than the rank of shape {list(shape)}"
        )
    extents = shape[:depth]
    table = (prod(extents), prod(shape[depth:]))
    return extents, table, (prod(indices.shape[:-1]), depth)
