"""What the contract tests share: one run, and what an error must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gpugrad.compat.v1 as v1


def run(fetches: Any, feed: Any = None) -> Any:
    """The values in a session of its own, with all variables initialised."""
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        return session.run(fetches, feed)


def lists(fetches: Any, feed: Any = None) -> Any:
    """The values as nested lists and plain numbers."""
    return [value.tolist() for value in run(fetches, feed)]


def refused(call: Callable[[], Any], kind: type[Exception], *texts: str) -> str:
    """The message of the error that ``call`` raises, which holds all ``texts``."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    for text in texts:
        assert text in message
    return message
