"""Values printed while a graph runs: Print, and print with its two ops."""

from __future__ import annotations

import itertools
import pprint
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.ops.family import OpFamily, same_as_input

family = OpFamily()

_SHOWN: Final = 3  # elements of each tensor, unless told otherwise


def _word(value: Any) -> str:
    """One element, as C++ streams write it."""
    if isinstance(value, (bytes, str)):
        return value.decode(errors="replace") if isinstance(value, bytes) else value
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        # Few digits where they name the number, as many as it takes where not.
        few, many = (15, 17) if np.asarray(value).dtype.itemsize == 8 else (6, 9)
        text = f"{float(value):.{few}g}"
        kind = type(value)
        return text if kind(text) == value else f"{float(value):.{many}g}"
    return str(value)


def _write(stream: Any, text: str) -> None:
    stream.write(text)
    stream.flush()


# --- Print --------------------------------------------------------------------------


def _started(array: np.ndarray, count: int) -> str:
    """The first ``count`` elements in their brackets; "..." where more would be."""
    left = array.size if count < 0 else count

    def walk(part: np.ndarray) -> str:
        nonlocal left
        if part.ndim > 1:
            return "".join(f"[{walk(row)}]" for row in part if left > 0)
        shown = part[:left]
        left -= len(shown)
        text = " ".join(map(_word, shown))
        return text + "..." if array.ndim > 1 and len(shown) < len(part) else text

    text = walk(array.reshape(-1) if array.ndim == 0 else array)
    return text + "..." if 0 <= count < array.size else text


_printed: Counter[int] = Counter()
_lock: Final = threading.Lock()
_numbers: Final = itertools.count()


def _is_due(attrs: dict[str, Any]) -> bool:
    """False once an op with ``first_n`` has printed that often."""
    if attrs["first_n"] < 0:
        return True
    with _lock:
        _printed[attrs["_number"]] += 1
        return _printed[attrs["_number"]] <= attrs["first_n"]


def _print_infer(op: Operation) -> Any:
    if op.attrs["first_n"] >= 0:  # each op counts by itself, imported ones too
        op.attrs["_number"] = next(_numbers)
    return same_as_input(op)


