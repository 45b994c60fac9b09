"""Coordinator: threads that stop together, and tell why."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gpugrad.errors import OutOfRangeError
from gpugrad.graph import build
from gpugrad.graph.function_graph import outermost
from gpugrad.graph.variable import GraphKeys


class Coordinator:
    """Lets threads ask each other to stop, and wait for each other.

    A thread works while ``should_stop()`` is False. request_stop(), with an exception
    or without, makes it True for all; join() waits for the threads and raises the first
    exception. OutOfRangeError, the end of the input, stops without being raised, as
    do ``clean_stop_exception_types``. Safe to use from several threads.
    """

    def __init__(self, clean_stop_exception_types: Any = None) -> None:
        kinds = (OutOfRangeError,)
        if clean_stop_exception_types is not None:
            kinds = tuple(clean_stop_exception_types)
        self._clean: tuple[type[BaseException], ...] = kinds
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._threads: set[threading.Thread] = set()
        self._joined = False

    def request_stop(self, ex: Any = None) -> None:
        """Ask all threads to stop. ``ex``, an exception or what sys.exc_info() gives,
        is what join() raises, if it is the first.
        """
        error = ex[1] if isinstance(ex, tuple) else ex
        with self._lock:
            if error is not None and self._joined:
                raise error
            if not self._stop.is_set():
                if error is not None and not isinstance(error, self._clean):
                    self._error = error
                self._stop.set()

    def should_stop(self) -> bool:
        """True once somebody has asked to stop."""
        return self._stop.is_set()

    def clear_stop(self) -> None:
        """Forget that somebody has asked to stop, and the exception."""
        with self._lock:
            self._stop.clear()
            self._error = None
            self._joined = False

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Wait until somebody asks to stop, or ``timeout`` seconds; whether one did."""
        return self._stop.wait(timeout)

    @contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """A block whose exception becomes a request to stop."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - join() raises it
            self.request_stop(error)

    def register_thread(self, thread: threading.Thread) -> None:
        """Let join() wait for ``thread``."""
        with self._lock:
            self._threads.add(thread)

    @property
    def joined(self) -> bool:
        """True after join()."""
        return self._joined

    def raise_requested_exception(self) -> None:
        """Raise the exception that somebody stopped with, if one did."""
        if self._error is not None:
            raise self._error

    def join(
        self,
        threads: Sequence[threading.Thread] | None = None,
        stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:
        """Wait for the registered threads and ``threads``, then raise the exception.

        After a request to stop they have ``stop_grace_period_secs`` seconds; then
        RuntimeError names those that still run, unless ``ignore_live_threads``.
        """
        with self._lock:
            waiting = self._threads.union(threads or ())
        while any(t.is_alive() for t in waiting) and not self._stop.wait(0.05):
            pass
        until = time.monotonic() + stop_grace_period_secs
        for thread in waiting:
            thread.join(max(until - time.monotonic(), 0.0))
        live = sorted(t.name for t in waiting if t.is_alive())
        with self._lock:
            self._joined = True
            self._threads.clear()
        self.raise_requested_exception()
        if live and not ignore_live_threads:
            raise RuntimeError(
                "Coordinator stopped with threads still running: " + " ".join(live)
            )


def start_queue_runners(
    sess: Any = None,
    coord: Coordinator | None = None,
    daemon: bool = True,
    start: bool = True,
    collection: str = GraphKeys.QUEUE_RUNNERS,
) -> list[threading.Thread]:
    """The threads that fill queues: none, for gpugrad has no queues.

    Accepted for scripts that feed their data and call this all the same. Raises
    ValueError if the collection holds queue runners: use tf.data instead.
    """
    graph = sess.graph if sess is not None else outermost(build.get_default_graph())
    found = graph.get_collection(collection)
    if found:
        raise ValueError(
            f"The collection {collection!r} holds {len(found)} queue runners, which "
            "gpugrad cannot run. Read the data with tf.data."
        )
    return []
