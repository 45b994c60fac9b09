"""Group -> CUDA kernels. No array library is needed, so all of it is tested as text."""

from __future__ import annotations

from gpugrad.backends.cupy.elementwise import make_elementwise
from gpugrad.backends.cupy.fold import make_fold
from gpugrad.backends.cupy.layout import Argument, make_nest
from gpugrad.backends.cupy.text import Lowered
from gpugrad.kir.in_place import taken
from gpugrad.kir.program import Group


def lower(group: Group, in_place: dict[int, int] | None = None) -> Lowered:
    """The kernels that do what ``group`` says; none if it writes nothing.

    ``in_place``: by buffer, the one whose memory it takes over (see Program).

    Raises TypeError for a function or dtype that CUDA lacks.
    """
    nest = make_nest(group)
    if nest is None:
        return Lowered(())
    if nest.parallel == len(nest.extents):
        one = {
            Argument(kind, number)
            for pair in taken(group, in_place or {})
            for kind, number in zip(("load", "store"), pair)
        }
        return Lowered((make_elementwise(nest, one),))
    return make_fold(nest)