def _print_host(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    attrs = site.attrs
    if _is_due(attrs):
        shown = "".join(
            f"[{_started(np.asarray(a), attrs['summarize'])}]" for a in arrays[1:]
        )
        _write(sys.stderr, f"{attrs['message']}{shown}\n")
    return [arrays[0]]


family.op(
    "Print",
    (Input("input"), Input("data", attr=None, number="N")),
    attrs={"message": "", "first_n": -1, "summarize": _SHOWN},
    infer=_print_infer,
    host=_print_host,
    stateful=True,
)


@family.gradient("Print", slices=True)
def _print_grad(op: Operation, dy: Any) -> Any:
    return [dy, *[None] * (len(op.inputs) - 1)]


def Print(
    input_: Any,
    data: Sequence[Any],
    message: str | None = None,
    first_n: int | None = None,
    summarize: int | None = None,
    name: str | None = None,
) -> Tensor:
    """``input_`` itself; whenever that is computed, ``data`` go to standard error.

    ``first_n``: print only so often; None for always.
    ``summarize``: how many elements of each tensor are shown; None for 3, -1 for all.
    The values are brought to the host, for which a GPU is waited for.
    """
    attrs: dict[str, Any] = {
        "message": message or "",
        "first_n": -1 if first_n is None else first_n,
        "summarize": _SHOWN if summarize is None else summarize,
    }
    tensor: Tensor = apply_op("Print", input_, list(data), name=name, **attrs)
    return tensor


# --- StringFormat, PrintV2 ----------------------------------------------------------


def _framed(array: np.ndarray, edge: int) -> str:
    """An array in brackets, ``edge`` elements from each end of an axis; -1 for all."""

    def walk(part: Any, depth: int) -> str:
        if depth == array.ndim:
            word = _word(part)
            return f'"{word}"' if array.dtype.kind in "OSU" else word
        rows = [walk(row, depth + 1) for row in _ends(part, edge)]
        if edge >= 0 and 2 * edge < len(part):
            rows.insert(edge, "...")
        gap = "\n" * (part.ndim - 1) + " " * (depth + 1) if part.ndim > 1 else " "
        return f"[{gap.join(rows)}]"

    if array.ndim == 0:
        return _word(array[()])
    return walk(array, 0)


def _ends(part: np.ndarray, edge: int) -> list[Any]:
    if edge >= 0 and 2 * edge < len(part):
        return [*part[:edge], *part[len(part) - edge :]]
    return list(part)


def _string_host(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    attrs = site.attrs
    first, *pieces = attrs["template"].split(attrs["placeholder"])
    shown = [_framed(np.asarray(a), attrs["summarize"]) for a in arrays]
    text = first + "".join(s + piece for s, piece in zip(shown, pieces, strict=True))
    return [np.array(text.encode(), object)]


family.op(
    "StringFormat",
    (Input("inputs", attr=None, number="N"),),
    attrs={"template": "%s", "placeholder": "%s", "summarize": _SHOWN},
    infer=lambda op: ((dtypes.string, ()),),
    host=_string_host,
)


def _stream_host(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    stream, text = site.attrs["output_stream"], arrays[0].item()
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    text += site.attrs["end"]
    if stream.startswith("file://"):
        with open(stream.removeprefix("file://"), "a", encoding="utf-8") as file:
            file.write(text)
    else:
        _write(sys.stdout if stream == "stdout" else sys.stderr, text)
    return []


family.op(
    "PrintV2",
    (Input("input", attr=None, dtype=dtypes.string),),
    attrs={"output_stream": "stderr", "end": "\n"},
    infer=lambda op: (),
    host=_stream_host,
    stateful=True,
)
family.no_gradient("StringFormat", "PrintV2")

# Stands for a tensor in the text; no text of a user holds it by chance.
_MARK: Final = "\0tensor\0"


class _Marked:
    """What pprint writes where a tensor stands in a nest."""

    def __repr__(self) -> str:
        return _MARK


def print_v2(
    *inputs: Any,
    output_stream: Any = None,
    summarize: int = _SHOWN,
    sep: str = " ",
    end: str = "\n",
    name: str | None = None,
) -> Operation:
    """An operation that prints ``inputs``, tensors and Python objects mixed and nested.

    A run has to ask for it, or something that it asks for depend on it:
    ``with control_dependencies([print(...)])``.

    ``output_stream``: sys.stderr (the default), sys.stdout, or "file://" and the path
             of a file to append to.
    ``summarize``: how many elements are shown at each end of an axis; -1 for all.
    """
    if output_stream is None or output_stream is sys.stderr:
        stream = "stderr"
    elif output_stream is sys.stdout:
        stream = "stdout"
    elif isinstance(output_stream, str) and output_stream.startswith("file://"):
        stream = output_stream
    else:
        raise ValueError(
            "output_stream must be sys.stdout, sys.stderr or 'file://' and a path, not "
            f"{output_stream!r}."
        )
    tensors: list[Tensor] = []

    def marked(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: marked(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            rows = [marked(v) for v in value]
            if hasattr(value, "_fields"):
                return type(value)(*rows)  # a namedtuple
            return type(value)(rows)
        if isinstance(value, Tensor) or hasattr(value, "__tensor__"):
            tensors.append(convert_to_tensor(value))
            return _Marked()
        return value

    words = [marked(v) for v in inputs]
    text = sep.join(
        w if isinstance(w, str) else pprint.pformat(w, sort_dicts=False) for w in words
    )
    formatted = apply_op(
        "StringFormat",
        tensors,
        template=text,
        placeholder=_MARK,
        summarize=summarize,
    )
    operation: Operation = apply_op(
        "PrintV2", formatted, output_stream=stream, end=end, name=name
    )
    return operation
