"""Compiled kernels on disk, by a digest of everything that made them."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from gpugrad.files import write_whole

_log = logging.getLogger("gpugrad")
_MAGIC: Final = b"gpugrad cubin 1\n"
_SUFFIX: Final = ".cubin"
_PART: Final = ".part"  # what gpugrad.files writes before it renames
_ABANDONED_S: Final = 3600.0
DEFAULT_LIMIT: Final = 256 << 20


def default_folder() -> Path:
    """The user's cache folder for gpugrad."""
    if os.name == "nt":
        root = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "gpugrad" / "cubins"


class CubinCache:
    """A folder of cubins that any number of processes may share.

    An entry is a checksum and the bytes. Entries are written to a temporary file and
    renamed, so a reader sees all of one or nothing; an entry whose checksum does not
    fit is removed and counts as missing. Beyond ``limit_bytes`` the entries unused for
    longest go. A folder that cannot be written costs recompiling, and is logged once.
    """

    def __init__(self, folder: Path, limit_bytes: int = DEFAULT_LIMIT) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._writable = True

    def _path(self, key: str) -> Path:
        return self._folder / (key + _SUFFIX)

    def get(self, key: str) -> bytes | None:
        """The bytes under ``key``, None if they are missing or damaged."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        start = len(_MAGIC) + sha256().digest_size
        cubin = data[start:]
        if data[:start] != _MAGIC + sha256(cubin).digest():
            _log.warning("The cached kernel %s is damaged; compiling it again.", path)
            with suppress(OSError):  # somebody else's folder: it stays damaged
                path.unlink()
            return None
        # Used now, so it goes last when room is made. Reading is all that is needed of
        # a cache that belongs to somebody else.
        with suppress(OSError):
            os.utime(path)
        return cubin

    def put(self, key: str, cubin: bytes) -> None:
        """Keep ``cubin`` under ``key``."""
        if not self._writable:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(key), _MAGIC + sha256(cubin).digest() + cubin)
            self._make_room()
        except OSError as error:
            self._writable = False
            _log.warning(
                "Compiled kernels cannot be kept in %s (%s), so each process compiles "
                "them again. Set GPUGRAD_CACHE_DIR to a folder that can be written.",
                self._folder,
                error,
            )

    def _make_room(self) -> None:
        entries = []
        for path in self._folder.iterdir():
            try:
                found = path.stat()
            except FileNotFoundError:
                continue  # another process made room
            if path.suffix == _PART and time.time() - found.st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)  # of a process that was killed
            if path.suffix != _SUFFIX:
                continue
            entries.append((found.st_mtime_ns, found.st_size, path))
        excess = sum(size for _, size, _ in entries) - self._limit_bytes
        for _, size, path in sorted(entries):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
