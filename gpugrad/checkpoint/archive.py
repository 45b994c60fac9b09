"""The file of a checkpoint: a zip of NumPy arrays, which ``numpy.load`` opens too.

An entry ``NAME.npy`` a tensor, and ``manifest.json``, which gives each tensor's dtype
and shape. NumPy's format has no bfloat16 and stores strings by pickling them, so a
bfloat16 tensor is kept as its bits (uint16) and a string tensor as the bytes of all its
strings, whose lengths stand in the manifest. Nothing in here is ever pickled, and the
checksum of each entry is verified before its bytes are looked at.
"""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from gpugrad import dtypes
from gpugrad.checkpoint import bundle
from gpugrad.checkpoint.bundle import Bundle
from gpugrad.dtypes import DType
from gpugrad.errors import DataLossError, NotFoundError, UnimplementedError
from gpugrad.files import written_whole

SUFFIX: Final = ".npz"
_MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
# What zipfile raises for bytes that are no zip, for an entry that is missing, and for
# flags and methods that we never write.
_DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError,
    RuntimeError,
)  # fmt: skip


def archive_path(prefix: str | os.PathLike[str]) -> Path:
    """The file of the checkpoint ``prefix``, such as "model.ckpt-100"."""
    return Path(f"{os.fspath(prefix)}{SUFFIX}")


def checkpoint_file(prefix: Any) -> Path | None:
    """The file that a checkpoint begins with, ours or TensorFlow's; None without."""
    index = Path(f"{os.fspath(prefix)}{bundle.SUFFIX}")
    return next((p for p in (archive_path(prefix), index) if p.is_file()), None)


def checkpoint_exists(checkpoint_prefix: Any) -> bool:
    """True if there is a checkpoint with that path prefix, ours or TensorFlow's."""
    return checkpoint_file(checkpoint_prefix) is not None


def write(prefix: str, tensors: Mapping[str, tuple[DType, np.ndarray]]) -> None:
    """Write a checkpoint, or leave the one that is there.

    The tensors are written one after the other, without copies of them all.
    """
    manifest: dict[str, Any] = {}
    with written_whole(archive_path(prefix)) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, (dtype, value) in tensors.items():
                array = np.asarray(value)
                entry = {"dtype": dtype.name, "shape": list(array.shape)}
                if dtype is dtypes.string:
                    strings = array.reshape(-1).tolist()
                    entry["lengths"] = [len(s) for s in strings]
                    array = np.frombuffer(b"".join(strings), np.uint8)
                elif dtype is dtypes.bfloat16:
                    array = np.ascontiguousarray(array).view(np.uint16)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
                    np.lib.format.write_array(out, array, allow_pickle=False)
                manifest[name] = entry
            # Entries opened so carry no time: equal tensors make equal files.
            with archive.open(_MANIFEST, "w") as out:
                text = json.dumps({"format": _FORMAT, "tensors": manifest})
                out.write(text.encode())


class CheckpointReader:
    """Reads a checkpoint, one tensor at a time; one of TensorFlow's too.

    Raises NotFoundError if there is no such checkpoint or tensor, DataLossError if the
    file is damaged. Safe to use from several threads; each read opens the file.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self._path = archive_path(prefix)
        self._bundle: Bundle | None = None
        if not self._path.is_file():
            if not checkpoint_exists(prefix):
                raise NotFoundError(
                    None,
                    None,
                    f"There is no checkpoint {os.fspath(prefix)!r}: {self._path} is "
                    "not a file.",
                )
            self._bundle = Bundle(prefix)
            self._path = self._bundle.path
            self._tensors: dict[str, Any] = {
                name: {"dtype": entry.dtype.name, "shape": list(entry.shape)}
                for name, entry in self._bundle.entries.items()
            }
            return
        try:
            found = json.loads(self._read(_MANIFEST))
            number, self._tensors = found["format"], dict(found["tensors"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error
        if number != _FORMAT:
            raise UnimplementedError(
                None,
                None,
                f"{self._path} is of format {number}; this version of gpugrad reads "
                f"format {_FORMAT}.",
            )

    def _read(self, entry: str) -> bytes:
        """An entry's bytes, once its checksum has been verified."""
        try:
            with zipfile.ZipFile(self._path) as archive:
                return archive.read(entry)
        except _DAMAGED as error:
            raise self._damaged(error) from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: an offset that cannot be
                raise
            raise self._damaged(error) from error

    def _damaged(self, what: object) -> DataLossError:
        text = f"The checkpoint {self._path} is damaged: {what}. Use an earlier one."
        return DataLossError(None, None, text)

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """The shape of each tensor, by name."""
        return {name: list(e["shape"]) for name, e in self._tensors.items()}

    def get_variable_to_dtype_map(self) -> dict[str, DType]:
        """The dtype of each tensor, by name."""
        return {n: dtypes.as_dtype(e["dtype"]) for n, e in self._tensors.items()}

    def has_tensor(self, tensor_str: str) -> bool:
        """True if there is a tensor of that name."""
        return tensor_str in self._tensors

    def get_tensor(self, tensor_str: str) -> Any:
        """The value of a tensor: an array that belongs to the caller."""
        entry = self._tensors.get(tensor_str)
        if entry is None:
            raise NotFoundError(
                None, None, f"Key {tensor_str} not found in checkpoint {self._path}."
            )
        dtype, shape = dtypes.as_dtype(entry["dtype"]), tuple(entry["shape"])
        if dtype.np_dtype is None:
            raise UnimplementedError(
                None,
                None,
                f"Tensor {tensor_str!r} in {self._path} is {dtype.name}, which needs "
                "the package ml_dtypes. Install it: pip install ml_dtypes.",
            )
        if self._bundle is not None:
            return self._bundle.read(tensor_str)
        data = io.BytesIO(self._read(f"{tensor_str}.npy"))
        try:
            array: np.ndarray = np.lib.format.read_array(data, allow_pickle=False)
        except ValueError as error:
            raise self._damaged(error) from error
        if dtype is dtypes.string:
            array = _strings(array.tobytes(), entry["lengths"]).reshape(shape)
        elif dtype is dtypes.bfloat16:
            array = array.view(dtype.np_dtype)
        if array.shape != shape or array.dtype != dtype.np_dtype:
            raise self._damaged(f"{tensor_str} is {array.dtype} {array.shape}")
        return array

    def debug_string(self) -> bytes:
        """A line a tensor: name, dtype, shape."""
        lines = [
            f"{name} (DT_{e['dtype'].upper()}) {e['shape']}"
            for name, e in sorted(self._tensors.items())
        ]
        return "\n".join(lines).encode()


def _strings(data: bytes, lengths: list[int]) -> np.ndarray:
    found = np.empty(len(lengths), object)
    start = 0
    for index, length in enumerate(lengths):
        found[index] = data[start : start + length]
        start += length
    return found
