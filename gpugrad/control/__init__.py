"""Ops that contain graphs: calls, branches, loops, gradients written by users."""

from __future__ import annotations

from gpugrad.control import (
    branches,
    call,
    choice,
    custom_gradient,
    feeds,
    lists,
    loop,
)

FAMILIES = (
    branches.family,
    call.family,
    choice.family,
    custom_gradient.family,
    feeds.family,
    lists.family,
    loop.family,
)


def install() -> None:
    """Put the ops of this folder into the registry, once."""
    for family in FAMILIES:
        family.install()
    call.install()
