"""What is said of a name that is not there: the ones that are like it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NoReturn


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence for the end of a message, with its space; "" if none is near."""
    near = difflib.get_close_matches(name, [n for n in names if n[0] != "_"])
    return f" The nearest are {', '.join(near)}." if near else ""


def missing(module: str, found: dict[str, Any]) -> Callable[[str], NoReturn]:
    """A module's ``__getattr__``: AttributeError naming the nearest public names."""

    def report(name: str) -> NoReturn:
        hint = nearest(name, found)
        raise AttributeError(f"module {module!r} has no attribute {name!r}.{hint}")

    return report
