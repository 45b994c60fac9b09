"""Every public name says what it is, in a sentence of its own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from gpugrad import api


def public() -> Iterator[tuple[str, Any]]:
    """Each public function and class, under each of its names."""
    for flavour in ("gg", "v1"):
        for place in ["", *api.places()]:
            for name, value in api.names(flavour, place).items():
                if inspect.isfunction(value) or inspect.isclass(value):
                    yield f"{flavour}.{place}.{name}".replace("..", "."), value


NAMES = dict(public())


def says_nothing(name: str, value: Any) -> bool:
    """True for a docstring that is missing, or repeats the name."""
    text = inspect.cleandoc(value.__doc__ or "")
    first = text.split("\n")[0]
    bare = first.lower().replace("_", "").replace(" ", "").strip(".")
    return len(first.split()) < 2 or bare == name.rpartition(".")[2].replace("_", "")


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name, value in NAMES.items() if says_nothing(name, value)] == []


@pytest.mark.parametrize("text", [None, "", "Relu.", "relu"])
def test_the_check_can_fail(text: str | None) -> None:
    def relu() -> None: ...

    relu.__doc__ = text
    assert says_nothing("gg.nn.relu", relu)
