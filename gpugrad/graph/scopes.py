"""What surrounds an op while it is built: name scope, device, control edges."""

from __future__ import annotations

import re
import sys
import threading
from types import CodeType, FrameType
from typing import Any

from gpugrad.errors import GraphError

_ROOT_NAME = re.compile(r"^[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*$")
_NESTED_NAME = re.compile(r"^[A-Za-z0-9_.\\/>-]*$")

_PACKAGE = __name__.partition(".")[0]
_PREFIX = _PACKAGE + "."


class Controller:
    """One ``control_dependencies`` block: its ops, and what was made inside it."""

    __slots__ = ("made", "ops")

    def __init__(self, ops: tuple[Any, ...]) -> None:
        self.ops = ops
        self.made: set[Any] = set()


class Surroundings(threading.local):
    """The scopes in force in this thread; a Graph owns one."""

    def __init__(self) -> None:
        self.scope = ""
        self.device = ""
        self.controllers: tuple[Controller, ...] = ()
        self.colocation: tuple[bytes, ...] = ()
        self.overrides: dict[str, str] = {}
        # While gradients() runs, all ops belong to the line that called it.
        self.origin: Origin | None = None


class Names:
    """The names of a graph, unique without regard to case."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def unique(self, name: str, mark: bool = True) -> str:
        """``name``, or ``name_1``, ``name_2``, ... if it is taken."""
        used = self._used
        key = name.lower()
        count = used.get(key)
        if count is None:
            if mark:
                used[key] = 1
            return name
        stem = key
        number = count
        while key in used:
            key = f"{stem}_{number}"
            number += 1
        if mark:
            used[stem] = number
            used[key] = 1
        return f"{name}_{number - 1}"


_checked: set[str] = set()


def check_op_name(name: str, nested: bool) -> None:
    """GraphError unless TensorFlow would accept ``name`` for a node."""
    if name in _checked and not nested:
        return
    pattern = _NESTED_NAME if nested else _ROOT_NAME
    if not isinstance(name, str) or not pattern.match(name):
        raise GraphError(
            f"'{name}' is not a valid node name: use letters, digits and the "
            "characters _ . - / > \\, and begin with a letter, a digit or a dot."
        )
    if len(_checked) < 10_000 and not nested:
        _checked.add(name)


def check_scope_name(name: str, nested: bool) -> None:
    """GraphError unless TensorFlow would accept ``name`` for a name scope."""
    pattern = _NESTED_NAME if nested else _ROOT_NAME
    if not isinstance(name, str) or not pattern.match(name):
        kind = "scope name" if nested else "root scope name"
        raise GraphError(
            f"'{name}' is not a valid {kind}: use letters, digits and the characters "
            "_ . - / > \\, and begin a root scope with a letter, a digit or a dot."
        )


class Origin:
    """A line of the user's, resolved only when a message asks for it."""

    __slots__ = ("code", "lasti")

    def __init__(self, code: CodeType, lasti: int) -> None:
        self.code, self.lasti = code, lasti

    def __str__(self) -> str:
        line = self.code.co_firstlineno
        for start, end, number in self.code.co_lines():
            if start <= self.lasti < end and number is not None:
                line = number
        return f"{self.code.co_filename}:{line}"


def user_line() -> Origin | None:
    """The innermost frame outside gpugrad."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        own = _is_own.get(module)
        if own is None:
            own = module == _PACKAGE or module.startswith(_PREFIX)
            _is_own[module] = own
        if not own:
            return Origin(frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return None


# By module name; a program has a few hundred modules.
_is_own: dict[str, bool] = {}
