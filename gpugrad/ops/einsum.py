"""Einsum: products summed over labels, lowered to views, reductions and a matmul."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from gpugrad import shapes
from gpugrad.dtypes import DType
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import Shape, View, whole
from gpugrad.ops import matmul, rules, static
from gpugrad.ops.family import OpFamily

family = OpFamily()

_ELLIPSIS = "..."
_WORD = re.compile(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*")

# The subscripts of one operand: its labels, with "..." as one of them.
Labels = tuple[str, ...]


# --- equations ------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def parse(equation: str) -> tuple[tuple[Labels, ...], Labels]:
    """The labels of each operand and of the output.

    Without "->" the output has the labels that stand once, in alphabetic order,
    after the ellipsis.
    """
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    words = left.split(",")
    for word in (*words, right):
        if not _WORD.fullmatch(word):
            raise ValueError(f"Subscripts have incorrect format: {equation}")
    operands = tuple(map(_labels, words))
    if arrow:
        return operands, _labels(right)
    every = [label for labels in operands for label in labels]
    once = sorted(x for x in set(every) if every.count(x) == 1 and x != _ELLIPSIS)
    dots = (_ELLIPSIS,) if _ELLIPSIS in every else ()
    return operands, (*dots, *once)


def _labels(word: str) -> Labels:
    left, dots, right = word.partition(_ELLIPSIS)
    return (*left, dots, *right) if dots else tuple(word)


def _text(operands: Sequence[Labels], output: Labels) -> str:
    return ",".join("".join(o) for o in operands) + "->" + "".join(output)


def _expand(labels: Labels, rank: int, index: int, equation: str) -> Labels:
    """The labels with the ellipsis as numbered labels, counted from its end."""
    named = len(labels) - (_ELLIPSIS in labels)
    if rank != named and (_ELLIPSIS not in labels or rank < named):
        least = "at least rank" if _ELLIPSIS in labels else "rank"
        raise ValueError(
            f"Shape must be {least} {named} but is rank {rank} for operand {index} of "
            f"equation: {equation}."
        )
    if _ELLIPSIS not in labels:
        return labels
    place = labels.index(_ELLIPSIS)
    dots = tuple(f".{i}" for i in range(rank - named, 0, -1))
    return labels[:place] + dots + labels[place + 1 :]


def _bind(
    operands: Sequence[Labels], dims: Sequence[Sequence[int | None]]
) -> dict[str, int | None]:
    """The extent of each label; dots broadcast, named labels must be equal."""
    extents: dict[str, int | None] = {}
    for labels, shape in zip(operands, dims):
        for label, extent in zip(labels, shape):
            if label not in extents:
                extents[label] = extent
            elif label[0] == ".":
                extents[label] = shapes.broadcast((extents[label],), (extent,))[0]  # type: ignore[index]
            else:
                extents[label] = rules.merge_dimensions(extents[label], extent)
    return extents


def _output(output: Labels, extents: dict[str, int | None]) -> Labels:
    """The output's labels with the ellipsis expanded to all dots that were bound."""
    if _ELLIPSIS not in output:
        return output
    dots = sorted((x for x in extents if x[0] == "."), key=lambda x: -int(x[1:]))
    place = output.index(_ELLIPSIS)
    return output[:place] + tuple(dots) + output[place + 1 :]


# --- Einsum ---------------------------------------------------------------------------


def _infer(op: Any) -> Any:
    equation = op.attrs["equation"]
    operands, output = parse(equation)
    rules.require_dtype(op, 0, rules.NUMBERS)
    if len(operands) != len(op.inputs):
        raise ValueError(
            f"Got {len(op.inputs)} inputs for equation {equation!r}, expecting "
            f"{len(operands)}"
        )
    dtype = op.inputs[0].dtype
    expanded, dims, vague = [], [], False
    for index, (labels, x) in enumerate(zip(operands, op.inputs)):
        if x._shape is not None:
            expanded.append(_expand(labels, len(x._shape), index, equation))
            dims.append(x._shape)
        else:
            vague = vague or _ELLIPSIS in labels
            expanded.append(tuple(x for x in labels if x != _ELLIPSIS))
            dims.append((None,) * len(expanded[-1]))
    extents = _bind(expanded, dims)
    if vague and _ELLIPSIS in output:
        return ((dtype, None),)
    return ((dtype, tuple(extents[x] for x in _output(output, extents))),)


