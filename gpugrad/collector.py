"""Holding Python's cycle collector back while thousands of nodes or steps are made."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# The collector walks over all young objects after this many more of them. Nodes live
# as long as their graph, so walks find nothing: at Python's own 700 they were a third
# of the time of gradients() over 100,000 ops, and at this they do not show.
_YOUNG: Final = 100_000

_lock = threading.Lock()
_inside = 0
_before = gc.get_threshold()


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Collect young objects less often inside; a collector turned off stays so."""
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = gc.get_threshold()
            if 0 < _before[0] < _YOUNG:
                gc.set_threshold(_YOUNG, *_before[1:])
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                gc.set_threshold(*_before)
