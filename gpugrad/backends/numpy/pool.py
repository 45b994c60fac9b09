"""Threads that help with the tiles of large groups."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

import numpy as np

# Does one portion of the work; the number is that of the thread, from 0.
Work = Callable[[int, Any], None]


def available() -> int:
    """How many threads can run at a time: the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Job:
    """Portions of work that several threads take from one queue until it is empty."""

    def __init__(self, work: Work, portions: Iterable[Any]) -> None:
        self._work = work
        self._portions = deque(portions)
        self._lock = threading.Lock()
        self._open = True
        self._helping = 0
        self._finished = threading.Semaphore(0)
        self._error: BaseException | None = None

    def help(self, number: int) -> None:
        """Take portions as thread ``number``, unless all is done already."""
        with self._lock:
            if not self._open:
                return
            self._helping += 1
        self._take(number)
        with self._lock:
            self._helping -= 1
            last = not self._open and self._helping == 0
        if last:
            self._finished.release()

    def do(self) -> None:
        """Take portions as thread 0, and wait for those who helped."""
        self._take(0)
        with self._lock:
            self._open = False
            wait = self._helping > 0
        if wait:
            try:
                self._finished.acquire()
            except BaseException:  # an interrupt: the others still write
                self._finished.acquire()
                raise
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # whose traceback holds this frame

    def _take(self, number: int) -> None:
        take, work = self._portions.popleft, self._work
        try:
            while True:
                try:
                    portion = take()
                except IndexError:
                    return
                work(number, portion)
        except BaseException as error:  # noqa: BLE001 - raised again by do()
            self._portions.clear()
            self._error = error


class Pool:
    """``size`` threads, the caller's included. The others start at the first use.

    One job at a time: whoever comes while another thread's job runs does all portions
    alone.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._busy = threading.Lock()
        self._queues: list[SimpleQueue[_Job]] = []

    def run(self, work: Work, portions: Iterable[Any]) -> None:
        """``work(thread, portion)`` for every portion, in any order; an error ends it.

        The error is raised here, with the traceback of the thread where it arose.
        """
        if not self._busy.acquire(blocking=False):
            for portion in portions:
                work(0, portion)
            return
        try:
            if not self._queues:
                self._start()
            job = _Job(work, portions)
            for queue in self._queues:
                queue.put(job)
            job.do()
        finally:
            self._busy.release()

    def _start(self) -> None:
        for number in range(1, self.size):
            queue: SimpleQueue[_Job] = SimpleQueue()
            threading.Thread(
                target=_serve,
                args=(queue, number),
                name=f"gpugrad-tiles-{number}",
                daemon=True,
            ).start()
            self._queues.append(queue)


def _serve(queue: SimpleQueue[_Job], number: int) -> None:
    np.seterr(all="ignore")  # of this thread alone
    while True:
        # Nothing is kept while waiting: not the last job, and with it its arrays.
        queue.get().help(number)


_pools: dict[int, Pool] = {}
_lock = threading.Lock()


def pool(size: int) -> Pool:
    """The pool of ``size`` threads, shared by the whole process."""
    with _lock:
        found = _pools.get(size)
        if found is None:
            found = _pools[size] = Pool(size)
        return found


def _forget() -> None:
    """After a fork: the threads stayed with the parent, and locks as they were."""
    global _lock
    _pools.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