def _lower(b: Builder, site: Site) -> View:
    equation, views = site.attrs["equation"], site.inputs
    operands, output = parse(equation)
    expanded = [
        _expand(labels, v.rank, i, equation)
        for i, (labels, v) in enumerate(zip(operands, views))
    ]
    extents = _bind(expanded, [v.shape for v in views])
    output = _output(output, extents)
    parts = list(zip(views, expanded))
    while len(parts) > 1:
        (x, x_labels), (y, y_labels) = parts[:2]
        wanted = {*output, *(label for _, labels in parts[2:] for label in labels)}
        parts[:2] = [_multiply(b, x, x_labels, y, y_labels, wanted)]
    return _arrange(b, *parts[0], output, extents)


def _reduce(
    b: Builder, x: View, labels: Labels, wanted: set[str]
) -> tuple[View, Labels]:
    """Diagonals of repeated labels, and sums over labels that nothing else has."""
    unique = tuple(dict.fromkeys(labels))
    if len(unique) < len(labels):
        strides = [0] * len(unique)
        for label, stride in zip(labels, x.strides):
            strides[unique.index(label)] += stride
        shape = tuple(x.shape[labels.index(u)] for u in unique)
        x = View(x.buffer, shape, tuple(strides), x.offset)
    axes = [i for i, u in enumerate(unique) if u not in wanted]
    if axes:
        x = b.reduce("sum", x, axes)
    return x, tuple(u for u in unique if u in wanted)


def _multiply(
    b: Builder,
    x: View,
    x_labels: Labels,
    y: View,
    y_labels: Labels,
    wanted: set[str],
) -> tuple[View, Labels]:
    """The product of two operands, summed over what ``wanted`` does not name."""
    x, x_labels = _reduce(b, x, x_labels, wanted | set(y_labels))
    y, y_labels = _reduce(b, y, y_labels, wanted | set(x_labels))
    both = [label for label in x_labels if label in y_labels]
    batch = tuple(label for label in both if label in wanted)
    summed = tuple(label for label in both if label not in wanted)
    rows = tuple(label for label in x_labels if label not in both)
    columns = tuple(label for label in y_labels if label not in both)
    x = x.transpose(tuple(map(x_labels.index, batch + rows + summed)))
    y = y.transpose(tuple(map(y_labels.index, batch + summed + columns)))
    n, r, s = len(batch), len(rows), len(summed)
    if not summed:
        # An outer product over equal batches: point by point.
        x = _spread(x, x.rank, len(columns))
        y = _spread(y, n, r)
        return b.map(lambda u, v: u * v, x, y), batch + rows + columns
    row_sizes, column_sizes = x.shape[n : n + r], y.shape[n + s :]
    x = b.reshape(x, (*x.shape[:n], prod(row_sizes), prod(x.shape[n + r :])))
    y = b.reshape(y, (*y.shape[:n], prod(y.shape[n : n + s]), prod(column_sizes)))
    out = matmul.product(b, x, y, x.dtype)
    out = b.reshape(out, (*out.shape[:-2], *row_sizes, *column_sizes))
    return out, batch + rows + columns


def _spread(view: View, axis: int, count: int) -> View:
    for _ in range(count):
        view = view.insert_axis(axis)
    return view


def _arrange(
    b: Builder, x: View, labels: Labels, output: Labels, extents: dict[str, Any]
) -> View:
    """The axes in the order of the output; a label twice there writes a diagonal."""
    unique = tuple(dict.fromkeys(output))
    x, labels = _reduce(b, x, labels, set(output))
    x = x.transpose(tuple(map(labels.index, unique)))
    shape: Shape = tuple(extents[label] for label in unique)
    if x.shape != shape:
        x = x.broadcast(shape)
    if unique == output:
        return x
    out = b.fill(0, x.dtype, tuple(extents[label] for label in output))
    full = whole(out.buffer, out.shape)
    strides = [0] * len(unique)
    for label, stride in zip(output, full.strides):
        strides[unique.index(label)] += stride
    b.copy(x, into=View(out.buffer, shape, tuple(strides), 0))
    return out


family.op(
    "Einsum",
    (Input("inputs", number="N"),),
    attrs={"equation": ...},
    infer=_infer,
    lower=_lower,
)


@family.gradient("Einsum")
def _einsum_grad(op: Any, dy: Any) -> Any:
    operands, output = parse(op.attrs["equation"])
    if len(operands) == 1:
        return [_undo(op.graph, dy, output, operands[0], op.inputs[0])]
    if len(operands) != 2:
        raise ValueError(
            "The gradient of an Einsum node takes one or two operands; einsum() builds "
            "longer products from pairs."
        )
    grads, kept = [], []
    for i in (0, 1):
        mine, other = operands[i], operands[1 - i]
        keep = tuple(x for x in dict.fromkeys(mine) if x in output or x in other)
        equation = _text((output, other), keep)
        factor = rules.conj(op.inputs[1 - i])
        grads.append(op.graph.apply("Einsum", [dy, factor], equation=equation))
        kept.append(keep)
    if _broadcasts(op.inputs, operands):
        grads = _sum_dots(op, operands, grads, kept)
    return [
        _undo(op.graph, g, k, labels, x)
        for g, k, labels, x in zip(grads, kept, operands, op.inputs)
    ]


