"""Ops that contain graphs: calls, branches, loops, gradients written by users."""

from __future__ import annotations

from gpugrad.control import call, custom_gradient

FAMILIES = (call.family, custom_gradient.family)


def install() -> None:
    """Put the ops of this folder into the registry, once."""
    for family in FAMILIES:
        family.install()
    call.install()
