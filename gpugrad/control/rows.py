"""What a TensorArray is made of: a tensor of rows that need not be written yet."""

from __future__ import annotations

from math import prod
from typing import Any

from gpugrad import dtypes, shapes
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph.constant import constant_value
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.concat import joined
from gpugrad.ops.family import OpFamily
from gpugrad.ops.rules import zeros_like
from gpugrad.ops.scatter_rows import check_indices
from gpugrad.ops.static import shape_of

family = OpFamily()

# What follows the number of rows in the shape of rows none of which is written: the
# shape of an element is known only when the first is. Nothing known is said of the
# shape of rows, so that it may change in a loop.
UNWRITTEN = (0, 0, 0)

_INDEX = Input("index", attr="Tindices", default=dtypes.int32)


def _is_unwritten(view: View) -> bool:
    return tuple(view.shape[1:]) == UNWRITTEN


def _with_elements(b: Builder, rows: View, element: tuple[int, ...]) -> View:
    """``rows`` with elements of that shape: zeros if none is written."""
    if tuple(rows.shape[1:]) == element:
        return rows
    if _is_unwritten(rows):
        return b.fill(0, rows.dtype, (rows.shape[0], *element))
    raise InvalidArgumentError(
        None,
        None,
        "The elements of a TensorArray have one shape: this one has elements of shape "
        f"{shapes.text(tuple(rows.shape[1:]))}, not {shapes.text(element)}.",
    )


# --- TensorArrayFlow ------------------------------------------------------------------

family.op(
    "TensorArrayFlow",
    "rows",
    infer=lambda op: ((op.inputs[0].dtype, None),),
    lower=lambda b, site: site.inputs[0],
)


@family.gradient("TensorArrayFlow")
def _flow_grad(op: Operation, dy: Tensor) -> Any:
    return [dy]


# --- TensorArrayRows ------------------------------------------------------------------
#
# Rows to read from, with what is known of their shape: zeros where nothing is written.


def _rows_infer(op: Operation) -> Any:
    element = op.attrs["element_shape"]
    shape = None if element is None else (op.attrs["size"], *element)
    return ((op.inputs[0].dtype, shape),)


def _rows_lower(b: Builder, site: Site) -> View:
    rows, element = site.inputs[0], site.attrs["element_shape"]
    count, size = rows.shape[0], site.attrs["size"]
    if size is not None and count != size:
        raise InvalidArgumentError(
            None, None, f"A TensorArray of size {size} was given {count} elements."
        )
    if not _is_unwritten(rows):
        if not shapes.compatible(tuple(rows.shape[1:]), element):
            raise InvalidArgumentError(
                None,
                None,
                "A TensorArray has elements of shape "
                f"{shapes.text(tuple(rows.shape[1:]))}, where "
                f"{shapes.text(element)} was expected.",
            )
        return rows
    if count == 0 and element is not None:
        element = tuple(n or 0 for n in element)
    if not shapes.is_known(element):
        raise InvalidArgumentError(
            None,
            None,
            "A TensorArray is read before anything is written to it, and the shape of "
            "its elements is not known. Give it an element_shape.",
        )
    return _with_elements(b, rows, shapes.known(element))


family.op(
    "TensorArrayRows",
    "flow",
    attrs={"element_shape": None, "size": None},
    infer=_rows_infer,
    lower=_rows_lower,
)


@family.gradient("TensorArrayRows")
def _rows_grad(op: Operation, dy: Tensor) -> Any:
    return [dy]


# --- TensorArrayPut -------------------------------------------------------------------
#
# ``index`` is a scalar, or a vector with a row of ``value`` for each of its entries.


def _put(
    xp: Any, outs: Any, rows: Any, index: Any, value: Any, shape: tuple[int, ...]
) -> None:
    check_indices(xp, index, rows.shape[0], shape)
    outs[0][...] = rows
    if value.size:
        outs[0][index] = value


def _put_lower(b: Builder, site: Site) -> View:
    rows, index, value = site.inputs
    element = tuple(value.shape[index.rank :])
    rows = _with_elements(b, rows, element)
    count, size = prod(index.shape), prod(element)
    (out,) = b.call(
        "tensor_array_put",
        _put,
        [
            b.reshape(rows, (rows.shape[0], size)),
            b.reshape(index, (count,)),
            b.reshape(value, (count, size)),
        ],
        [(rows.dtype, (rows.shape[0], size))],
        shape=tuple(index.shape) or (1,),
    )
    return b.reshape(out, (rows.shape[0], *element))


family.op(
    "TensorArrayPut",
    (Input("flow"), _INDEX, Input("value")),
    infer=lambda op: ((op.inputs[0].dtype, None),),
    lower=_put_lower,
)


@family.gradient("TensorArrayPut")
def _put_grad(op: Operation, dy: Tensor) -> Any:
    _, index, value = op.inputs
    apply = op.graph.apply
    kept = apply("TensorArrayPut", dy, index, zeros_like(op.graph, value))
    element = None
    if value._shape is not None and index._shape is not None:
        element = value._shape[len(index._shape) :]
    rows = apply("TensorArrayRows", dy, element_shape=element)
    return [kept, None, apply("GatherV2", rows, index, 0)]


# --- TensorArrayGrow ------------------------------------------------------------------


def _grow_lower(b: Builder, site: Site) -> View:
    rows, index = site.inputs
    count = max((*b.integers(index), -1)) + 1
    if count <= rows.shape[0]:
        return rows
    more = b.fill(0, rows.dtype, (count - rows.shape[0], *rows.shape[1:]))
    return joined(b, [rows, more], 0)


family.op(
    "TensorArrayGrow",
    (
        Input("flow"),
        Input("index", attr="Tindices", default=dtypes.int32, static=True),
    ),
    infer=lambda op: ((op.inputs[0].dtype, None),),
    lower=_grow_lower,
)


@family.gradient("TensorArrayGrow")
def _grow_grad(op: Operation, dy: Tensor) -> Any:
    rows = shape_of(op.inputs[0], graph=op.graph)[0]
    return [op.graph.apply("TensorArrayFlow", dy[:rows]), None]


# --- building -------------------------------------------------------------------------


def static_size(size: Any) -> int | None:
    """The number that a size is, None if it is not known before the graph runs."""
    value = constant_value(size) if isinstance(size, Tensor) else size
    return None if value is None else int(value)
