"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of ``path`` when the block ends well.

    What is written goes to a temporary file beside it, is forced to the disk, and then
    renamed: readers see the old file or the new one, and a writer that fails or is
    killed leaves the old one. Raises what the file system raises.
    """
    target = Path(path)
    part = target.parent / f".{target.name}.{secrets.token_hex(8)}.part"
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Put ``data`` in the place of ``path``; see written_whole."""
    with written_whole(path) as file:
        file.write(data)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where folders can be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
