"""A graph with its collections as a MetaGraphDef, and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from gpugrad import messages
from gpugrad.graph import build
from gpugrad.graph.graph import Graph
from gpugrad.graph.graphdef import export
from gpugrad.graph.graphdef.importing import import_nodes
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import GraphKeys, Variable

_log = logging.getLogger("gpugrad")
# What a Saver saves, and under which names: JSON, names to variables' names.
SAVED: Final = "gpugrad_saver"
_VERSION: Final = 2  # SaverDef.V2

_Made = Callable[[bytes], Variable]

# --- writing --------------------------------------------------------------------------


def meta_graph_def(
    graph: Graph,
    saver: Any = None,
    collections: Iterable[str] | None = None,
    clear_devices: bool = False,
) -> Any:
    """A graph as a MetaGraphDef: its GraphDef and its collections, by default all.

    Of a collection, tensors, operations and variables are kept by name, and numbers
    and strings; a collection with anything else is left out, and logged. ``saver``,
    if given, is kept so that import_meta_graph() gives one like it.
    """
    meta = messages.message("MetaGraphDef")()
    meta.graph_def.CopyFrom(export.graph_def(graph))
    meta.meta_info_def.tensorflow_version = "2.21.0"
    if clear_devices:
        for node in meta.graph_def.node:
            node.device = ""
    keys = graph.get_all_collection_keys() if collections is None else collections
    for key in keys:
        items = graph.get_collection(key)
        try:
            _fill(meta.collection_def[key], items)
        except TypeError as error:
            del meta.collection_def[key]
            _log.warning(
                "The collection %r is left out of the MetaGraphDef: %s.", key, error
            )
    if saver is not None:
        meta.saver_def.version = _VERSION
        meta.saver_def.max_to_keep = saver.max_to_keep
        meta.saver_def.keep_checkpoint_every_n_hours = saver.every_n_hours
        names = {name: v.name for name, v in saver.variables.items()}
        meta.collection_def[SAVED].bytes_list.value.append(json.dumps(names).encode())
    return meta


def _fill(proto: Any, items: list[Any]) -> None:
    """The items of a collection, all of one kind."""
    for item in items:
        if isinstance(item, Variable):
            proto.bytes_list.value.append(variable_def(item).SerializeToString())
        elif isinstance(item, (Tensor, Operation)):
            proto.node_list.value.append(item.name)
        elif isinstance(item, bool):
            raise TypeError("it holds a boolean")
        elif isinstance(item, int):
            proto.int64_list.value.append(item)
        elif isinstance(item, float):
            proto.float_list.value.append(item)
        elif isinstance(item, (str, bytes)):
            data = item.encode() if isinstance(item, str) else item
            proto.bytes_list.value.append(data)
        else:
            raise TypeError(f"it holds {item!r}")


def variable_def(variable: Variable) -> Any:
    """A variable as a VariableDef: the names of its parts."""
    return messages.message("VariableDef")(
        variable_name=variable.name,
        initial_value_name=variable.initial_value.name,
        initializer_name=variable.initializer.name,
        snapshot_name=variable.__graph_element__().name,
        trainable=variable.trainable,
        is_resource=True,
    )


# --- reading --------------------------------------------------------------------------

# Collections whose items are variables, in the bytes of VariableDefs.
_VARIABLES: Final = frozenset(
    {
        GraphKeys.GLOBAL_VARIABLES,
        GraphKeys.TRAINABLE_VARIABLES,
        GraphKeys.LOCAL_VARIABLES,
        GraphKeys.MODEL_VARIABLES,
        GraphKeys.METRIC_VARIABLES,
        GraphKeys.MOVING_AVERAGE_VARIABLES,
        GraphKeys.GLOBAL_STEP,
    }
)
# What TensorFlow keeps there has no counterpart here.
_SKIPPED: Final = frozenset(
    {
        GraphKeys.SAVERS,
        GraphKeys.COND_CONTEXT,
        GraphKeys.WHILE_CONTEXT,
        GraphKeys.QUEUE_RUNNERS,
        SAVED,
    }
)


def import_meta_graph_def(
    meta: Any, clear_devices: bool = False, scope: str | None = None
) -> dict[str, Variable]:
    """Add a MetaGraphDef's graph and collections to the default graph.

    Gives the variables that its saver saves, by their names in the checkpoint. The
    ops with which TensorFlow saves are left out.
    """
    graph = build.get_default_graph()
    graph_def = messages.message("GraphDef")()
    graph_def.CopyFrom(meta.graph_def)
    saving = meta.saver_def.restore_op_name.rpartition("/")[0]
    if saving:
        kept = [n for n in graph_def.node if not n.name.startswith(f"{saving}/")]
        del graph_def.node[:]
        graph_def.node.extend(kept)
    if clear_devices:
        for node in graph_def.node:
            node.device = ""
    prefix = import_nodes(graph_def, scope or "", {}).scope
    made: dict[str, Variable] = {}

    def variable(data: bytes) -> Variable:
        proto = messages.message("VariableDef").FromString(data)
        if proto.variable_name not in made:
            made[proto.variable_name] = _variable(graph, proto, prefix)
        return made[proto.variable_name]

    for key, proto in meta.collection_def.items():
        if key not in _SKIPPED:
            for item in _items(graph, key, proto, prefix, variable):
                graph.add_to_collection(key, item)
    if SAVED in meta.collection_def:
        names = json.loads(meta.collection_def[SAVED].bytes_list.value[0])
        return {name: made[own] for name, own in names.items()}
    return {name.partition(":")[0]: v for name, v in made.items()}


def _variable(graph: Graph, proto: Any, prefix: str) -> Variable:
    initializer = graph.get_operation_by_name(prefix + proto.initializer_name)
    return Variable.of_parts(
        initializer.inputs[1],
        initializer,
        graph.get_tensor_by_name(prefix + proto.snapshot_name),
        trainable=proto.trainable,
    )


def _items(
    graph: Graph, key: str, proto: Any, prefix: str, variable: _Made
) -> list[Any]:
    kind = proto.WhichOneof("kind")
    if kind is None or kind == "any_list":
        return []
    values = getattr(proto, kind).value
    if kind == "node_list":
        return [graph.as_graph_element(prefix + name) for name in values]
    if kind == "bytes_list" and key in _VARIABLES:
        return [variable(data) for data in values]
    return list(values)


def read_meta_graph(source: Any) -> Any:
    """The MetaGraphDef in a file, binary or text; a message is itself."""
    if hasattr(source, "graph_def"):
        return source
    with open(source, "rb") as file:
        return messages.parse("MetaGraphDef", file.read(), f"The file {source}")
