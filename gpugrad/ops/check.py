"""Assertions on values: ops that fail a run if what they were told does not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.constant import constant_value
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation
from gpugrad.ops.family import OpFamily

family = OpFamily()

_SHOWN: Final = 3  # elements of each tensor in a message, unless told otherwise


# --- Assert -------------------------------------------------------------------------


def _host(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    condition, *data = arrays
    if not bool(np.all(condition)):
        raise _failed(data, site.attrs["summarize"])
    return []


def _failed(data: Sequence[Any], summarize: int) -> InvalidArgumentError:
    shown = " ".join(f"[{_some(np.asarray(array), summarize)}]" for array in data)
    return InvalidArgumentError(None, None, f"assertion failed: {shown}")


def _some(array: np.ndarray, count: int) -> str:
    items = array.reshape(-1).tolist()
    kept = items if count < 0 else items[:count]
    words = [i.decode(errors="replace") if isinstance(i, bytes) else i for i in kept]
    return " ".join(map(str, words)) + ("..." if len(kept) < len(items) else "")


family.op(
    "Assert",
    [
        Input("condition", attr=None, dtype=dtypes.bool_),
        Input("data", attr=None, number="N"),
    ],
    attrs={"summarize": _SHOWN},
    infer=lambda op: (),
    host=_host,
    stateful=True,
)
family.no_gradient("Assert")


def Assert(
    condition: Any,
    data: Sequence[Any],
    summarize: int | None = None,
    name: str | None = None,
) -> Operation:
    """An operation that fails, with ``data`` in its message, if the condition is false.

    Something else has to depend on it, or a run has to ask for it:
    ``with control_dependencies([Assert(...)])``.

    ``summarize``: how many elements of each tensor are shown; -1 for all.
    Raises:  InvalidArgumentError at once if the condition is known to be false.
    """
    condition = convert_to_tensor(condition, dtypes.bool_, name="condition")
    shown = _SHOWN if summarize is None else summarize
    known = constant_value(condition)
    if known is not None and not bool(np.all(known)):
        values = [constant_value(convert_to_tensor(item)) for item in data]
        raise _failed([v for v in values if v is not None], shown)
    operation: Operation = apply_op(
        "Assert", condition, list(data), name=name, summarize=shown
    )
    return operation


# --- comparisons --------------------------------------------------------------------


def _compare(
    kind: str,
    op_type: str,
    x: Any,
    y: Any,
    data: Any,
    summarize: int | None,
    message: str | None,
    name: str | None,
) -> Operation:
    with name_scope(name, f"assert_{kind}", [x, y, data]):
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, x.dtype, name="y")
        holds = apply_op(op_type, x, y)
        condition = apply_op("All", holds, list(range(holds.ndim or 0)))
        if holds.ndim is None:
            condition = apply_op("All", apply_op("Reshape", holds, [-1]), [0])
        if data is None:
            text = f"{message or ''} Condition x {_SIGN[op_type]} y did not hold "
            text += f"element-wise: x ({x.name}) = "
            data = [text.lstrip(), x, f"y ({y.name}) = ", y]
        return Assert(condition, data, summarize, name="Assert")


_SIGN: Final = {
    "Equal": "==",
    "NotEqual": "!=",
    "Less": "<",
    "LessEqual": "<=",
    "Greater": ">",
    "GreaterEqual": ">=",
}


def _pair(kind: str, op_type: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """TensorFlow 1's function of two tensors, and 2's, in another order."""

    def check(
        x: Any,
        y: Any,
        data: Any = None,
        summarize: int | None = None,
        message: str | None = None,
        name: str | None = None,
    ) -> Operation:
        return _compare(kind, op_type, x, y, data, summarize, message, name)

    def check_v2(
        x: Any,
        y: Any,
        message: str | None = None,
        summarize: int | None = None,
        name: str | None = None,
    ) -> Operation:
        return _compare(kind, op_type, x, y, None, summarize, message, name)

    text = f"An operation that fails unless ``x {_SIGN[op_type]} y`` everywhere."
    return _named(check, kind, text), _named(check_v2, kind, text)


def _sign(kind: str, op_type: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """TensorFlow 1's function of one tensor, compared with zero, and 2's."""

    def check(
        x: Any,
        data: Any = None,
        summarize: int | None = None,
        message: str | None = None,
        name: str | None = None,
    ) -> Operation:
        return _compare(kind, op_type, x, 0, data, summarize, message, name)

    def check_v2(
        x: Any,
        message: str | None = None,
        summarize: int | None = None,
        name: str | None = None,
    ) -> Operation:
        return _compare(kind, op_type, x, 0, None, summarize, message, name)

    text = f"An operation that fails unless ``x {_SIGN[op_type]} 0`` everywhere."
    return _named(check, kind, text), _named(check_v2, kind, text)


def _named(function: Callable[..., Any], kind: str, text: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = f"assert_{kind}"
    function.__doc__ = text
    return function


assert_equal, assert_equal_v2 = _pair("equal", "Equal")
assert_none_equal, assert_none_equal_v2 = _pair("none_equal", "NotEqual")
assert_less, assert_less_v2 = _pair("less", "Less")
assert_less_equal, assert_less_equal_v2 = _pair("less_equal", "LessEqual")
assert_greater, assert_greater_v2 = _pair("greater", "Greater")
assert_greater_equal, assert_greater_equal_v2 = _pair("greater_equal", "GreaterEqual")
assert_positive, assert_positive_v2 = _sign("positive", "Greater")
assert_negative, assert_negative_v2 = _sign("negative", "Less")
assert_non_negative, assert_non_negative_v2 = _sign("non_negative", "GreaterEqual")
assert_non_positive, assert_non_positive_v2 = _sign("non_positive", "LessEqual")
