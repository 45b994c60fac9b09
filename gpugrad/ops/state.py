"""Variables: handles, reads, assignments, and scattered updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.errors import InvalidArgumentError, OutOfRangeError
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import Variable, handle_shape
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Handle, Site
from gpugrad.kir.space import View
from gpugrad.ops import variable_rows
from gpugrad.ops.family import OpFamily, same_as_input

family = OpFamily()

_HANDLE = Input("resource", attr=None, dtype=dtypes.resource)
_VALUE = Input("value", attr="dtype")
_INDICES = Input("indices", attr="Tindices", default=dtypes.int32)

# --- VarHandleOp --------------------------------------------------------------------


def _infer_handle(op: Any) -> Any:
    return ((dtypes.resource, ()),)


# A handle makes no array, so it has no lowering: the planner gives its readers a
# Handle, whose slot is this node's identity.
family.op(
    "VarHandleOp",
    attrs={"dtype": ..., "shape": None, "shared_name": "", "container": ""},
    infer=_infer_handle,
    stateful=True,
)

# --- ReadVariableOp -----------------------------------------------------------------


def _infer_read(op: Any) -> Any:
    return ((op.attrs["dtype"], handle_shape(op.inputs[0])),)


def _lower_read(b: Builder, site: Site) -> View:
    return b.read(site.inputs[0])


family.op(
    "ReadVariableOp",
    [_HANDLE],
    attrs={"dtype": ...},
    infer=_infer_read,
    lower=_lower_read,
    stateful=True,
)


@family.gradient("ReadVariableOp", slices=True)
def _read_grad(op: Operation, dy: Any) -> Any:
    return dy


# --- VarIsInitializedOp, VariableShape ------------------------------------------------


def _lower_is_initialized(b: Builder, site: Site) -> View:
    handle = site.inputs[0]
    known = handle.shape is not None or handle.slot in b.state
    return b.literal(np.array(known), dtypes.bool_)


family.op(
    "VarIsInitializedOp",
    [_HANDLE],
    infer=lambda op: ((dtypes.bool_, ()),),
    lower=_lower_is_initialized,
    stateful=True,
)


def _infer_shape(op: Any) -> Any:
    shape = handle_shape(op.inputs[0])
    return ((op.attrs["out_type"], (None if shape is None else len(shape),)),)


def _lower_shape(b: Builder, site: Site) -> View:
    shape = b.read(site.inputs[0]).shape
    return b.literal(np.array(shape, site.dtypes[0].np_dtype), site.dtypes[0])


def _shape_value(op: Any, inputs: list[Any]) -> Any:
    shape = handle_shape(op.inputs[0])
    if shape is None:
        return None
    kind = op.attrs["out_type"].np_dtype if shapes.is_known(shape) else object
    return [np.array(shape, kind)]


family.op(
    "VariableShape",
    [_HANDLE],
    attrs={"out_type": dtypes.int32},
    infer=_infer_shape,
    lower=_lower_shape,
    value=_shape_value,
    stateful=True,
)

# --- AssignVariableOp, AssignAddVariableOp, AssignSubVariableOp -----------------------


def _infer_assign(op: Any) -> Any:
    handle, value = op.inputs
    if op.attrs.get("validate_shape", True):
        shapes.merge(handle_shape(handle), value._shape)
    return ()


def _same_shape(handle: Handle, value: View) -> None:
    if handle.shape is not None and handle.shape != value.shape:
        raise InvalidArgumentError(
            None,
            None,
            f"Trying to assign to variable {handle.name!r} with tensor with wrong "
            "shape. "
            f"Expected {list(handle.shape)} got {list(value.shape)}",
        )


def _lower_assign(b: Builder, site: Site) -> Sequence[View]:
    handle, value = site.inputs
    if site.attrs["validate_shape"]:
        _same_shape(handle, value)
    b.assign(handle, value)
    return ()


family.op(
    "AssignVariableOp",
    [_HANDLE, _VALUE],
    attrs={"validate_shape": True},
    infer=_infer_assign,
    lower=_lower_assign,
    stateful=True,
)


def _lower_update(fn: Callable[..., scalar.Expr]) -> Callable[..., Sequence[View]]:
    def lower(b: Builder, site: Site) -> Sequence[View]:
        handle, value = site.inputs
        old = b.read(handle)
        _same_shape(handle._replace(shape=old.shape), value)
        b.assign(handle, b.map(fn, old, value))
        return ()

    return lower


for _type, _fn in (
    ("AssignAddVariableOp", scalar.add),
    ("AssignSubVariableOp", scalar.sub),
):
    family.op(
        _type,
        [_HANDLE, _VALUE],
        infer=_infer_assign,
        lower=_lower_update(_fn),
        stateful=True,
    )

family.no_gradient(
    "VarIsInitializedOp",
    "VariableShape",
    "AssignVariableOp",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
)

# --- ResourceGather -------------------------------------------------------------------


def _infer_gather(op: Any) -> Any:
    params, indices = handle_shape(op.inputs[0]), op.inputs[1]._shape
    if not op.inputs[1].dtype.is_integer:
        raise TypeError(
            "Value passed to parameter 'indices' has DataType "
            f"{op.inputs[1].dtype.name} not in list of allowed values: int32, int64."
        )
    shape = None if params is None or indices is None else indices + params[1:]
    return ((op.attrs["dtype"], shape),)


def _lower_gather(b: Builder, site: Site) -> Sequence[View]:
    return variable_rows.add_gather_rows(b, b.read(site.inputs[0]), site.inputs[1])


family.op(
    "ResourceGather",
    [_HANDLE, _INDICES],
    attrs={"dtype": ..., "batch_dims": 0, "validate_indices": True},
    infer=_infer_gather,
    lower=_lower_gather,
    stateful=True,
)


@family.gradient("ResourceGather")
def _gather_grad(op: Operation, dy: Tensor) -> Any:
    graph = op.graph
    handle, indices = op.inputs
    shape = handle_shape(handle)
    if shapes.is_known(shape):
        dense = graph.convert(np.array(shape, np.int32))
    else:
        dense = graph.apply("VariableShape", handle)
    size = graph.apply("Size", indices, out_type=dtypes.int32)
    rows = graph.apply("ExpandDims", size, 0)
    sizes = graph.apply("ConcatV2", [rows, dense[1:]], 0, name="concat")
    values = graph.apply("Reshape", dy, sizes)
    return [IndexedSlices(values, graph.apply("Reshape", indices, rows), dense), None]


# --- ResourceScatter... ---------------------------------------------------------------


def _infer_scatter(op: Any) -> Any:
    params, indices = handle_shape(op.inputs[0]), op.inputs[1]._shape
    updates = op.inputs[2]._shape
    if updates != () and params is not None and indices is not None:
        wanted = indices + params[1:]
        if not shapes.compatible(wanted, updates):
            raise ValueError(
                "Must have updates.shape = indices.shape + params.shape[1:] or "
                f"updates.shape = [], got updates.shape {shapes.text(updates)}, "
                f"indices.shape {shapes.text(indices)}, params.shape "
                f"{shapes.text(params)}"
            )
    return ()


def _infer_scatter_nd(op: Any) -> Any:
    params, indices = handle_shape(op.inputs[0]), op.inputs[1]._shape
    updates = op.inputs[2]._shape
    if params is not None and indices is not None and indices[-1] is not None:
        if indices[-1] > len(params):
            raise ValueError(
                f"The last dimension of indices ({indices[-1]}) must not be greater "
                "than "
                f"the rank of the variable ({len(params)})"
            )
        shapes.merge(indices[:-1] + params[indices[-1] :], updates)
    return ()


def _lower_scatter(how: str, nd: bool) -> Callable[..., Sequence[View]]:
    def lower(b: Builder, site: Site) -> Sequence[View]:
        handle, indices, updates = site.inputs
        new = variable_rows.add_scatter(b, b.read(handle), indices, updates, how, nd)
        b.assign(handle, new)
        return ()

    return lower


for _kind, _how in {
    "Update": "set",
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Div": "divide",
    "Max": "maximum",
    "Min": "minimum",
    "NdUpdate": "set",
    "NdAdd": "add",
    "NdSub": "subtract",
    "NdMax": "maximum",
    "NdMin": "minimum",
}.items():
    _nd = _kind.startswith("Nd")
    _first = Input("ref", attr=None, dtype=dtypes.resource) if _nd else _HANDLE
    family.op(
        f"ResourceScatter{_kind}",
        [_first, _INDICES, Input("updates", attr="T" if _nd else "dtype")],
        infer=_infer_scatter_nd if _nd else _infer_scatter,
        lower=_lower_scatter(_how, _nd),
        stateful=True,
    )

# --- BelowLimit -----------------------------------------------------------------------
#
# Ours: TensorFlow's ResourceCountUpTo checks, reads and writes in one op.


def _below_limit(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    (value,) = arrays
    if value >= site.attrs["limit"]:
        text = f"Reached limit of {site.attrs['limit']}"
        raise OutOfRangeError(None, None, text)
    return [value.copy()]


family.op(
    "BelowLimit",
    "ref",
    attrs={"limit": ...},
    infer=same_as_input,
    host=_below_limit,
)
family.no_gradient("BelowLimit")

# --- functions ----------------------------------------------------------------------


def _variable(ref: Any) -> Variable:
    if not isinstance(ref, Variable):
        raise AttributeError(
            f"{ref!r} is not a variable: only variables can be assigned to."
        )
    return ref


def assign(
    ref: Any,
    value: Any,
    validate_shape: bool | None = None,
    use_locking: bool | None = None,
    name: str | None = None,
) -> Any:
    """Set a variable; gives the variable as it is afterwards."""
    return _variable(ref).assign(value, name=name)


def assign_add(
    ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None
) -> Any:
    """Add to a variable; gives the variable as it is afterwards."""
    return _variable(ref).assign_add(value, name=name)


def assign_sub(
    ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None
) -> Any:
    """Subtract from a variable; gives the variable as it is afterwards."""
    return _variable(ref).assign_sub(value, name=name)


def scatter_update(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = True,
    name: str | None = None,
) -> Any:
    """Set the rows ``indices`` of a variable; the last of equal indices wins."""
    return _variable(ref)._scatter("Update", indices, updates, name)


def scatter_add(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = False,
    name: str | None = None,
) -> Any:
    """Add to the rows ``indices`` of a variable; equal indices add up."""
    return _variable(ref)._scatter("Add", indices, updates, name)


def scatter_sub(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = False,
    name: str | None = None,
) -> Any:
    """Subtract from the rows ``indices`` of a variable."""
    return _variable(ref)._scatter("Sub", indices, updates, name)


def scatter_mul(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = False,
    name: str | None = None,
) -> Any:
    """Multiply the rows ``indices`` of a variable."""
    return _variable(ref)._scatter("Mul", indices, updates, name)


def scatter_div(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = False,
    name: str | None = None,
) -> Any:
    """Divide the rows ``indices`` of a variable."""
    return _variable(ref)._scatter("Div", indices, updates, name)


def scatter_max(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = False,
    name: str | None = None,
) -> Any:
    """The greater of the rows ``indices`` of a variable and ``updates``."""
    return _variable(ref)._scatter("Max", indices, updates, name)


def scatter_min(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = False,
    name: str | None = None,
) -> Any:
    """The lesser of the rows ``indices`` of a variable and ``updates``."""
    return _variable(ref)._scatter("Min", indices, updates, name)


def scatter_nd_update(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = True,
    name: str | None = None,
) -> Any:
    """Set the places of a variable that the rows of ``indices`` say."""
    return _variable(ref)._scatter("NdUpdate", indices, updates, name)


def scatter_nd_add(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = False,
    name: str | None = None,
) -> Any:
    """Add to the places of a variable that the rows of ``indices`` say."""
    return _variable(ref)._scatter("NdAdd", indices, updates, name)


def scatter_nd_sub(
    ref: Any,
    indices: Any,
    updates: Any,
    use_locking: bool = False,
    name: str | None = None,
) -> Any:
    """Subtract from the places of a variable that the rows of ``indices`` say."""
    return _variable(ref)._scatter("NdSub", indices, updates, name)


def count_up_to(ref: Any, limit: int, name: str | None = None) -> Tensor:
    """A variable's value, then increased by one; OutOfRangeError at the limit."""
    return _variable(ref).count_up_to(limit)
