"""Ops over lists of tensors (dtype variant): what TensorArray and records are made of.

Names and signatures are those of TensorFlow's TensorList ops; the host carries them
out and moves no element. The gradient of a list is a list that is zero wherever
nothing is written, at any index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.control.tensor_list import TensorList
from gpugrad.dtypes import int32, int64, variant
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph.constant import constant_value
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import shape_of

family = OpFamily()

_LIST = Input("input_handle", attr=None, dtype=variant)
_INDEX = Input("index", attr=None, dtype=int32)
_INDICES = Input("indices", attr=None, dtype=int32)
_ELEMENT = Input("element_shape", attr="shape_type", default=int32)
_TENSOR = Input("tensor", attr="element_dtype")


def _a_list(op: Operation) -> Any:
    return ((variant, ()),)


# --- shapes ---------------------------------------------------------------------------


def element_vector(graph: Any, element: shapes.Partial) -> Tensor:
    """A partial shape as a tensor: -1 for an unknown size, and for an unknown rank."""
    value = -1 if element is None else [-1 if n is None else n for n in element]
    found: Tensor = graph.convert(np.array(value, np.int32))
    return found


def _element_of(graph: Any, tensor: Tensor, axes: int = 0) -> Tensor:
    """The shape of ``tensor`` without its first axes, exactly."""
    shape = tensor._shape
    if shapes.is_known(shape):
        return element_vector(graph, shapes.known(shape)[axes:])
    whole = shape_of(tensor, graph=graph)
    return whole[axes:] if axes else whole


def _partial(value: np.ndarray | None) -> shapes.Partial:
    if value is None or not value.ndim:
        return None
    return tuple(None if n < 0 else n for n in value.tolist())


def _static_element(op: Operation, place: int) -> shapes.Partial:
    return _partial(constant_value(op.inputs[place]))


def _blank(run: Any, held: TensorList, element: Any, dtype: dtypes.DType) -> Any:
    """Zeros in the place of an element that is not written."""
    shape = shapes.merge(held.element, _partial(run.to_host(element)))
    if not shapes.is_known(shape):
        raise InvalidArgumentError(
            None,
            None,
            "A TensorArray is read before anything is written to it, and the shape of "
            f"its elements is not known: {shapes.text(shape)}. Give it an "
            "element_shape.",
        )
    return run.xp.zeros(shapes.known(shape), dtype.np_dtype)


def _check_element(held: TensorList, shape: tuple[int, ...]) -> None:
    element = held.element
    if element is None or element == shape or shapes.compatible(shape, element):
        return
    raise InvalidArgumentError(
        None,
        None,
        f"An element of shape {shapes.text(shape)} is written to a TensorArray with "
        f"elements of shape {shapes.text(element)}.",
    )


def _stacked(
    run: Any, arrays: list[Any], element: shapes.Partial, dtype: dtypes.DType
) -> Any:
    """Arrays, None for zeros, as the rows of one. ``element`` if there is no array."""
    written = [a for a in arrays if a is not None]
    different = {a.shape for a in written}
    if len(different) > 1:
        raise InvalidArgumentError(
            None,
            None,
            "The elements of a TensorArray have one shape where they are stacked; "
            f"these have {' and '.join(sorted(map(shapes.text, different)))}.",
        )
    shape = different.pop() if different else None
    if shape is None:
        if element is None or (arrays and not shapes.is_known(element)):
            raise InvalidArgumentError(
                None,
                None,
                "A TensorArray is stacked before anything is written to it, and the "
                f"shape of its elements is not known: {shapes.text(element)}. Give it "
                "an element_shape.",
            )
        shape = tuple(n or 0 for n in element)
    elif not shapes.compatible(shape, element):
        raise InvalidArgumentError(
            None,
            None,
            f"A TensorArray has elements of shape {shapes.text(shape)}, where "
            f"{shapes.text(element)} was expected.",
        )
    if not written:
        return run.xp.zeros((len(arrays), *shape), dtype.np_dtype)
    if len(written) < len(arrays):
        zero = run.xp.zeros(shape, dtype.np_dtype)
        arrays = [zero if a is None else a for a in arrays]
    if not shape:
        arrays = [a.reshape(1) for a in arrays]
    return run.xp.concatenate(arrays).reshape(len(arrays), *shape)


# --- TensorListReserve, TensorListZeros -----------------------------------------------


def _reserve(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    element, length = arrays
    size = int(run.to_host(length))
    if size < 0:
        raise InvalidArgumentError(
            None, None, f"A TensorArray cannot have {size} elements."
        )
    return [TensorList(size, _partial(run.to_host(element)))]


family.op(
    "TensorListReserve",
    (_ELEMENT, Input("num_elements", attr=None, dtype=int32)),
    attrs={"element_dtype": ...},
    infer=_a_list,
    host=_reserve,
    on_device=True,
)
family.op(
    "TensorListZeros",
    infer=_a_list,
    host=lambda run, site, arrays: [TensorList(None, None)],
    on_device=True,
)
family.no_gradient("TensorListReserve", "TensorListZeros")

# --- TensorListFromTensor, TensorListStack --------------------------------------------


def _from_tensor(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    rows = arrays[0]
    held = TensorList(len(rows), _partial(run.to_host(arrays[1])), rows)
    _check_element(held, tuple(rows.shape[1:]))
    if site.attrs["_gradient"]:
        held.length = held.element = None
    return [held]


def _stack(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    held, element = arrays
    count = site.attrs["num_elements"]
    if count >= 0 and count != held.length:
        raise InvalidArgumentError(
            None, None, f"A TensorArray of size {count} was given {held.length} rows."
        )
    rows = held.rows
    if rows is None:
        shape = shapes.merge(held.element, _partial(run.to_host(element)))
        found = [held.get(i) for i in range(held.length)]
        rows = _stacked(run, found, shape, site.attrs["element_dtype"])
    return [rows]


def _stack_infer(op: Operation) -> Any:
    element, count = _static_element(op, 1), op.attrs["num_elements"]
    shape = None if element is None else (None if count < 0 else count, *element)
    return ((op.attrs["element_dtype"], shape),)


family.op(
    "TensorListFromTensor",
    (_TENSOR, _ELEMENT),
    attrs={"_gradient": False},
    infer=_a_list,
    host=_from_tensor,
    on_device=True,
)
family.op(
    "TensorListStack",
    (_LIST, _ELEMENT),
    attrs={"element_dtype": ..., "num_elements": -1},
    infer=_stack_infer,
    host=_stack,
    on_device=True,
)


@family.gradient("TensorListFromTensor")
def _from_tensor_grad(op: Operation, dy: Tensor) -> Any:
    x, graph = op.inputs[0], op.graph
    if not x.dtype.is_trainable:
        return [None, None]
    count = shape_of(x, graph=graph)[0]
    rows = graph.apply("TensorListResize", dy, count)
    element = _element_of(graph, x, 1)
    return [
        graph.apply("TensorListStack", rows, element, element_dtype=x.dtype),
        None,
    ]


@family.gradient("TensorListStack")
def _stack_grad(op: Operation, dy: Tensor) -> Any:
    graph = op.graph
    element = element_vector(graph, None if dy._shape is None else dy._shape[1:])
    return [graph.apply("TensorListFromTensor", dy, element, _gradient=True), None]


# --- TensorListGetItem, TensorListSetItem, TensorListWithout --------------------------


def _get_item(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    held, index, element = arrays
    found = held.get(held.checked(int(run.to_host(index))))
    if found is None:
        found = _blank(run, held, element, site.attrs["element_dtype"])
    return [found]


def _set_item(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    held, index, item = arrays
    place = int(run.to_host(index))
    length = held.length
    if site.attrs["resize_if_index_out_of_bounds"] and length is not None:
        length = max(length, place + 1)
        if place < 0:
            held.checked(place)
    else:
        held.checked(place)
    _check_element(held, item.shape)
    return [held.set(place, item, length)]


def _without(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    held, indices = arrays
    for index in run.to_host(indices).reshape(-1).tolist():
        held = held.set(index, None, held.length)
    return [held]


family.op(
    "TensorListGetItem",
    (_LIST, _INDEX, _ELEMENT),
    attrs={"element_dtype": ...},
    infer=lambda op: ((op.attrs["element_dtype"], _static_element(op, 2)),),
    host=_get_item,
    on_device=True,
)
family.op(
    "TensorListSetItem",
    (_LIST, _INDEX, Input("item", attr="element_dtype")),
    attrs={"resize_if_index_out_of_bounds": False},
    infer=_a_list,
    host=_set_item,
    on_device=True,
)
family.op(
    "TensorListWithout",
    (_LIST, _INDICES),
    infer=_a_list,
    host=_without,
    on_device=True,
)


@family.gradient("TensorListGetItem")
def _get_item_grad(op: Operation, dy: Tensor) -> Any:
    graph = op.graph
    zeros = graph.apply("TensorListZeros")
    return [graph.apply("TensorListSetItem", zeros, op.inputs[1], dy), None, None]


@family.gradient("TensorListSetItem")
def _set_item_grad(op: Operation, dy: Tensor) -> Any:
    graph, (_, index, item) = op.graph, op.inputs
    rest = graph.apply("TensorListWithout", dy, index)
    if not item.dtype.is_trainable:
        return [rest, None, None]
    element = _element_of(graph, item)
    found = graph.apply(
        "TensorListGetItem", dy, index, element, element_dtype=item.dtype
    )
    return [rest, None, found]


@family.gradient("TensorListWithout")
def _without_grad(op: Operation, dy: Tensor) -> Any:
    return [op.graph.apply("TensorListWithout", dy, op.inputs[1]), None]


# --- TensorListGather, TensorListScatterIntoExistingList ------------------------------
#
# ``_last``: an element gathered twice counts for its last place only, as it was
# scattered. ``_adds``: rows scattered to one index are added up.


def _gather(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    held, indices, element = arrays
    indices = run.to_host(indices)
    places = [held.checked(i) for i in indices.reshape(-1).tolist()]
    found = [held.get(i) for i in places]
    if site.attrs["_last"]:
        last = {place: number for number, place in enumerate(places)}
        found = [
            v if last[p] == n else None for n, (p, v) in enumerate(zip(places, found))
        ]
    shape = shapes.merge(held.element, _partial(run.to_host(element)))
    rows = _stacked(run, found, shape, site.attrs["element_dtype"])
    return [rows.reshape(*indices.shape, *rows.shape[1:])]


def _gather_infer(op: Operation) -> Any:
    element, indices = _static_element(op, 2), op.inputs[1]._shape
    shape = None
    if element is not None and indices is not None:
        shape = (*indices, *element)
    return ((op.attrs["element_dtype"], shape),)


def _scatter(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    held, rows, indices = arrays
    places = run.to_host(indices).reshape(-1).tolist()
    _check_element(held, tuple(rows.shape[indices.ndim :]))
    rows = rows.reshape(len(places), *rows.shape[indices.ndim :])
    grows = site.attrs["resize_if_index_out_of_bounds"]
    for number, place in enumerate(places):
        length = held.length
        if grows and length is not None and place >= 0:
            length = max(length, place + 1)
        else:
            held.checked(place)
        row = rows[number, ...]
        before = held.get(place) if site.attrs["_adds"] else None
        row = row if before is None else _added(run, before, row)
        held = held.set(place, row, length)
    return [held]


def _added(run: Any, x: Any, y: Any) -> Any:
    """The sum of two arrays, or of two lists."""
    if type(x) is TensorList:
        return _sum_of_two(run, x, y)
    if type(x) is list:
        return [_added(run, a, b) for a, b in zip(x, y, strict=True)]
    out = run.xp.empty(x.shape, x.dtype)
    with np.errstate(all="ignore"):
        run.xp.add(x, y, out=out)
    return out


family.op(
    "TensorListGather",
    (_LIST, _INDICES, _ELEMENT),
    attrs={"element_dtype": ..., "_last": False},
    infer=_gather_infer,
    host=_gather,
    on_device=True,
)
family.op(
    "TensorListScatterIntoExistingList",
    (_LIST, _TENSOR, _INDICES),
    attrs={"_adds": False, "resize_if_index_out_of_bounds": False},
    infer=_a_list,
    host=_scatter,
    on_device=True,
)


@family.gradient("TensorListGather")
def _gather_grad(op: Operation, dy: Tensor) -> Any:
    graph = op.graph
    dx = graph.apply(
        "TensorListScatterIntoExistingList",
        graph.apply("TensorListZeros"),
        dy,
        op.inputs[1],
        _adds=not op.attrs["_last"],
    )
    return [dx, None, None]


@family.gradient("TensorListScatterIntoExistingList")
def _scatter_grad(op: Operation, dy: Tensor) -> Any:
    graph, (_, rows, indices) = op.graph, op.inputs
    adds = op.attrs["_adds"]
    rest = dy if adds else graph.apply("TensorListWithout", dy, indices)
    if not rows.dtype.is_trainable:
        return [rest, None, None]
    axes = 1 if indices._shape is None else len(indices._shape)
    element = _element_of(graph, rows, axes)
    found = graph.apply(
        "TensorListGather",
        dy,
        indices,
        element,
        element_dtype=rows.dtype,
        _last=not adds,
    )
    return [rest, found, None]


# --- TensorListConcatV2, TensorListSplit ----------------------------------------------
#
# ``leading_dims``: the first sizes of the elements, for those that are not written.


def _concat(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    held, element, leading = arrays
    leading = run.to_host(leading).tolist()
    shape = _partial(run.to_host(element))
    found = []
    for index in range(held.length):
        item = held.get(index)
        if item is None and index < len(leading) and shape is not None:
            size = np.array(
                [leading[index], *(-1 if n is None else n for n in shape[1:])]
            )
            item = _blank(run, TensorList(0, None), size, site.attrs["element_dtype"])
        elif item is None:
            item = _blank(run, held, element, site.attrs["element_dtype"])
        found.append(item)
    lengths = np.array([len(item) for item in found], np.int64)
    tails = {item.shape[1:] for item in found}
    if len(tails) > 1:
        raise InvalidArgumentError(
            None,
            None,
            "The elements of a TensorArray differ beyond their first axis: "
            f"{' and '.join(sorted(map(shapes.text, tails)))}.",
        )
    if not found:
        tail = tuple(n or 0 for n in (shape or ())[1:])
        kind = site.attrs["element_dtype"].np_dtype
        return [run.xp.zeros((0, *tail), kind), run.xp.asarray(lengths)]
    return [run.xp.concatenate(found), run.xp.asarray(lengths)]


def _concat_infer(op: Operation) -> Any:
    element = _static_element(op, 1)
    shape = None if element is None else (None, *element[1:])
    return ((op.attrs["element_dtype"], shape), (int64, (None,)))


def _split(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    rows, element, lengths = arrays
    sizes = run.to_host(lengths).reshape(-1).tolist()
    if sum(sizes) != len(rows) or min(sizes, default=0) < 0:
        raise InvalidArgumentError(
            None,
            None,
            f"The lengths {sizes} do not add up to the {len(rows)} rows that they "
            "split.",
        )
    gradient = site.attrs["_gradient"]
    held = TensorList(None if gradient else len(sizes), _partial(run.to_host(element)))
    first = 0
    for index, size in enumerate(sizes):
        item = rows[first : first + size]
        _check_element(held, item.shape)
        held = held.set(index, item, held.length)
        first += size
    return [held]


family.op(
    "TensorListConcatV2",
    (_LIST, _ELEMENT, Input("leading_dims", attr=None, dtype=int64)),
    attrs={"element_dtype": ...},
    infer=_concat_infer,
    host=_concat,
    on_device=True,
)
family.op(
    "TensorListSplit",
    (_TENSOR, _ELEMENT, Input("lengths", attr=None, dtype=int64)),
    attrs={"_gradient": False},
    infer=_a_list,
    host=_split,
    on_device=True,
)


@family.gradient("TensorListConcatV2")
def _concat_grad(op: Operation, dy: Tensor, _: Any) -> Any:
    graph = op.graph
    element = element_vector(graph, None)
    lengths = op.outputs[1]
    found = graph.apply("TensorListSplit", dy, element, lengths, _gradient=True)
    return [found, None, None]


@family.gradient("TensorListSplit")
def _split_grad(op: Operation, dy: Tensor) -> Any:
    graph, (rows, _, lengths) = op.graph, op.inputs
    if not rows.dtype.is_trainable:
        return [None, None, None]
    count = shape_of(lengths, graph=graph)[0]
    held = graph.apply("TensorListResize", dy, count)
    element = _element_of(graph, rows)
    joined = graph.apply(
        "TensorListConcatV2", held, element, lengths, element_dtype=rows.dtype
    )
    return [joined[0], None, None]


# --- TensorListLength, TensorListResize, SumLists -------------------------------------


def _length(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    return [run.xp.asarray(np.array(arrays[0].length, np.int32))]


def _resize(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    return [arrays[0].resized(int(run.to_host(arrays[1])))]


def _sum_of_two(run: Any, x: TensorList, y: TensorList) -> TensorList:
    if x.base is None and y.base is not None:
        x, y = y, x
    for index, value in y.written():
        before = x.get(index)
        value = value if before is None else _added(run, before, value)
        x = x.set(index, value, None)
    return x


def _sum(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    total = arrays[0]
    for other in arrays[1:]:
        total = _added(run, total, other)
    return [total]


family.op(
    "TensorListLength",
    (_LIST,),
    infer=lambda op: ((int32, ()),),
    host=_length,
    on_device=True,
)
family.op(
    "TensorListResize",
    (_LIST, Input("size", attr=None, dtype=int32)),
    infer=_a_list,
    host=_resize,
    on_device=True,
)
family.op(
    "SumLists",
    (Input("inputs", attr=None, dtype=variant, number="N"),),
    infer=_a_list,
    host=_sum,
    on_device=True,
)
family.no_gradient("TensorListLength")


@family.gradient("TensorListResize")
def _resize_grad(op: Operation, dy: Tensor) -> Any:
    return [dy, None]


@family.gradient("SumLists")
def _sum_grad(op: Operation, dy: Tensor) -> Any:
    return [dy] * len(op.inputs)
