"""TensorFlow's own checkpoints, read: an index in LevelDB's table format, data files.

``PREFIX.index`` gives, by name, dtype, shape and place of each tensor; the bytes stand
in ``PREFIX.data-00000-of-00001`` and its like. The checksums in there (CRC-32C) are not
verified: Python has no fast one. Places and sizes are.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType, as_dtype
from gpugrad.errors import DataLossError, UnimplementedError

SUFFIX: Final = ".index"
_MAGIC: Final = 0xDB4775248B80FB57
_FOOTER: Final = 48
_REF: Final = 100  # DT_FLOAT_REF is DT_FLOAT + 100


class Entry(NamedTuple):
    """Where a tensor is."""

    dtype: DType
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


class _Bytes:
    """Bytes read from front to back; IndexError past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def varint(self) -> int:
        """A number of seven bits a byte."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if self.at + count > len(self.data):
            raise IndexError("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a protobuf message, as it is on the wire."""
    rest = _Bytes(data)
    while rest.at < len(data):
        key = rest.varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, rest.varint()
        elif kind == 1:
            yield key >> 3, rest.take(8)
        elif kind == 2:
            yield key >> 3, rest.take(rest.varint())
        elif kind == 5:
            yield key >> 3, rest.take(4)
        else:
            raise ValueError(f"a field of wire type {kind}")


def _block(data: bytes, handle: _Bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block; a key repeats the start of the one before."""
    offset, size = handle.varint(), handle.varint()
    if offset + size + 1 > len(data):
        raise IndexError("a block lies behind the end")
    if data[offset + size] != 0:
        raise UnimplementedError(None, None, "a block is compressed")
    block = data[offset : offset + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (restarts + 1)
    rest, key = _Bytes(block), b""
    while rest.at < end:
        shared, own, length = rest.varint(), rest.varint(), rest.varint()
        key = key[:shared] + rest.take(own)
        yield key, rest.take(length)


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("it is no table")
    handles = _Bytes(footer)
    handles.varint(), handles.varint()  # the meta index, which is empty
    for _, place in _block(data, handles):
        yield from _block(data, _Bytes(place))


def _entry(data: bytes) -> Entry:
    found = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: list[int] = []
    for number, value in _fields(data):
        if number == 2:
            for part, dim in _fields(value):
                if part == 2:
                    shape.append(dict(_fields(dim)).get(1, 0))
        elif number == 7:
            raise UnimplementedError(None, None, "a tensor is partitioned")
        elif number in found:
            found[number] = value
    dtype = as_dtype(found[1] % _REF)
    return Entry(dtype, tuple(shape), found[3], found[4], found[5])


class Bundle:
    """The tensors of a checkpoint that TensorFlow wrote."""

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self._prefix = os.fspath(prefix)
        self.path = Path(f"{self._prefix}{SUFFIX}")
        self.entries: dict[str, Entry] = {}
        self._shards = 1
        try:
            for key, value in _table(self.path.read_bytes()):
                if key:
                    self.entries[key.decode()] = _entry(value)
                else:
                    header = dict(_fields(value))
                    self._shards = header.get(1, 1)
                    if header.get(2, 0) != 0:
                        raise UnimplementedError(None, None, "it is big-endian")
        except UnimplementedError as error:
            text = f"The checkpoint {self.path} cannot be read: {error}."
            raise UnimplementedError(None, None, text) from None
        except (ValueError, IndexError, TypeError, struct.error) as error:
            raise self._damaged(error) from error

    def _damaged(self, what: object) -> DataLossError:
        text = f"The checkpoint {self.path} is damaged: {what}. Use an earlier one."
        return DataLossError(None, None, text)

    def read(self, name: str) -> np.ndarray:
        """The value of a tensor whose dtype NumPy can hold."""
        entry = self.entries[name]
        shard = f"{self._prefix}.data-{entry.shard:05d}-of-{self._shards:05d}"
        try:
            with open(shard, "rb") as file:
                file.seek(entry.offset)
                data = file.read(entry.size)
        except (FileNotFoundError, OverflowError) as error:
            raise self._damaged(error) from error
        count = math.prod(entry.shape)
        is_text = entry.dtype is dtypes.string
        if len(data) != entry.size or not (
            is_text or len(data) == count * entry.dtype.size
        ):
            raise self._damaged(f"{shard} does not hold all of {name!r}")
        if is_text:
            try:
                return _strings(data, count).reshape(entry.shape)
            except IndexError as error:
                raise self._damaged(error) from error
        flat = np.frombuffer(data, entry.dtype.np_dtype).copy()
        return flat.reshape(entry.shape)


def _strings(data: bytes, count: int) -> np.ndarray:
    """Lengths, a checksum of them, then the strings one behind the other."""
    rest = _Bytes(data)
    lengths = [rest.varint() for _ in range(count)]
    rest.take(4)
    found = np.empty(count, object)
    for index, length in enumerate(lengths):
        found[index] = rest.take(length)
    return found
