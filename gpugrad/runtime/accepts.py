"""Whether the values of a call are like those of an earlier one: one generated line.

A call of a few operations takes less time than finding out what it is that is called.
So the long way's answer is kept, for values of exactly these types, dtypes and shapes;
all others go the long way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any

from gpugrad.backends.base import Array

# The arrays behind the values of a call, in order; None if one is of another kind.
Accepts = Callable[[Collection[Any]], Sequence[Array] | None]


def accepts(
    kinds: Sequence[tuple[Any, Any]],
    array_type: type,
    shell: type | None = None,
    wrapped: Sequence[bool] = (),
) -> Accepts:
    """What takes as many contiguous arrays of these (NumPy dtype, shape).

    Those that are ``wrapped`` come in a ``shell``; their dtype is that of the shell.
    """
    bind = _source(tuple(wrapped) or (False,) * len(kinds))
    return bind(array_type, shell, *[part for kind in kinds for part in kind])


@lru_cache(maxsize=64)
def _source(wrapped: tuple[bool, ...]) -> Callable[..., Accepts]:
    """The code for so many values, compiled."""
    count = len(wrapped)
    arrays = "".join(f"a{i}, " for i in range(count))
    kinds = "".join(f", d{i}, s{i}" for i in range(count))
    lines = [
        f"def bind(kind, shell{kinds}):",
        "    def accepts(values):",
        f"        if len(values) != {count}: return None",
        f"        ({arrays}) = values",
    ]
    for i, inside in enumerate(wrapped):
        dtype = f"a{i}.dtype is not d{i}"
        shape = f"type(a{i}) is not kind or a{i}.shape != s{i}"
        if inside:  # in a shell are the device's own arrays: contiguous
            lines.append(f"        if type(a{i}) is not shell or {dtype}: return None")
            lines.append(f"        a{i} = a{i}.array")
            lines.append(f"        if {shape}: return None")
        else:
            more = f"{dtype} or not a{i}.flags.c_contiguous"
            lines.append(f"        if {shape} or {more}: return None")
    lines += [f"        return ({arrays})", "    return accepts"]
    scope: dict[str, Any] = {}
    exec("\n".join(lines), scope)
    bind: Callable[..., Accepts] = scope["bind"]
    return bind
