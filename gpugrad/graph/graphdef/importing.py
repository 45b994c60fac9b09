"""A GraphDef, into a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

from gpugrad.errors import GraphError, UnimplementedError
from gpugrad.graph import build
from gpugrad.graph.graph import Graph
from gpugrad.graph.graphdef.export import SHARED, mixed_list
from gpugrad.graph.graphdef.values import from_attr_value
from gpugrad.graph.spec import REGISTRY, OpSpec
from gpugrad.graph.tensor import Operation, Tensor

# Attributes of TensorFlow's that say how to compute, not what.
_HOW: Final = frozenset(
    {"use_cudnn_on_gpu", "grad_a", "grad_b", "grad_x", "grad_y", "debug_name"}
    | {"allowed_devices", "Toutput_types", "validate_indices", "parallel_iterations"}
)
# Older names of the same ops, where gpugrad does not have them.
_RENAMED: Final = {"BatchMatMul": "BatchMatMulV2"}


def import_graph_def(
    graph_def: Any,
    input_map: Mapping[str, Any] | None = None,
    return_elements: Sequence[str] | None = None,
    name: str | None = None,
    op_dict: Any = None,
    producer_op_list: Any = None,
) -> list[Any] | None:
    """Add the operations of a GraphDef to the default graph.

    ``input_map`` gives tensors of this graph in the place of tensors of the GraphDef,
    by name. ``name`` is put before the operations' names ("import" by default, "" for
    none). Gives the operations and tensors that ``return_elements`` names.

    Nothing is added if anything is known to be wrong beforehand: TypeError for what is
    no GraphDef, ValueError for inputs that are missing and names that are taken,
    UnimplementedError for circles and for op types that gpugrad does not have, all of
    which it names. A node whose inputs do not fit it is an error when it is reached.
    """
    if not hasattr(graph_def, "node"):
        raise TypeError(
            f"graph_def must be a GraphDef proto, not {type(graph_def).__name__}."
        )
    importer = import_nodes(graph_def, name, input_map or {})
    unused = sorted(set(input_map or ()) - importer.used)
    if unused:
        raise ValueError(
            "Attempted to map inputs that were not found in graph_def: "
            f"[{', '.join(unused)}]"
        )
    if return_elements is None:
        return None
    return [importer.element(wanted) for wanted in return_elements]


def import_nodes(
    graph_def: Any, name: str | None, input_map: Mapping[str, Any]
) -> Importer:
    """Add all nodes of a GraphDef; what knows the operations that came of them."""
    graph = build.get_default_graph()
    nodes = _ordered(graph_def.node, input_map)
    _check_types(nodes)
    _check_names(graph, nodes, name)
    plain = name == ""
    with graph.name_scope(None if plain else name or "import") as scope:
        importer = Importer(graph, "" if plain else scope, input_map)
        for node in nodes:
            importer.add(node)
    return importer


def _split(name: str) -> tuple[str, int]:
    """ "a:1" as ("a", 1), "a" as ("a", 0)."""
    op_name, colon, index = name.partition(":")
    return op_name, int(index) if colon else 0


def _ordered(nodes: Any, replaced: Mapping[str, Any]) -> list[Any]:
    """The nodes, each behind its inputs; in the given order where that is one."""
    by_name = {node.name: node for node in nodes}
    if len(by_name) != len(nodes):
        twice = [n for n, k in Counter(node.name for node in nodes).items() if k > 1]
        raise ValueError(f"The GraphDef has several nodes named {twice[0]!r}.")
    done: dict[str, bool] = {}  # False: on the stack, which is a path of inputs
    order = []
    for first in nodes:
        stack = [first]
        while stack:
            node = stack[-1]
            if done.get(node.name):
                stack.pop()
                continue
            waiting = [
                by_name[n] for n in _needed(node, by_name, replaced) if not done.get(n)
            ]
            if not waiting:
                done[node.name] = True
                order.append(stack.pop())
                continue
            done[node.name] = False
            if any(other.name in done for other in waiting):
                raise UnimplementedError(
                    None,
                    None,
                    f"Node {node.name!r} is part of a circle: loops of TensorFlow 1's "
                    "control flow (Enter, Exit, ...) cannot be imported. Export the "
                    "graph with tf.enable_control_flow_v2().",
                )
            stack.append(waiting[0])
    return order


def _needed(
    node: Any, by_name: Mapping[str, Any], replaced: Mapping[str, Any]
) -> list[str]:
    names = []
    for text in node.input:
        name, index = _split(text.lstrip("^"))
        if _replacement(replaced, name, index) is not None:
            continue
        if name not in by_name:
            raise ValueError(
                f"Node {node.name!r} has the input {text!r}, but the GraphDef has no "
                f"node {name!r}. Give a tensor for it in input_map."
            )
        names.append(name)
    return names


def _replacement(replaced: Mapping[str, Any], name: str, index: int) -> str | None:
    """The key of ``input_map`` that stands for a tensor of the GraphDef."""
    for key in (f"{name}:{index}", name if index == 0 else None):
        if key is not None and key in replaced:
            return key
    return None


def _check_types(nodes: Sequence[Any]) -> None:
    unknown: Counter[str] = Counter()
    example: dict[str, str] = {}
    for node in nodes:
        spec = REGISTRY.specs.get(_RENAMED.get(node.op, node.op))
        if spec is None or any(key[0] == "_" for key in spec.attrs):
            unknown[node.op] += 1
            example.setdefault(node.op, node.name)
    if unknown:
        listed = ", ".join(
            f"{kind} ({count}, such as {example[kind]!r})"
            for kind, count in sorted(unknown.items())
        )
        raise UnimplementedError(
            None,
            None,
            f"The GraphDef has op types that gpugrad cannot import: {listed}. Nothing "
            "was imported. Sub-graphs of functions and control flow cannot be; for "
            "variables of TensorFlow 1, freeze the graph or use resource variables.",
        )


def _check_names(graph: Graph, nodes: Sequence[Any], name: str | None) -> None:
    if name != "":
        return  # the scope is a new one
    taken = [n.name for n in nodes if n.name in graph._by_name]
    if taken:
        raise ValueError(
            f"Node name {taken[0]!r} already exists in the Graph ({len(taken)} names "
            "do). Import under a name."
        )


class Importer:
    """Adds nodes, one behind the other, under the prefix ``scope``."""

    def __init__(self, graph: Graph, scope: str, replaced: Mapping[str, Any]) -> None:
        self._graph = graph
        self.scope = scope
        self._replaced = replaced
        self._made: dict[str, Operation] = {}
        self.used: set[str] = set()

    def tensor(self, name: str) -> Tensor:
        """The tensor that a name in the GraphDef means."""
        op_name, index = _split(name)
        key = _replacement(self._replaced, op_name, index)
        if key is not None:
            self.used.add(key)
            return self._graph.convert(self._replaced[key])
        outputs = self._made[op_name].outputs
        if index >= len(outputs):
            raise ValueError(f"{op_name!r} has {len(outputs)} outputs, no {name!r}.")
        return outputs[index]

    def element(self, name: str) -> Any:
        """An operation ("a") or a tensor ("a:0") that was imported."""
        op_name, index = _split(name)
        op = self._made.get(op_name)
        if op is None or (":" in name and index >= len(op.outputs)):
            raise ValueError(
                f"Requested return_element {name!r} not found in graph_def."
            )
        return op.outputs[index] if ":" in name else op

    def add(self, node: Any) -> None:
        """Add one node; its inputs are there."""
        graph = self._graph
        spec = REGISTRY.find(_RENAMED.get(node.op, node.op))
        data: list[Any] = [self.tensor(t) for t in node.input if t[0] != "^"]
        before = [t[1:] for t in node.input if t[0] == "^"]
        attrs = self._attributes(spec, node)
        args: list[Any] = []
        for number, formal in enumerate(spec.inputs):
            if formal.number is None:
                args.append(data[number] if number < len(data) else None)
                continue
            after = len(spec.inputs) - number - 1
            count = attrs.pop(formal.number, len(data) - number - after)
            args.append(data[number : number + count])
            data[number : number + count] = [None]
        if len(data) != len(spec.inputs):
            raise ValueError(
                f"Node {node.name!r} of type {node.op} has {len(data)} inputs; "
                f"{len(spec.inputs)} were expected."
            )
        full = self.scope + node.name
        graph._names.unique(full)
        with ExitStack() as around:
            around.enter_context(graph.control_dependencies(None))
            controls = [self._before(name) for name in before]
            around.enter_context(graph.control_dependencies(controls))
            around.enter_context(graph.device(node.device or None))
            graph.apply(spec.type, *args, name=f"{full}/", **attrs)
        self._made[node.name] = graph._by_name[full]

    def _before(self, name: str) -> Operation:
        if name in self._replaced:
            self.used.add(name)
            return self._graph.convert(self._replaced[name]).op
        return self._made[name]

    def _attributes(self, spec: OpSpec, node: Any) -> dict[str, Any]:
        counts = {f.number for f in spec.inputs if f.number is not None}
        known = {*spec.attrs, *counts, *(f.attr for f in spec.inputs)}
        mixed = {"T", "Tin", "U"} if mixed_list(spec) else set()
        found = {}
        for key, proto in node.attr.items():
            if key in known:
                value = from_attr_value(proto)
                is_text = isinstance(spec.attrs.get(key), str) or key in _TEXT
                if isinstance(value, bytes) and is_text:
                    value = value.decode()
                found[key] = value
            elif key == "_class":
                prefix = b"loc:@" + self.scope.encode()
                groups = proto.list.s
                found[key] = tuple(g.replace(b"loc:@", prefix, 1) for g in groups)
            elif key in SHARED:
                found[key] = proto.s
            elif key[0] != "_" and key not in _HOW and key not in mixed:
                self._refuse(spec, node, key, proto)
        lacking = [k for k, v in spec.attrs.items() if v is ... and k not in found]
        if lacking:
            raise ValueError(
                f"Node {node.name!r} of type {node.op} lacks the attribute "
                f"{lacking[0]!r}."
            )
        return found

    @staticmethod
    def _refuse(spec: OpSpec, node: Any, key: str, proto: Any) -> None:
        value = None
        if proto.WhichOneof("value") != "func":
            value = from_attr_value(proto)
        if value in (False, (), b"", 0, None):
            return  # as if it were not there
        raise GraphError(
            f"Node {node.name!r} of type {node.op} has the attribute {key!r} = "
            f"{value!r}, which gpugrad's {spec.type} does not have."
        )


# Attributes that are text, where no default says so.
_TEXT: Final = frozenset({"equation", "mode", "padding", "data_format"})
