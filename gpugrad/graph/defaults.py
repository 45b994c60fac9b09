"""The stack of default graphs of a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stack(threading.local):
    """The graphs of the ``as_default()`` blocks that this thread is in."""

    def __init__(self) -> None:
        self.graphs: list[Any] = []


stack = Stack()


@contextmanager
def graph_context(graph: Any) -> Iterator[Any]:
    """Make ``graph`` this thread's default."""
    stack.graphs.append(graph)
    try:
        yield graph
    finally:
        stack.graphs.pop()
