"""Assertions on ranks, shapes and types: made while building where they are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph import constant
from gpugrad.graph.build import apply_op, convert_to_tensor, is_tensor, name_scope
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.ops import rules
from gpugrad.ops.basic import group
from gpugrad.ops.check import Assert

# --- ranks ----------------------------------------------------------------------------


def _holds(name: str) -> Operation:
    """The operation of a check that was made while building."""
    operation: Operation = apply_op("NoOp", name=name)
    return operation


def _rank_condition(
    kind: str,
    wanted: str,
    op_types: Sequence[str],
    x: Any,
    ranks: Sequence[Any],
    data: Any,
    summarize: int | None,
    message: str | None,
    name: str | None,
) -> Operation:
    """``op_types[i]`` of the rank and ``ranks[i]`` for any i, now or in the run."""
    with name_scope(name, kind, [x, *ranks]):
        x = convert_to_tensor(x, name="x")
        ranks = [convert_to_tensor(r, name="rank") for r in ranks]
        for rank in ranks:
            if not rank.dtype.is_integer:
                raise ValueError(f"rank must be an integer, not {rank.dtype.name}.")
            if rank.ndim not in (None, 0):
                raise ValueError("Rank must be a scalar.")
        known = [constant.constant_value(r) for r in ranks]
        have = x.ndim
        if have is not None and all(k is not None for k in known):
            numbers = [int(k) for k in known if k is not None]
            if not any(_COMPARED[t](have, n) for t, n in zip(op_types, numbers)):
                shown = numbers[0] if len(numbers) == 1 else tuple(numbers)
                raise ValueError(
                    f"{_said(message)}Tensor {x.name} must have rank {wanted}{shown}."
                    f"  Received rank {have}, shape {x.shape}"
                )
            return _holds("static_checks_determined_all_ok")
        rank_of = apply_op("Rank", x)
        holds: Any = False
        for op_type, rank in zip(op_types, ranks):
            holds = apply_op("LogicalOr", holds, apply_op(op_type, rank_of, rank))
        if data is None:
            data = [
                f"{message or ''} Tensor {x.name} must have rank {wanted}",
                *ranks,
                "Received shape: ",
                apply_op("Shape", x),
            ]
        return Assert(holds, data, summarize, name="Assert")


def _said(message: str | None) -> str:
    return f"{message}.  " if message else ""


_COMPARED = {"Equal": lambda m, n: m == n, "GreaterEqual": lambda m, n: m >= n}


def assert_rank(
    x: Any,
    rank: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """An operation that fails unless ``x`` has this rank.

    Raises:  ValueError at once if both are known while building, and differ.
    """
    return _rank_condition(
        "assert_rank", "", ["Equal"], x, [rank], data, summarize, message, name
    )


def assert_rank_v2(
    x: Any, rank: Any, message: str | None = None, name: str | None = None
) -> Operation:
    """``assert_rank`` with the arguments of TensorFlow 2."""
    return assert_rank(x, rank, message=message, name=name)


def assert_rank_at_least(
    x: Any,
    rank: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """An operation that fails unless ``x`` has at least this rank (see assert_rank)."""
    return _rank_condition(
        "assert_rank_at_least",
        "at least ",
        ["GreaterEqual"],
        x,
        [rank],
        data,
        summarize,
        message,
        name,
    )


def assert_rank_at_least_v2(
    x: Any, rank: Any, message: str | None = None, name: str | None = None
) -> Operation:
    """``assert_rank_at_least`` with the arguments of TensorFlow 2."""
    return assert_rank_at_least(x, rank, message=message, name=name)


def assert_rank_in(
    x: Any,
    ranks: Sequence[Any],
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """An operation that fails unless ``x`` has one of these ranks (see assert_rank)."""
    return _rank_condition(
        "assert_rank_in",
        "in ",
        ["Equal"] * len(ranks),
        x,
        list(ranks),
        data,
        summarize,
        message,
        name,
    )


def assert_rank_in_v2(
    x: Any, ranks: Sequence[Any], message: str | None = None, name: str | None = None
) -> Operation:
    """``assert_rank_in`` with the arguments of TensorFlow 2."""
    return assert_rank_in(x, ranks, message=message, name=name)


def assert_scalar(
    tensor: Any, name: str | None = None, message: str | None = None
) -> Tensor:
    """``tensor`` itself, a scalar; ValueError at once for a known other shape."""
    with name_scope(name, "assert_scalar", [tensor]):
        tensor = convert_to_tensor(tensor, name="tensor")
        if tensor.ndim not in (None, 0):
            raise ValueError(
                f"{message or ''}Expected scalar shape for {tensor.name}, saw shape: "
                f"{tensor.shape}."
            )
        return tensor


def assert_scalar_v2(
    tensor: Any, message: str | None = None, name: str | None = None
) -> Tensor:
    """``assert_scalar`` with the arguments of TensorFlow 2."""
    return assert_scalar(tensor, name, message)


# --- types ----------------------------------------------------------------------------


def assert_type(
    tensor: Any, tf_type: Any, message: str | None = None, name: str | None = None
) -> Operation:
    """A NoOp if ``tensor`` has this dtype; else TypeError, at once."""
    wanted = as_dtype(tf_type)
    with name_scope(name, "assert_type", [tensor]):
        tensor = convert_to_tensor(tensor, name="tensor")
        if tensor.dtype is not wanted:
            raise TypeError(
                f"{message or ''}{tensor.name} must be of type {wanted!r}; got "
                f"{tensor.dtype!r}"
            )
        return _holds("statically_determined_correct_type")


def assert_integer(
    x: Any, message: str | None = None, name: str | None = None
) -> Operation:
    """A NoOp if ``x`` has an integer dtype; else TypeError, at once."""
    with name_scope(name, "assert_integer", [x]):
        x = convert_to_tensor(x, name="x")
        if not x.dtype.is_integer:
            raise TypeError(
                f'{message or ""}Expected "x" to be integer type.  Found: {x.name} of '
                f"dtype {x.dtype!r}"
            )
        return _holds("statically_determined_was_integer")


def assert_integer_v2(
    x: Any, message: str | None = None, name: str | None = None
) -> Operation:
    """assert_integer under its name in TensorFlow 2."""
    return assert_integer(x, message, name)


def assert_proper_iterable(values: Any) -> None:
    """TypeError unless ``values`` is a list or the like: no tensor, no text."""
    if is_tensor(values) or isinstance(values, (np.ndarray, bytes, str)):
        raise TypeError(
            'Expected argument "values" to be a "proper" iterable.  Found: '
            f"{type(values)}"
        )
    if not isinstance(values, Iterable):
        raise TypeError(
            f'Expected argument "values" to be iterable.  Found: {type(values)}'
        )


def assert_same_float_dtype(
    tensors: Sequence[Any] | None = None, dtype: Any = None
) -> DType:
    """The floating point dtype of all ``tensors``, by default float32.

    Raises:  ValueError if they differ from each other or from ``dtype``, or are not of
             floating point.
    """
    wanted = None if dtype is None else as_dtype(dtype).base_dtype
    for tensor in tensors or ():
        if tensor is None:
            continue
        found = tensor.dtype.base_dtype
        if wanted is not None and found is not wanted:
            raise ValueError(
                f"{tensor.name}, type={found!r}, must be of the same type ({wanted!r})."
            )
        wanted = found
    wanted = wanted or as_dtype("float32")
    if not wanted.is_floating:
        raise ValueError(f"Expected floating point type, got {wanted!r}.")
    return wanted


def is_numeric_tensor(tensor: Any) -> bool:
    """True for a tensor of numbers: not bool, string, resource or variant."""
    return isinstance(tensor, Tensor) and tensor.dtype in rules.NUMBERS


# --- values ---------------------------------------------------------------------------


def assert_near(
    x: Any,
    y: Any,
    rtol: Any = None,
    atol: Any = None,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """An operation that fails unless ``|x - y| <= atol + rtol * |y|`` everywhere.

    Both tolerances are by default 10 times the distance from 1 to the next number.
    """
    with name_scope(name, "assert_near", [x, y, data]):
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, x.dtype, name="y")
        real = x.dtype.real_dtype
        least = 0.0
        if real.is_floating:
            one = np.asarray(1, real.np_dtype)
            least = 10 * float(np.nextafter(one, np.asarray(2, one.dtype)) - one)
        rtol = convert_to_tensor(least if rtol is None else rtol, real, name="rtol")
        atol = convert_to_tensor(least if atol is None else atol, real, name="atol")
        distance = _size(x - y)
        holds = apply_op("LessEqual", distance, atol + rtol * _size(y))
        everywhere = apply_op("All", apply_op("Reshape", holds, [-1]), [0])
        if data is None:
            text = f"{message or ''} x and y not equal to tolerance; x ({x.name}) = "
            data = [text.lstrip(), x, f"y ({y.name}) = ", y]
            data += ["rtol, atol = ", rtol, atol]
        return Assert(everywhere, data, summarize, name="Assert")


def _size(x: Any) -> Any:
    return apply_op("ComplexAbs" if x.dtype.is_complex else "Abs", x)


def assert_near_v2(
    x: Any,
    y: Any,
    rtol: Any = None,
    atol: Any = None,
    message: str | None = None,
    summarize: int | None = None,
    name: str | None = None,
) -> Operation:
    """``assert_near`` with the arguments of TensorFlow 2."""
    return assert_near(x, y, rtol, atol, None, summarize, message, name)


def verify_tensor_all_finite(
    t: Any = None,
    msg: str | None = None,
    name: str | None = None,
    x: Any = None,
    message: str | None = None,
) -> Tensor:
    """``t`` itself; a run fails with ``msg`` if an element is infinite or NaN."""
    x = rules.one_of(x, t, "x", "t")
    message = rules.one_of(message, msg, "message", "msg")
    with name_scope(name, "VerifyFinite", [x]):
        x = convert_to_tensor(x, name="t")
        check = apply_op("CheckNumerics", x, message=message)
        with x.graph.control_dependencies([check]):
            return apply_op("Identity", x, name="control_dependency")


def assert_all_finite(x: Any, message: str, name: str | None = None) -> Tensor:
    """verify_tensor_all_finite under its name in TensorFlow 2."""
    return verify_tensor_all_finite(x=x, message=message, name=name)


# --- shapes ---------------------------------------------------------------------------


def assert_shapes(
    shapes: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """An operation that fails unless tensors have shapes that agree with each other.

    ``shapes``: pairs (tensor, shape) or a dict; a shape is a text or a sequence of
    numbers, names (a name stands for one size wherever it is used), "." or None for
    any size, and "..." or "*" at one end for any number of axes.
    Raises:  ValueError at once for what is known to differ while building.
    """
    pairs = list(shapes.items()) if isinstance(shapes, dict) else list(shapes)
    with name_scope(name, "assert_shapes", [t for t, _ in pairs]):
        sizes: dict[str, tuple[Any, str]] = {}
        checks: list[Any] = []
        for tensor, shape in pairs:
            tensor = convert_to_tensor(tensor)
            entries = _entries(shape)
            checks += _shape_checks(tensor, entries, sizes, (data, summarize, message))
        if not checks:
            return _holds("static_checks_determined_all_ok")
        operation: Operation = group(*checks)
        return operation


def _entries(shape: Any) -> list[Any]:
    if isinstance(shape, str):
        shape = ["...", *shape[3:]] if shape.startswith("...") else list(shape)
        text = "".join(shape)
        if text.endswith("...") and text != "...":
            shape = [*text[:-3], "..."]
    elif not isinstance(shape, Iterable):
        shape = (shape,)
    entries = ["..." if e == "*" else e for e in shape]
    if "..." in entries[1:-1] or entries.count("...") > 1:
        raise ValueError("'...' may only stand at one end of a shape.")
    return entries


def _shape_checks(
    tensor: Any, entries: list[Any], sizes: dict[str, tuple[Any, str]], options: Any
) -> list[Any]:
    data, summarize, message = options
    prefix = entries[:1] == ["..."]
    open_end = "..." in entries
    named = [e for e in entries if e != "..."]
    check = assert_rank_at_least if open_end else assert_rank
    checks: list[Any] = [check(tensor, len(named), data, summarize, message)]
    dynamic = None
    for place, entry in enumerate(named):
        if entry in (None, "."):
            continue
        axis = place - len(named) if prefix else place
        size: Any = None if tensor.ndim is None else tensor._shape[axis]
        where = f"tensor {tensor.name} dimension {axis}"
        if size is None:
            dynamic = apply_op("Shape", tensor) if dynamic is None else dynamic
            size = dynamic[axis]
        wanted, source = entry, "explicitly"
        if isinstance(entry, str) and not entry.isdigit():
            if entry not in sizes:
                sizes[entry] = (size, where)
                continue
            wanted, where_first = sizes[entry]
            source = f"by {where_first}"
        elif isinstance(entry, str):
            wanted = int(entry)
        if isinstance(size, int) and isinstance(wanted, int):
            if size != wanted:
                raise ValueError(
                    f"{_said(message)}Specified {source}.  T{where[1:]} must have size "
                    f"{wanted}.  Received size {size}, shape {tensor.shape}"
                )
            continue
        told = data or [
            f"{message or ''} Specified {source}: {where} must have size",
            wanted,
            "Received size:",
            size,
        ]
        checks.append(Assert(apply_op("Equal", size, wanted), told, summarize))
    return checks
