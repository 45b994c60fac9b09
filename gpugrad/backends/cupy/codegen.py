"""Group -> CUDA kernels. No array library is needed, so all of it is tested as text."""

from __future__ import annotations

from gpugrad.backends.cupy.elementwise import make_elementwise
from gpugrad.backends.cupy.fold import make_fold
from gpugrad.backends.cupy.layout import make_nest
from gpugrad.backends.cupy.text import Lowered
from gpugrad.kir.program import Group


def lower(group: Group) -> Lowered:
    """The kernels that do what ``group`` says; none if it writes nothing.

    Raises TypeError for a function or dtype that CUDA lacks.
    """
    nest = make_nest(group)
    if nest is None:
        return Lowered(())
    if nest.parallel == len(nest.extents):
        return Lowered((make_elementwise(nest),))
    return make_fold(nest)