def _broadcasts(inputs: Sequence[Any], operands: Sequence[Labels]) -> bool:
    """True unless no operand is repeated along the other's ellipsis."""
    if not any(_ELLIPSIS in labels for labels in operands):
        return False
    parts = []
    for x, labels in zip(inputs, operands):
        if _ELLIPSIS not in labels:
            parts.append(())
            continue
        if x._shape is None:
            return True
        place = labels.index(_ELLIPSIS)
        after = len(labels) - place - 1
        parts.append(tuple(x._shape[place : len(x._shape) - after]))
    return parts[0] != parts[1] or None in parts[0]


def _pieces(x: Any, labels: Labels) -> dict[str, Any]:
    """The part of x's shape, a vector, that each label stands for."""
    sizes = static.shape_of(x)
    pieces: dict[str, Any] = {}
    place = labels.index(_ELLIPSIS) if _ELLIPSIS in labels else len(labels)
    for i, label in enumerate(labels):
        if i < place:
            pieces[label] = sizes[i : i + 1]
        elif i == place:
            after = len(labels) - i - 1
            pieces[label] = sizes[i:-after] if after else sizes[i:]
        else:
            start = i - len(labels)
            pieces[label] = sizes[start : start + 1] if start < -1 else sizes[start:]
    return pieces


def _shape(graph: Any, pieces: dict[str, Any], labels: Labels) -> Any:
    parts = [pieces[label] for label in labels]
    if not parts:
        return []
    if len(parts) == 1:
        return parts[0]
    return graph.apply("ConcatV2", parts, 0, name="concat")


def _sum_dots(
    op: Any, operands: Sequence[Labels], grads: Sequence[Any], kept: Sequence[Labels]
) -> list[Any]:
    """The gradients summed where their operand repeats along the other's ellipsis."""
    graph = op.graph
    pieces = [_pieces(x, labels) for x, labels in zip(op.inputs, operands)]
    none = np.zeros(0, np.int32)
    dots = [p.get(_ELLIPSIS, none) for p in pieces]
    axes = graph.apply("BroadcastGradientArgs", *dots)
    results = []
    for grad, axis, keep, piece, labels, x in zip(
        grads, axes, kept, pieces, operands, op.inputs
    ):
        if _ELLIPSIS in keep:
            grad = graph.apply(
                "Sum", grad, axis + keep.index(_ELLIPSIS), keep_dims=False
            )
            target = (
                static.shape_of(x) if keep == labels else _shape(graph, piece, keep)
            )
            grad = graph.apply("Reshape", grad, target)
        results.append(grad)
    return results


def _undo(graph: Any, grad: Any, kept: Labels, labels: Labels, x: Any) -> Any:
    """The gradient of ``labels -> kept``: copies along sums, zeros off diagonals."""
    if kept == labels:
        return grad
    unique = tuple(dict.fromkeys(labels))
    ordered = tuple(u for u in unique if u in kept)
    if ordered != kept:
        grad = graph.apply("Einsum", [grad], equation=_text((kept,), ordered))
    if ordered != unique:
        place = unique.index(_ELLIPSIS) if _ELLIPSIS in unique else len(unique)
        for i in range(place):
            if unique[i] not in kept:
                grad = graph.apply("ExpandDims", grad, i)
        for i in range(len(unique) - 1, place, -1):
            if unique[i] not in kept:
                grad = graph.apply("ExpandDims", grad, i - len(unique))
        if unique == labels:
            target = static.shape_of(x)
        else:
            target = _shape(graph, _pieces(x, labels), unique)
        grad = graph.apply("BroadcastTo", grad, target)
    if unique != labels:
        grad = graph.apply("Einsum", [grad], equation=_text((unique,), labels))
    return grad


# --- einsum ---------------------------------------------------------------------------


