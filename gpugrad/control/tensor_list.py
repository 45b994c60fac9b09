"""The value of a TensorArray while a graph runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gpugrad import shapes
from gpugrad.errors import InvalidArgumentError

_NOTHING: Final = object()
# How many newer versions are asked for an element before an older one copies all.
_STEPS: Final = 8


class TensorList:
    """Arrays by index, some of them not written: immutable, yet cheap to change.

    ``base`` holds elements as rows; ``_entries`` those that were written since. Only
    the newest version has the entries. An older one knows what its successor changed,
    and gets entries of its own when somebody reads it after all (Baker's trick). So n
    writes move n arrays, and no version ever sees a change.

    ``length`` is None for a gradient: that has zeros at every index.
    ``element`` is what is known of the elements' shape.
    """

    __slots__ = ("_entries", "_newer", "_old", "base", "element", "length")

    def __init__(
        self, length: int | None, element: shapes.Partial, base: Any = None
    ) -> None:
        self.length = length
        self.element = element
        self.base = base
        self._entries: dict[int, Any] | None = {}
        self._newer: TensorList | None = None
        self._old: tuple[int, Any] = (0, None)

    def _own(self) -> dict[int, Any]:
        """The entries of this version."""
        entries = self._entries
        if entries is None:
            changes = []
            node: TensorList = self
            while node._entries is None:
                changes.append(node._old)
                assert node._newer is not None
                node = node._newer
            entries = dict(node._entries)
            for index, old in reversed(changes):
                if old is _NOTHING:
                    entries.pop(index, None)
                else:
                    entries[index] = old
            self._entries, self._newer = entries, None
        return entries

    def get(self, index: int) -> Any:
        """The array at ``index``, None where nothing is written."""
        node = self
        steps = 0
        while True:
            entries = node._entries
            if entries is not None:
                found = entries.get(index, _NOTHING)
                break
            where, found = node._old
            if where == index:
                break
            assert node._newer is not None
            node = node._newer
            steps += 1
            if steps > _STEPS:
                self._own()
                node = self
        if found is _NOTHING:
            base = self.base
            if base is None or index >= base.shape[0]:
                return None
            found = base[index, ...]
        return found

    def set(self, index: int, value: Any, length: int | None) -> TensorList:
        """A list of ``length`` with ``value`` at ``index``; None for zeros."""
        entries = self._entries
        if entries is None:
            entries = self._own()
        new = TensorList.__new__(TensorList)
        new.length, new.element, new.base = length, self.element, self.base
        new._entries, new._newer = entries, None
        self._old = index, entries.get(index, _NOTHING)
        entries[index] = value
        self._entries, self._newer = None, new
        return new

    def written(self) -> Iterator[tuple[int, Any]]:
        """(index, array) of what is written."""
        entries = self._own()
        for index in range(0 if self.base is None else self.base.shape[0]):
            if index not in entries:
                yield index, self.base[index, ...]
        for index, value in list(entries.items()):
            if value is not None:
                yield index, value

    def resized(self, length: int) -> TensorList:
        """The first ``length`` elements; more of them are not written."""
        base = self.base
        if base is not None and base.shape[0] > length:
            base = base[:length]
        new = TensorList(length, self.element, base)
        entries = self._own()
        new._entries = {i: v for i, v in entries.items() if i < length}
        return new

    @property
    def rows(self) -> Any:
        """The array of all rows, if nothing is written beside it, else None."""
        base = self.base
        if base is None or base.shape[0] != self.length or self._own():
            return None
        return base

    def checked(self, index: int) -> int:
        """``index``; InvalidArgumentError if it is outside of the list."""
        length = self.length
        if index < 0 or (length is not None and index >= length):
            raise InvalidArgumentError(
                None,
                None,
                f"Index {index} is not in [0, {length}), the indices of a TensorArray "
                f"of size {length}.",
            )
        return index
