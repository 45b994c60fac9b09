"""TensorFlow's protobuf messages, from the package that TensorBoard is.

The package ``tensorboard`` carries them compiled, needs no TensorFlow, and is what
people look at event files with. It is an optional extra, imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

# Message names as TensorFlow shows them, and the modules that they stand in.
MODULES: Final = {
    "AttrValue": "attr_value",
    "Event": "event",
    "GraphDef": "graph",
    "HistogramProto": "summary",
    "MetaGraphDef": "meta_graph",
    "NameAttrList": "attr_value",
    "NodeDef": "node_def",
    "RunMetadata": "config",
    "SessionLog": "event",
    "Summary": "summary",
    "SummaryMetadata": "summary",
    "TensorProto": "tensor",
    "TensorShapeProto": "tensor_shape",
    "VariableDef": "variable",
}
# Those that TensorFlow shows at its top level.
PUBLIC: Final = (
    "AttrValue", "Event", "GraphDef", "HistogramProto", "MetaGraphDef", "NameAttrList",
    "NodeDef", "RunMetadata", "SessionLog", "Summary", "SummaryMetadata",
)  # fmt: skip


def module(name: str) -> Any:
    """A module of the extra; ImportError that names the extra if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"GraphDef, MetaGraphDef and event files need the extra 'tensorboard' "
            f"(missing: {error.name or name}). Install it: "
            "pip install 'gpugrad[tensorboard]'."
        ) from error


def message(name: str) -> Any:
    """A message class, such as GraphDef."""
    return getattr(module(f"tensorboard.compat.proto.{MODULES[name]}_pb2"), name)


def available() -> bool:
    """True if the extra is installed."""
    try:
        message("GraphDef")
    except ImportError:
        return False
    return True


def to_text(value: Any) -> str:
    """A message in protobuf's text format."""
    text: str = module("google.protobuf.text_format").MessageToString(value)
    return text


def parse(name: str, data: bytes, what: str) -> Any:
    """The message ``name`` out of bytes, binary or text; ValueError if neither.

    ``what`` is told to the reader of the error: a file, usually.
    """
    kind = message(name)
    decode_error = module("google.protobuf.message").DecodeError
    text_format = module("google.protobuf.text_format")
    try:
        return kind.FromString(data)
    except decode_error as error:
        try:
            return text_format.Parse(data.decode(), kind())
        except (UnicodeDecodeError, text_format.ParseError):
            raise ValueError(
                f"{what} holds no {name}, neither in binary nor in text form: {error}."
            ) from None
