"""ArgMax and ArgMin: where along an axis the extremum stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad import dtypes, shapes
from gpugrad.graph import constant
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily, axes_input

family = OpFamily()

_ORDERED = (*rules.REAL, dtypes.bool_)

# --- ArgMax, ArgMin -------------------------------------------------------------------


def _infer_arg(op: Any) -> Any:
    x, dimension = op.inputs
    rules.require_dtype(op, 0, _ORDERED)
    rules.require_dtype(op, 1, (dtypes.int32, dtypes.int64, dtypes.int16))
    rules.require_rank(dimension._shape, 0)
    axis = constant.constant_value(dimension)
    output = op.attrs["output_type"]
    if x._shape is None:
        return ((output, None),)
    rank = len(x._shape)
    if axis is None:
        return ((output, (None,) * (rank - 1)),)
    if not -rank <= axis < rank:
        raise ValueError(
            f"Dimension ({int(axis)}) must be in the range [{-rank}, {rank}), where "
            f"{rank} is the number of dimensions in the input."
        )
    place = int(axis) % rank
    return ((output, x._shape[:place] + x._shape[place + 1 :]),)


def _lower_arg(name: str) -> Callable[..., View]:
    least = name == "argmin"

    def lower(b: Builder, site: Site) -> View:
        x, dimension = site.inputs
        axis = shapes.axis(b.integers(dimension)[0], x.rank, "dimension")
        if x.shape[axis] == 0:
            shape = list(x.shape)
            raise ValueError(f"Reduction axis {axis} is empty in shape {shape}.")
        shape = x.shape[:axis] + x.shape[axis + 1 :]
        (out,) = b.call(
            name, _extremum, (x,), ((site.dtypes[0], shape),), axis=axis, least=least
        )
        return out

    return lower


def _extremum(xp: Any, outs: Any, x: Any, axis: int, least: bool) -> None:
    if x.dtype.kind in "fV":
        # As in TensorFlow a NaN is never the extremum; NumPy takes the first one.
        x = xp.where(xp.isnan(x), x.dtype.type("inf" if least else "-inf"), x)
    outs[0][...] = (xp.argmin if least else xp.argmax)(x, axis=axis)


for _type, _name in (("ArgMax", "argmax"), ("ArgMin", "argmin")):
    family.op(
        _type,
        (Input("input"), axes_input("dimension")),
        attrs={"output_type": dtypes.int64},
        infer=_infer_arg,
        lower=_lower_arg(_name),
    )


@family.gradient("ArgMax", "ArgMin")
def _arg_grad(op: Any, dy: Any) -> Any:
    return [None, None]


def _arg(op_type: str, x: Any, axis: Any, output_type: Any, name: Any) -> Any:
    axis = 0 if axis is None else axis
    output = dtypes.as_dtype(output_type)
    return apply_op(op_type, x, axis, output_type=output, name=name)


def argmax(
    input: Any,
    axis: Any = None,
    name: str | None = None,
    dimension: Any = None,
    output_type: Any = dtypes.int64,
) -> Any:
    """The index of the greatest element along one axis, 0 by default; the first if
    several are equal."""
    axis = rules.one_of(axis, dimension, "axis", "dimension")
    return _arg("ArgMax", input, axis, output_type, name)


def argmin(
    input: Any,
    axis: Any = None,
    name: str | None = None,
    dimension: Any = None,
    output_type: Any = dtypes.int64,
) -> Any:
    """The index of the least element along one axis, 0 by default; the first if
    several are equal."""
    axis = rules.one_of(axis, dimension, "axis", "dimension")
    return _arg("ArgMin", input, axis, output_type, name)
