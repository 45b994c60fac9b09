"""FileWriter: summaries and graphs into the event files that TensorBoard reads."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from gpugrad import messages
from gpugrad.graph.graphdef import export, meta

_numbers = itertools.count()


class FileWriter:
    """Writes an event file for TensorBoard into a folder.

    It needs the extra `tensorboard`. ``graph``, if given, is written at once. Events
    reach the file when ``max_queue`` of them wait, ``flush_secs`` seconds after the
    last time, and on flush() and close(). A file that a crash cuts short is read up to
    its last whole event.
    Safe to use from several threads. As a context manager it is closed at the end.

    Raises OSError if the folder cannot be made or written.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        graph: Any = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        graph_def: Any = None,
        filename_suffix: str | None = None,
        session: Any = None,
    ) -> None:
        self._folder = Path(logdir)
        self._suffix = filename_suffix or ""
        self._max_queue = max_queue
        self._flush_secs = flush_secs
        self._lock = threading.RLock()
        self._file: Any = None
        # Tags whose metadata is written: it is of use once.
        self._described: set[str] = set()
        given = graph if graph is not None else graph_def
        if given is None and session is not None:
            given = session.graph
        first = None if given is None else _graph_event(given)
        self._open()
        if first is not None:
            self._add(first, None)

    def _open(self) -> None:
        records = messages.module("tensorboard.summary.writer.record_writer")
        self._folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = (
            f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}."
            f"{os.getpid()}.{next(_numbers)}{self._suffix}"
        )
        self._file = (self._folder / name).open("xb")
        self._records = records.RecordWriter(self._file)
        self._waiting = 0
        self._flushed_at = time.monotonic()
        first = messages.message("Event")(wall_time=now, file_version="brain.Event:2")
        self._records.write(first.SerializeToString())
        self._file.flush()

    def get_logdir(self) -> str:
        """The folder."""
        return str(self._folder)

    # --- what is written --------------------------------------------------------------

    def add_summary(self, summary: Any, global_step: Any = None) -> None:
        """Add a Summary: a message, or the bytes that a summary op gave."""
        if not hasattr(summary, "SerializeToString"):
            summary = messages.message("Summary").FromString(summary)
        event = messages.message("Event")()
        event.summary.CopyFrom(summary)
        with self._lock:
            for value in event.summary.value:
                if value.HasField("metadata"):
                    if value.tag in self._described:
                        value.ClearField("metadata")
                    self._described.add(value.tag)
            self._add(event, global_step)

    def add_graph(
        self, graph: Any, global_step: Any = None, graph_def: Any = None
    ) -> None:
        """Add a Graph (or a GraphDef) to be looked at; what a GraphDef cannot hold
        is left out of it.
        """
        event = _graph_event(graph_def if graph is None else graph)
        self._add(event, global_step)

    def add_meta_graph(self, meta_graph_def: Any, global_step: Any = None) -> None:
        """Add a MetaGraphDef."""
        data = meta.read_meta_graph(meta_graph_def).SerializeToString()
        self._add(messages.message("Event")(meta_graph_def=data), global_step)

    def add_run_metadata(
        self, run_metadata: Any, tag: str, global_step: Any = None
    ) -> None:
        """Add the RunMetadata of a step, under a tag that is not there yet."""
        with self._lock:
            if tag in self._described:
                raise ValueError(
                    "The provided tag was already used for this event type"
                )
            event = messages.message("Event")()
            event.tagged_run_metadata.tag = tag
            if hasattr(run_metadata, "SerializeToString"):
                data = run_metadata.SerializeToString()
                event.tagged_run_metadata.run_metadata = data
            self._add(event, global_step)
            self._described.add(tag)

    def add_session_log(self, session_log: Any, global_step: Any = None) -> None:
        """Add a SessionLog: that a session started or stopped."""
        event = messages.message("Event")()
        event.session_log.CopyFrom(session_log)
        self._add(event, global_step)

    def add_event(self, event: Any) -> None:
        """Add an Event as it is."""
        with self._lock:
            if self._file is None:
                raise RuntimeError("This FileWriter is closed. Call reopen() first.")
            self._records.write(event.SerializeToString())
            self._waiting += 1
            late = time.monotonic() - self._flushed_at >= self._flush_secs
            if late or self._waiting >= self._max_queue:
                self.flush()

    def _add(self, event: Any, global_step: Any) -> None:
        event.wall_time = time.time()
        if global_step is not None:
            event.step = int(global_step)
        self.add_event(event)

    # --- the file ---------------------------------------------------------------------

    def flush(self) -> None:
        """Hand everything over to the file system."""
        with self._lock:
            if self._file is not None:
                self._file.flush()
                self._waiting = 0
                self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Flush and close; nothing can be added until reopen()."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def reopen(self) -> None:
        """Go on in a new file, if closed."""
        with self._lock:
            if self._file is None:
                self._described.clear()
                self._open()

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _graph_event(graph: Any) -> Any:
    """A Graph or a GraphDef as an Event."""
    if hasattr(graph, "get_operations"):
        graph = export.graph_def(graph, add_shapes=True, lenient=True)
    if not hasattr(graph, "node"):
        raise TypeError(
            "The passed graph must be an instance of `Graph` or the deprecated "
            f"`GraphDef`, not {type(graph).__name__}."
        )
    return messages.message("Event")(graph_def=graph.SerializeToString())


class FileWriterCache:
    """One FileWriter a folder, for code that asks for it in several places."""

    _lock = threading.Lock()
    _writers: dict[str, FileWriter] = {}  # noqa: RUF012 - shared on purpose

    @classmethod
    def get(cls, logdir: str) -> FileWriter:
        """The folder's writer, made on first use."""
        with cls._lock:
            found = cls._writers.get(logdir)
            if found is None:
                found = cls._writers[logdir] = FileWriter(logdir)
            return found

    @classmethod
    def clear(cls) -> None:
        """Close all writers."""
        with cls._lock:
            for writer in cls._writers.values():
                writer.close()
            cls._writers.clear()
