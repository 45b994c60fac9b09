"""The stack of default sessions, for ``Tensor.eval`` and ``Operation.run``."""

from __future__ import annotations

import threading
from typing import Any


class _Stack(threading.local):
    def __init__(self) -> None:
        self.sessions: list[Any] = []


_stack = _Stack()


def push(session: Any) -> None:
    """Make ``session`` this thread's default."""
    _stack.sessions.append(session)


def pop(session: Any) -> None:
    """Take ``session`` off the stack."""
    _stack.sessions.remove(session)


def default() -> Any:
    """This thread's default session, or None."""
    return _stack.sessions[-1] if _stack.sessions else None


def require(session: Any, what: str) -> Any:
    """``session``, or the default; ValueError if there is neither."""
    session = session if session is not None else default()
    if session is None:
        raise ValueError(
            f"Cannot evaluate with {what}: No default session is registered. Use "
            "`with sess.as_default()` or pass an explicit session."
        )
    return session
