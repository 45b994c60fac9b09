"""The same elements in another arrangement: views, which cost nothing when run."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gpugrad import shapes
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily, is_known
from gpugrad.ops.static import axis_in, moved, resolved, shape_of, static_input

family = OpFamily()

# --- Reshape ------------------------------------------------------------------------


def _reshape_infer(op: Operation) -> Any:
    x, wanted = op.inputs
    if wanted._shape is not None and len(wanted._shape) > 1:
        raise ValueError(
            f"Shape must be rank 1 but is rank {len(wanted._shape)} for shape"
        )
    dims = values.sizes(wanted)
    return ((x.dtype, None if dims is None else _reshaped(x._shape, dims)),)


def _reshaped(
    have: shapes.Partial, dims: tuple[int | None, ...]
) -> tuple[int | None, ...]:
    """The static shape of a reshape; ValueError if the elements cannot fit."""
    if any(n is not None and n < -1 for n in dims):
        raise ValueError(f"Size of a reshape must be non-negative or -1: {list(dims)}")
    if sum(n == -1 for n in dims) > 1:
        raise ValueError(f"Only one size of a reshape may be -1: {list(dims)}")
    out = tuple(None if n == -1 else n for n in dims)
    if not shapes.is_known(have):
        return out
    assert have is not None
    size = prod(have)  # type: ignore[arg-type]
    known = prod(n for n in out if n is not None)
    unknown = out.count(None)
    if unknown == 0 and known != size:
        raise ValueError(
            f"Cannot reshape a tensor with {size} elements to shape {list(out)} "
            f"({known} elements)"
        )
    if unknown == 1 and known:
        if size % known:
            raise ValueError(
                f"Dimension size must be evenly divisible by {known} but is {size}: "
                f"cannot reshape {list(have)} to {list(dims)}"
            )
        return tuple(size // known if n is None else n for n in out)
    return out


def _reshape_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    return b.reshape(x, resolved(b.integers(site.inputs[1]), x.shape))


family.op(
    "Reshape",
    (Input("tensor"), static_input("shape", "Tshape")),
    infer=_reshape_infer,
    lower=_reshape_lower,
    value=moved(lambda op, x, dims: x.reshape(dims.reshape(-1).tolist())),
)


@family.gradient("Reshape")
def _reshape_grad(op: Operation, dy: Tensor) -> Any:
    shape = op.inputs[0]._shape
    # One unknown dimension follows from the others: no need of the forward input.
    if shape is not None and shape.count(None) == 1 and 0 not in shape:
        return [
            op.graph.apply("Reshape", dy, [-1 if n is None else n for n in shape]),
            None,
        ]
    return [_like_input(op, dy), None]


@family.gradient("ExpandDims")
def _expand_dims_grad(op: Operation, dy: Tensor) -> Any:
    return [_like_input(op, dy), None]


@family.gradient("Squeeze")
def _squeeze_grad(op: Operation, dy: Tensor) -> Any:
    return _like_input(op, dy)


def _like_input(op: Operation, dy: Tensor) -> Tensor:
    shape = shape_of(op.inputs[0], graph=op.graph)
    result: Tensor = op.graph.apply("Reshape", dy, shape)
    return result


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Tensor:
    """The elements of ``tensor``, in C order, under another shape.

    One size may be -1: it follows from the others. ValueError (InvalidArgumentError
    when only the run shows it) if the number of elements differs.
    """
    return apply_op("Reshape", tensor, shape, name=name)


@family.numpy_function(np.reshape)
def _numpy_reshape(a: Any, shape: Any, order: str = "C") -> Tensor:
    if order != "C":
        raise TypeError(f"Tensors are reshaped in C order only, not {order!r}.")
    shape = [shape] if isinstance(shape, (int, np.integer)) else shape
    return reshape(a, shape)


@family.numpy_function(np.ravel)
def _numpy_ravel(a: Any, order: str = "C") -> Tensor:
    return _numpy_reshape(a, [-1], order)


# --- Transpose ----------------------------------------------------------------------


def _transpose_infer(op: Operation) -> Any:
    x, perm = op.inputs
    shape = x._shape
    order = values.constant_value(perm)
    if shape is None:
        if perm._shape is None or perm._shape[0] is None:
            return ((x.dtype, None),)
        shape = (None,) * perm._shape[0]
    if order is None:
        return ((x.dtype, (None,) * len(shape)),)
    axes = _permutation(order.reshape(-1).tolist(), len(shape))
    return ((x.dtype, tuple(shape[i] for i in axes)),)


def _permutation(perm: Sequence[int], rank: int) -> tuple[int, ...]:
    if len(perm) != rank:
        raise ValueError(
            f"Dimension must be {rank} but is {len(perm)}: transpose needs a "
            f"permutation of all {rank} axes, not {list(perm)}"
        )
    axes = tuple(axis_in(p, rank, "perm") for p in perm)
    if len(set(axes)) != rank:
        text = f"perm must be a permutation of the axes, not {list(perm)}"
        raise InvalidArgumentError(None, None, text)
    return axes


def _transpose_lower(b: Builder, site: Site) -> View:
    x, perm = site.inputs
    result: View = x.transpose(_permutation(b.integers(perm), x.rank))
    return result


def _conjugate_transpose_lower(b: Builder, site: Site) -> View:
    return b.map(scalar.conj, _transpose_lower(b, site))


family.op(
    "Transpose",
    (Input("x"), static_input("perm", "Tperm")),
    infer=_transpose_infer,
    lower=_transpose_lower,
    value=moved(lambda op, x, perm: x.transpose(perm.tolist())),
)
family.op(
    "ConjugateTranspose",
    (Input("x"), static_input("perm", "Tperm")),
    infer=_transpose_infer,
    lower=_conjugate_transpose_lower,
)


@family.gradient("Transpose")
def _transpose_grad(op: Operation, dy: Tensor) -> Any:
    back = op.graph.apply("InvertPermutation", op.inputs[1])
    return [op.graph.apply("Transpose", dy, back, name="transpose"), None]


@family.gradient("ConjugateTranspose")
def _conjugate_transpose_grad(op: Operation, dy: Tensor) -> Any:
    back = op.graph.apply("InvertPermutation", op.inputs[1])
    return [op.graph.apply("ConjugateTranspose", dy, back, name="transpose"), None]


def transpose(
    a: Any, perm: Any = None, name: str | None = "transpose", conjugate: bool = False
) -> Tensor:
    """``a`` with axis ``i`` taken from axis ``perm[i]``; by default all reversed.

    ``conjugate`` conjugates complex values as well.
    """
    with name_scope(name, "transpose", [a]) as scope:
        a = convert_to_tensor(a, name="a")
        op_type = "Transpose"
        if conjugate and a.dtype.is_complex:
            op_type = "ConjugateTranspose"
        if perm is None:
            shape = a._shape if isinstance(a, Tensor) else a.shape
            if shape is None:
                last = apply_op("Rank", a) - 1
                perm = apply_op("Range", last, -1, -1)
            else:
                perm = np.arange(len(shape) - 1, -1, -1, dtype=np.int32)
        return apply_op(op_type, a, perm, name=scope)


def transpose_v2(
    a: Any, perm: Any = None, conjugate: bool = False, name: str | None = "transpose"
) -> Tensor:
    """``transpose`` with the signature of TensorFlow 2."""
    return transpose(a, perm, name, conjugate)


@family.numpy_function(np.transpose)
def _numpy_transpose(a: Any, axes: Any = None) -> Tensor:
    return transpose(a, axes)


@family.numpy_function(np.swapaxes)
def _numpy_swapaxes(a: Any, axis1: int, axis2: int) -> Tensor:
    if a.ndim is None:
        raise ValueError("swapaxes() needs a tensor of known rank.")
    perm = list(range(a.ndim))
    first, second = axis_in(axis1, a.ndim), axis_in(axis2, a.ndim)
    perm[first], perm[second] = perm[second], perm[first]
    return transpose(a, perm)


@family.numpy_function(np.moveaxis)
def _numpy_moveaxis(a: Any, source: Any, destination: Any) -> Tensor:
    if a.ndim is None:
        raise ValueError("moveaxis() needs a tensor of known rank.")
    order = np.moveaxis(np.empty((1,) * a.ndim), source, destination)
    assert order.ndim == a.ndim
    places = np.arange(a.ndim)
    sources = [axis_in(i, a.ndim) for i in np.atleast_1d(source).tolist()]
    targets = [axis_in(i, a.ndim) for i in np.atleast_1d(destination).tolist()]
    perm = [i for i in places.tolist() if i not in sources]
    for target, origin in sorted(zip(targets, sources)):
        perm.insert(target, origin)
    return transpose(a, perm)


def matrix_transpose(
    a: Any, name: str | None = "matrix_transpose", conjugate: bool = False
) -> Tensor:
    """``a`` with its last two axes exchanged. ValueError for fewer than two."""
    with name_scope(name, "matrix_transpose", [a]):
        a = convert_to_tensor(a, name="a")
        rank = a.ndim
        if rank is None:
            count = apply_op("Rank", a)
            batch = apply_op("Range", 0, count - 2, 1)
            last = apply_op("Pack", [count - 1, count - 2], axis=0)
            return transpose(a, apply_op("ConcatV2", [batch, last], 0), None, conjugate)
        if rank < 2:
            raise ValueError(
                f"matrix_transpose() needs at least 2 dimensions, not shape {a.shape}."
            )
        perm = [*range(rank - 2), rank - 1, rank - 2]
        return transpose(a, perm, None, conjugate)


# --- InvertPermutation --------------------------------------------------------------


def _invert_infer(op: Operation) -> Any:
    x = op.inputs[0]
    if x._shape is not None and len(x._shape) != 1:
        raise ValueError(f"Shape must be rank 1 but is rank {len(x._shape)}")
    return ((x.dtype, (None,) if x._shape is None else x._shape),)


def _inverse(perm: np.ndarray) -> np.ndarray:
    size = len(perm)
    if sorted(perm.tolist()) != list(range(size)):
        raise ValueError(f"not a permutation of 0..{size - 1}: {perm.tolist()}")
    return np.argsort(perm).astype(perm.dtype)


def _invert_lower(b: Builder, site: Site) -> View:
    return b.literal(_inverse(b.value(site.inputs[0])), site.dtypes[0])


family.op(
    "InvertPermutation",
    (static_input("x", "T"),),
    infer=_invert_infer,
    lower=_invert_lower,
    value=lambda op, inputs: [_inverse(inputs[0])] if is_known(inputs[0]) else None,
)
family.no_gradient("InvertPermutation")


def invert_permutation(x: Any, name: str | None = None) -> Tensor:
    """``y`` with ``y[x[i]] = i``. ``x`` is a permutation of 0 to n - 1."""
    return apply_op("InvertPermutation", x, name=name)


# --- ExpandDims ---------------------------------------------------------------------


def _expand_dims_infer(op: Operation) -> Any:
    x, dim = op.inputs
    shape = x._shape
    axis = values.constant_value(dim)
    if shape is None:
        return ((x.dtype, None),)
    if axis is None:
        return ((x.dtype, (None,) * (len(shape) + 1)),)
    place = axis_in(int(axis.reshape(-1)[0]), len(shape) + 1, "dim")
    return ((x.dtype, (*shape[:place], 1, *shape[place:])),)


def _expand_dims_lower(b: Builder, site: Site) -> View:
    x, dim = site.inputs
    result: View = x.insert_axis(axis_in(b.integers(dim)[0], x.rank + 1, "dim"))
    return result


family.op(
    "ExpandDims",
    (Input("input"), static_input("dim", "Tdim")),
    infer=_expand_dims_infer,
    lower=_expand_dims_lower,
    value=moved(lambda op, x, dim: np.expand_dims(x, int(dim.reshape(-1)[0]))),
)


def expand_dims(
    input: Any, axis: Any = None, name: str | None = None, dim: Any = None
) -> Tensor:
    """``input`` with a new axis of size 1 before ``axis`` (-1: at the end)."""
    if axis is not None and dim is not None:
        raise ValueError("can't specify both 'dim' and 'axis' for expand_dims().")
    axis = dim if axis is None else axis
    if axis is None:
        raise ValueError("Must specify an axis argument to tf.expand_dims()")
    return apply_op("ExpandDims", input, axis, name=name)


@family.numpy_function(np.expand_dims)
def _numpy_expand_dims(a: Any, axis: Any) -> Tensor:
    if isinstance(axis, (tuple, list)):
        if a.ndim is None:
            raise ValueError("expand_dims() of several axes needs a known rank.")
        rank = a.ndim + len(axis)
        for place in sorted(axis_in(i, rank) for i in axis):
            a = expand_dims(a, place)
        return a
    return expand_dims(a, axis)


# --- Squeeze ------------------------------------------------------------------------


def _squeezed(
    shape: Sequence[int | None], dims: Sequence[int]
) -> tuple[list[int], list[int | None]]:
    """The axes to drop, and what is left; ValueError for an axis that is not 1."""
    axes = sorted({axis_in(i, len(shape), "squeeze_dims") for i in dims})
    for axis in axes:
        if shape[axis] not in (1, None):
            raise ValueError(
                f"Can not squeeze dim[{axis}], expected a dimension of 1, got "
                f"{shape[axis]}"
            )
    if not dims:
        axes = [i for i, n in enumerate(shape) if n == 1]
    return axes, [n for i, n in enumerate(shape) if i not in axes]


def _squeeze_infer(op: Operation) -> Any:
    x = op.inputs[0]
    dims = op.attrs["squeeze_dims"]
    if x._shape is None or (not dims and None in x._shape):
        return ((x.dtype, None),)
    return ((x.dtype, tuple(_squeezed(x._shape, dims)[1])),)


def _squeeze_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    axes, _ = _squeezed(x.shape, site.attrs["squeeze_dims"])
    result: View = x.drop_axes(tuple(axes))
    return result


def _squeeze_value(op: Operation, x: np.ndarray) -> np.ndarray:
    return np.squeeze(x, tuple(op.attrs["squeeze_dims"]) or None)


family.op(
    "Squeeze",
    "input",
    attrs={"squeeze_dims": ()},
    infer=_squeeze_infer,
    lower=_squeeze_lower,
    value=moved(_squeeze_value),
)


def squeeze(
    input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None
) -> Tensor:
    """``input`` without its axes of size 1, or without those in ``axis``."""
    axis = squeeze_dims if axis is None else axis
    axis = () if axis is None else axis
    dims = [int(axis)] if np.ndim(axis) == 0 else [int(i) for i in axis]
    return apply_op("Squeeze", input, name=name, squeeze_dims=dims)


@family.numpy_function(np.squeeze)
def _numpy_squeeze(a: Any, axis: Any = None) -> Tensor:
    return squeeze(a, axis)
