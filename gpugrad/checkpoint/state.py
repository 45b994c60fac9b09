"""The file ``checkpoint``: which checkpoints of a folder there are, as text.

It is TensorFlow's CheckpointState message in protobuf's text format.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from gpugrad.checkpoint.archive import (
    archive_path,
    checkpoint_exists,
    checkpoint_file,
)
from gpugrad.errors import DataLossError
from gpugrad.files import write_whole

DEFAULT_NAME: Final = "checkpoint"
_FIELD: Final = re.compile(r'\s*(\w+)\s*:\s*(?:"((?:[^"\\\n]|\\.)*)"|([-+.\w]+))')
_ESCAPE: Final = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))")
_LETTERS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class CheckpointState:
    """What a folder's ``checkpoint`` file says; paths as they are to be opened.

    ``all_model_checkpoint_timestamps`` are seconds since 1970, one a path.
    """

    def __init__(
        self,
        model_checkpoint_path: str = "",
        all_model_checkpoint_paths: Sequence[str] = (),
        all_model_checkpoint_timestamps: Sequence[float] = (),
        last_preserved_timestamp: float | None = None,
    ) -> None:
        self.model_checkpoint_path = model_checkpoint_path
        self.all_model_checkpoint_paths = list(all_model_checkpoint_paths)
        self.all_model_checkpoint_timestamps = list(all_model_checkpoint_timestamps)
        self.last_preserved_timestamp = last_preserved_timestamp

    def __str__(self) -> str:
        lines = [f"model_checkpoint_path: {_quoted(self.model_checkpoint_path)}"]
        lines += [
            f"all_model_checkpoint_paths: {_quoted(path)}"
            for path in self.all_model_checkpoint_paths
        ]
        lines += [
            f"all_model_checkpoint_timestamps: {stamp!r}"
            for stamp in self.all_model_checkpoint_timestamps
        ]
        if self.last_preserved_timestamp is not None:
            lines.append(f"last_preserved_timestamp: {self.last_preserved_timestamp!r}")
        return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A string in protobuf's text format."""
    shown = []
    for byte in text.encode():
        if byte in b'"\\':
            shown.append(f"\\{chr(byte)}")
        elif 32 <= byte < 127:
            shown.append(chr(byte))
        else:
            shown.append(f"\\{byte:03o}")
    return f'"{"".join(shown)}"'


def _unquoted(text: str) -> str:
    def character(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if octal is not None:
            return bytes([int(octal, 8) & 255])
        if hexadecimal is not None:
            return bytes([int(hexadecimal, 16)])
        return _LETTERS.get(letter, letter)

    return _ESCAPE.sub(character, text.encode()).decode()


def _fields(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    at = 0
    while text[at:].strip():
        match = _FIELD.match(text, at)
        if match is None:
            line = text.count("\n", 0, at) + 1
            raise DataLossError(
                None, None, f"{path} is not a checkpoint state file: see line {line}."
            )
        name, quoted, plain = match.groups()
        yield name, plain if quoted is None else _unquoted(quoted)
        at = match.end()


def _folder(checkpoint_dir: Any) -> Path:
    return Path(checkpoint_dir or ".")


def get_checkpoint_state(
    checkpoint_dir: Any, latest_filename: str | None = None
) -> CheckpointState | None:
    """What the ``checkpoint`` file of a folder says, or None without one.

    Paths that it gives relative to the folder have the folder put before them.
    Raises DataLossError if it is no such file.
    """
    folder = _folder(checkpoint_dir)
    path = folder / (latest_filename or DEFAULT_NAME)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    found = CheckpointState()
    for name, value in _fields(text, path):
        if name == "model_checkpoint_path":
            found.model_checkpoint_path = str(folder / value)
        elif name == "all_model_checkpoint_paths":
            found.all_model_checkpoint_paths.append(str(folder / value))
        elif name == "all_model_checkpoint_timestamps":
            found.all_model_checkpoint_timestamps.append(float(value))
        elif name == "last_preserved_timestamp":
            found.last_preserved_timestamp = float(value)
    if not found.model_checkpoint_path:
        raise DataLossError(None, None, f"{path} names no checkpoint.")
    return found


def update_checkpoint_state(
    save_dir: Any,
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Sequence[str] | None = None,
    latest_filename: str | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
    relative: bool = False,
) -> None:
    """Write the ``checkpoint`` file of ``save_dir``.

    Paths below the folder are written relative to it where they were given relative
    to the working directory, or, with ``relative``, always; so the folder can move.
    """
    folder = _folder(save_dir)
    paths = list(all_model_checkpoint_paths or ())
    if model_checkpoint_path not in paths:
        paths.append(model_checkpoint_path)
    stamps = list(all_model_checkpoint_timestamps or ())
    if stamps and len(stamps) != len(paths):
        raise ValueError(
            f"There are {len(paths)} checkpoint paths and {len(stamps)} timestamps; "
            "give one each."
        )
    state = CheckpointState(
        _shown(model_checkpoint_path, folder, relative),
        [_shown(path, folder, relative) for path in paths],
        stamps or [time.time()] * len(paths),
        last_preserved_timestamp,
    )
    write_whole(folder / (latest_filename or DEFAULT_NAME), str(state).encode())


def _shown(path: str, folder: Path, relative: bool) -> str:
    if Path(path).is_absolute() and not relative:
        return path
    where = Path(path)
    if where.is_absolute() != folder.is_absolute():
        where, folder = where.absolute(), folder.absolute()
    return str(where.relative_to(folder)) if where.is_relative_to(folder) else path


def latest_checkpoint(
    checkpoint_dir: Any, latest_filename: str | None = None
) -> str | None:
    """The path prefix of a folder's latest checkpoint, None if there is none."""
    state = get_checkpoint_state(checkpoint_dir, latest_filename)
    if state is None or not checkpoint_exists(state.model_checkpoint_path):
        return None
    return state.model_checkpoint_path


def get_checkpoint_mtimes(checkpoint_prefixes: Sequence[str]) -> list[float]:
    """When each of the checkpoints that exist was written, in seconds since 1970."""
    files = [checkpoint_file(prefix) for prefix in checkpoint_prefixes]
    return [file.stat().st_mtime for file in files if file is not None]


def remove_checkpoint(checkpoint_prefix: str, meta_graph_suffix: str = "meta") -> None:
    """Delete the files of a checkpoint; those that are gone already do not matter."""
    archive_path(checkpoint_prefix).unlink(missing_ok=True)
    Path(f"{checkpoint_prefix}.{meta_graph_suffix}").unlink(missing_ok=True)