@family.numpy_function(np.einsum)
def einsum(equation: str, *inputs: Any, **kwargs: Any) -> Any:
    """A product of tensors by labelled axes, such as ``"ij,jk->ik"``.

    Every label that the output lacks is summed over. A label may stand twice in an
    operand (its diagonal) but once in the output; ``...`` is any axes, broadcast.
    Without ``->`` the output has the labels that stand once, in order. Three or more
    operands are multiplied pair by pair, the cheapest pair first.
    """
    name = kwargs.pop("name", None)
    kwargs.pop("optimize", None)
    if kwargs:
        raise TypeError(f"einsum() does not take {', '.join(sorted(kwargs))}.")
    if not isinstance(equation, str):
        raise TypeError(f"The equation must be a string, not {equation!r}.")
    operands, output = parse(equation)
    text = equation.replace(" ", "")
    if len(operands) != len(inputs):
        raise ValueError(
            f'Got {len(inputs)} inputs for equation "{equation}", expecting '
            f"{len(operands)}"
        )
    if len(set(output)) < len(output):
        raise ValueError(
            f"Output subscripts contain a label appearing more than once: {text}"
        )
    for label in output:
        if not any(label in labels for labels in operands):
            raise ValueError(
                f"Output subscripts contain the label {label} not present in the input "
                "subscripts."
            )
    with name_scope(name, "einsum", [list(inputs)]):
        tensors = _convert(inputs)
        if _ELLIPSIS not in output:
            _refuse_dots(tensors, operands, text)
        return _contract(tensors, list(operands), output)


def _refuse_dots(tensors: list[Any], operands: Sequence[Labels], text: str) -> None:
    """ValueError if an ellipsis stands for axes that the output does not name."""
    for tensor, labels in zip(tensors, operands):
        known = _ELLIPSIS in labels and tensor.ndim is not None
        if known and tensor.ndim >= len(labels):
            raise ValueError(
                f"The output subscripts of einsum equation '{text}' lack the "
                "ellipsis (...), where an input has axes for it."
            )


def _convert(inputs: Sequence[Any]) -> list[Any]:
    """All as tensors; Python values take the dtype of the first tensor."""
    like: DType | None = None
    for value in inputs:
        dtype = getattr(value, "dtype", None)
        if isinstance(dtype, DType):
            like = dtype
            break
    return [convert_to_tensor(value, dtype_hint=like) for value in inputs]


def _contract(tensors: list[Any], operands: list[Labels], output: Labels) -> Any:
    """Pairs of operands, cheapest first, until one Einsum gives the output."""
    while len(tensors) > 2:
        sizes = _sizes(tensors, operands)
        pairs = [
            (_cost(operands, i, j, output, sizes), i, j)
            for j in range(len(operands))
            for i in range(j)
        ]
        _, i, j = min(pairs)
        middle = _between(operands, i, j, output)
        made = apply_op(
            "Einsum",
            [tensors[i], tensors[j]],
            equation=_text((operands[i], operands[j]), middle),
        )
        for index in (j, i):
            del tensors[index], operands[index]
        tensors.append(made)
        operands.append(middle)
    return apply_op("Einsum", tensors, equation=_text(operands, output))


def _between(operands: list[Labels], i: int, j: int, output: Labels) -> Labels:
    """What the product of two operands must keep: what others or the output name."""
    others = {x for n, labels in enumerate(operands) if n not in (i, j) for x in labels}
    pair = dict.fromkeys(operands[i] + operands[j])
    dots = tuple(x for x in pair if x == _ELLIPSIS)
    wanted = others | set(output)
    return dots + tuple(x for x in pair if x in wanted and x != _ELLIPSIS)


def _sizes(tensors: list[Any], operands: list[Labels]) -> dict[str, int]:
    """The extent of each label, 1 where it is unknown."""
    sizes: dict[str, int] = {}
    for tensor, labels in zip(tensors, operands):
        if tensor._shape is None or _ELLIPSIS in labels:
            continue
        for label, extent in zip(labels, tensor._shape):
            sizes[label] = max(sizes.get(label, 1), extent or 1)
    return sizes


def _cost(
    operands: list[Labels], i: int, j: int, output: Labels, sizes: dict[str, int]
) -> int:
    """How much larger the product of a pair is than the pair."""

    def size(labels: Labels) -> int:
        return prod(sizes.get(label, 1) for label in labels)

    middle = _between(operands, i, j, output)
    return size(middle) - size(operands[i]) - size(operands[j])


@family.numpy_function(np.trace)
def _numpy_trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal, over the first two axes unless told otherwise."""
    if offset:
        raise ValueError("Only the main diagonal of a tensor: offset must be 0.")
    rank = a.ndim
    letters = [chr(ord("a") + i) for i in range(rank)]
    letters[axis2 % rank] = letters[axis1 % rank]
    rest = [x for x in letters if letters.count(x) == 1]
    return einsum("".join(letters) + "->" + "".join(rest), a)
