"""A graph as a GraphDef, an operation as a NodeDef."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gpugrad import messages
from gpugrad.errors import UnimplementedError, describe
from gpugrad.files import write_whole
from gpugrad.graph.graphdef.values import attr_value, shapes_attr

if TYPE_CHECKING:
    from gpugrad.graph.spec import OpSpec
    from gpugrad.graph.tensor import Operation

# The version that TensorFlow 2.21 writes: op types and attributes are of its time.
_PRODUCER: Final = 2474
# Attributes with an underscore that are TensorFlow's; all others are ours.
SHARED: Final = ("_class", "_gradient_op_type")


def mixed_list(spec: OpSpec) -> bool:
    """True if an op takes a list of tensors of several types: its attribute is a list
    of types rather than a count.
    """
    return any(
        formal.number is not None and formal.attr is None and formal.dtype is None
        for formal in spec.inputs
    )


def node_def(op: Operation, add_shapes: bool = False, lenient: bool = False) -> Any:
    """An operation as a NodeDef.

    UnimplementedError if it holds what no NodeDef can: a body of control flow, a
    Python function. With ``lenient`` that is left out: good enough to be looked at.
    """
    node = messages.message("NodeDef")(name=op.name, op=op.type, device=op.device)
    for tensor in op.inputs:
        index = f":{tensor.value_index}" if tensor.value_index else ""
        node.input.append(tensor.op.name + index)
    node.input.extend(f"^{other.name}" for other in op.control_inputs)
    if not lenient and any(key[0] == "_" for key in op.spec.attrs):
        raise UnimplementedError(
            None,
            op,
            f"{describe(op)} holds sub-graphs, which are not written to a GraphDef. "
            "Export the part of the graph without it.",
        )
    counts = {f.number for f in op.spec.inputs} if mixed_list(op.spec) else ()
    for key, value in op.attrs.items():
        private = key[0] == "_" and key not in SHARED
        unset = value is None and key != "shape"
        if private or unset or key in counts or (key, value) == _NO_PADDINGS:
            continue
        try:
            node.attr[key].CopyFrom(attr_value(key, value))
        except TypeError as error:
            del node.attr[key]
            if not lenient:
                raise UnimplementedError(
                    None,
                    op,
                    f"{describe(op)} cannot be written to a GraphDef: {error}.",
                ) from None
    if counts:
        types = [tensor.dtype for tensor in op.inputs[_fixed(op) :]]
        taken = any(formal.attr == "T" for formal in op.spec.inputs)  # Print's own
        key = "U" if taken else "T"
        node.attr[key].CopyFrom(attr_value(key, types))
    if add_shapes and op.outputs:
        shapes = [tensor._shape for tensor in op.outputs]
        node.attr["_output_shapes"].CopyFrom(shapes_attr(shapes))
    return node


# What every op with this attribute has by default; not all of TensorFlow's have it.
_NO_PADDINGS: Final = ("explicit_paddings", ())


def _fixed(op: Operation) -> int:
    """How many inputs stand before a list."""
    return sum(formal.number is None for formal in op.spec.inputs)


def graph_def(
    graph: Any,
    from_version: int | None = None,
    add_shapes: bool = False,
    lenient: bool = False,
) -> Any:
    """A graph, or its operations from number ``from_version`` on, as a GraphDef."""
    result = messages.message("GraphDef")()
    result.versions.producer = _PRODUCER
    for op in graph.get_operations()[from_version or 0 :]:
        result.node.append(node_def(op, add_shapes, lenient))
    return result


def write_graph(
    graph_or_graph_def: Any,
    logdir: str | os.PathLike[str],
    name: str,
    as_text: bool = True,
) -> str:
    """Write a Graph or a GraphDef to the file ``name`` in ``logdir``; gives its path.

    The folder is made if need be; the file is written whole or not at all.
    """
    found = graph_or_graph_def
    if hasattr(found, "as_graph_def"):
        found = found.as_graph_def()
    path = Path(logdir) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = messages.to_text(found).encode() if as_text else found.SerializeToString()
    write_whole(path, data)
    return str(path)
