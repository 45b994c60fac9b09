"""tf.gfile: the file system under TensorFlow's names. Local paths only.

What is missing is a NotFoundError, and also the FileNotFoundError that Python raises;
what would be overwritten an AlreadyExistsError, and also FileExistsError.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from gpugrad.errors import AlreadyExistsError, NotFoundError

Path = str | os.PathLike[str]


class MissingFileError(NotFoundError, FileNotFoundError):
    """A file or folder is not there."""


class PresentFileError(AlreadyExistsError, FileExistsError):
    """A file or folder is there already."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(
            None, None, f"{error.filename}; {error.strerror}"
        ) from error
    except FileExistsError as error:
        raise PresentFileError(
            None, None, f"{error.filename}; {error.strerror}"
        ) from error


def GFile(name: Path, mode: str = "r") -> IO[Any]:
    """Python's file: text is UTF-8; "rb" and "wb" for bytes."""
    with _translated():
        return open(name, mode, encoding=None if "b" in mode else "utf-8")


FastGFile = Open = GFile


def Exists(filename: Path) -> bool:
    """True for a file or folder."""
    return os.path.exists(filename)


def IsDirectory(dirname: Path) -> bool:
    """True for a folder."""
    return os.path.isdir(dirname)


def ListDirectory(dirname: Path) -> list[str]:
    """The names in a folder, in no order."""
    with _translated():
        return os.listdir(dirname)


def MkDir(dirname: Path) -> None:
    """Make one folder."""
    with _translated():
        os.mkdir(dirname)


def MakeDirs(dirname: Path) -> None:
    """Make a folder and those above it, as far as they are not there."""
    with _translated():
        os.makedirs(dirname, exist_ok=True)


def Remove(filename: Path) -> None:
    """Delete a file."""
    with _translated():
        os.remove(filename)


def DeleteRecursively(dirname: Path) -> None:
    """Delete a folder and all below it, or a file."""
    with _translated():
        if os.path.isdir(dirname) and not os.path.islink(dirname):
            shutil.rmtree(dirname)
        else:
            os.remove(dirname)


def _refuse(path: Path, overwrite: bool) -> None:
    if not overwrite and os.path.exists(path):
        raise PresentFileError(
            None, None, f"{os.fspath(path)}; file already exists. Give overwrite=True."
        )


def Rename(oldname: Path, newname: Path, overwrite: bool = False) -> None:
    """Give a file or folder another name."""
    _refuse(newname, overwrite)
    with _translated():
        os.replace(oldname, newname)


def Copy(oldpath: Path, newpath: Path, overwrite: bool = False) -> None:
    """Copy the contents of a file."""
    _refuse(newpath, overwrite)
    with _translated():
        shutil.copyfile(oldpath, newpath)


def Glob(filename: str | Sequence[str]) -> list[str]:
    """The paths that match a pattern, or one of several."""
    patterns = [filename] if isinstance(filename, str) else filename
    return [path for pattern in patterns for path in sorted(glob.glob(pattern))]


def Stat(filename: Path) -> os.stat_result:
    """What os.stat gives."""
    with _translated():
        return os.stat(filename)


def Walk(
    top: Path, in_order: bool = True
) -> Iterator[tuple[str, list[str], list[str]]]:
    """(folder, folders in it, files in it) for ``top`` and all below it."""
    yield from os.walk(os.fspath(top), topdown=in_order)
