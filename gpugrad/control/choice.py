"""cond, case and switch_case: the functions that build branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.control import branches
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import build, nest
from gpugrad.graph.function_graph import FunctionGraph
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import outputs

family = OpFamily()


def _body(
    outer: Any, function: Callable[[], Any], name: str
) -> tuple[FunctionGraph, Any, list[Tensor | None]]:
    """(graph, structure, leaves) of a branch; leaves are tensors or None."""
    graph = FunctionGraph(outer, name)
    with build.graph_context(graph):
        result = function()
        leaves, _ = nest.flatten(result)
        tensors: list[Tensor | None] = []
        for leaf in leaves:
            if leaf is None:
                tensors.append(None)
            elif isinstance(leaf, Operation):
                with graph.control_dependencies([leaf]):
                    tensors.append(graph.convert(True))
            else:
                tensors.append(graph.convert(leaf))
    graph.outputs = [t for t in tensors if t is not None]
    return graph, result, tensors


def _check_alike(what: str, one: Any, other: Any) -> None:
    """TypeError unless two branches give the same structure and dtypes."""
    detail = None
    if nest.shape_of(one[1]) != nest.shape_of(other[1]):
        detail = "The two structures don't have the same nested structure."
    else:
        for a, b in zip(one[2], other[2]):
            if (a is None) != (b is None) or (a is not None and a.dtype is not b.dtype):
                detail = f"{a} and {b} have different types"
    if detail is not None:
        raise TypeError(
            f"{what} must have the same number, type, and overall structure of return "
            f"values.\n\nfirst output: {one[1]}\nsecond output: {other[1]}\n\n"
            f"Error details:\n{detail}"
        )


def _choose(
    op_type: str,
    chooser: Any,
    functions: Sequence[Callable[[], Any]],
    what: Callable[[int], str],
    name: str,
) -> Any:
    """Build the branches and the op that chooses between them."""
    graph = build.graph_of(chooser)
    with build.graph_context(graph), graph.name_scope(name) as scope:
        chooser = graph.convert(chooser)
        if op_type == "Case" and chooser.dtype is not dtypes.int32:
            chooser = graph.apply("Cast", chooser, DstT=dtypes.int32)
        bodies = [_body(graph, f, f"{name}_{i}") for i, f in enumerate(functions)]
        for number, body in enumerate(bodies[1:], 1):
            _check_alike(what(number), bodies[0], body)
        graphs = [body[0] for body in bodies]
        inputs: dict[Tensor, int] = {}
        for body_graph in graphs:
            for outer in body_graph.captures:
                inputs.setdefault(outer, 1 + len(inputs))
        fed = [
            [(inputs[p.op.attrs["_captured"]], None) for p in g.inputs] for g in graphs
        ]
        result = branches.add(
            graph, op_type, chooser, list(inputs), graphs, fed, [], scope
        )
        found = iter(
            [graph.apply("Identity", t) for t in outputs(result)]
            if not isinstance(result, Operation)
            else []
        )
        _, rebuild = nest.flatten(bodies[0][1])
        return rebuild([None if t is None else next(found) for t in bodies[0][2]])


def cond(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    strict: bool = False,
    name: str | None = None,
    fn1: Callable[[], Any] | None = None,
    fn2: Callable[[], Any] | None = None,
) -> Any:
    """What ``true_fn()`` gives if ``pred`` is true, else what ``false_fn()`` gives.

    Only the branch that is taken runs; what was built outside of it runs in any case.
    Both functions return tensors in the same structure and of the same dtypes. The
    gradient of a tensor that only the other branch uses is zero.

    Raises TypeError for a Python bool (decide in Python instead), for functions that
    are missing or cannot be called, and for results that do not match.
    """
    true_fn = true_fn if true_fn is not None else fn1
    false_fn = false_fn if false_fn is not None else fn2
    for label, function in (("true_fn", true_fn), ("false_fn", false_fn)):
        if function is None:
            raise TypeError(f"cond(): '{label}' argument required")
        if not callable(function):
            raise TypeError(f"'{label}' must be callable.")
    if isinstance(pred, bool):
        raise TypeError("pred must not be a Python bool", pred)
    functions = [f for f in (true_fn, false_fn) if f is not None]
    return _choose(
        "If",
        pred,
        functions,
        lambda _: "true_fn and false_fn arguments to tf.cond",
        name or "cond",
    )


def cond_v2(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Any:
    """What ``true_fn()`` gives if ``pred`` is true, else what ``false_fn()`` gives.

    See compat.v1's cond; this one has TensorFlow 2's arguments.
    """
    return cond(pred, true_fn, false_fn, name=name)


def switch_case(
    branch_index: Any,
    branch_fns: Any,
    default: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Any:
    """What the function number ``branch_index`` gives.

    ``branch_fns``: a list of functions, a list of (number, function), or a dict. An
    index outside of them takes ``default``, or the last function.
    """
    if not isinstance(branch_index, Tensor) and not hasattr(branch_index, "__tensor__"):
        raise TypeError(f"'branch_index' must be a Tensor, got {type(branch_index)}")
    if not branch_index.dtype.is_integer:
        raise TypeError(
            f"'branch_index' must be an integer Tensor, got {branch_index.dtype}"
        )
    if not branch_fns:
        raise ValueError("Must provide at least one item in 'branch_fns'")
    functions = _numbered(branch_fns)
    if default is not None:
        functions.append(default)
    for function in functions:
        if not callable(function):
            raise TypeError(f"branch function {function!r} must be callable.")
    with build.name_scope(name, "switch_case", [branch_index]):
        return _choose(
            "Case",
            branch_index,
            functions,
            lambda i: f"branches[0] and branches[{i}] arguments to tf.switch_case",
            "indexed_case",
        )


def _numbered(branch_fns: Any) -> list[Callable[[], Any]]:
    if isinstance(branch_fns, dict):
        pairs = list(branch_fns.items())
    elif all(callable(f) for f in branch_fns):
        return list(branch_fns)
    else:
        pairs = [tuple(pair) for pair in branch_fns]
    pairs.sort(key=lambda pair: pair[0])
    numbers = [number for number, _ in pairs]
    if numbers != list(range(len(pairs))):
        raise ValueError(
            "branch indices (keys) must form contiguous range of "
            f"[0 to {len(pairs)}) but found {{{','.join(map(str, numbers))}}}"
        )
    return [function for _, function in pairs]


def case(
    pred_fn_pairs: Any,
    default: Callable[[], Any] | None = None,
    exclusive: bool = False,
    strict: bool = False,
    name: str = "case",
) -> Any:
    """What the function of the first true predicate gives, else what ``default`` gives.

    ``pred_fn_pairs``: a list of (boolean tensor, function), or a dict. Without a
    default the last function stands in for it, and some predicate must be true; with
    ``exclusive`` not more than one may be: InvalidArgumentError otherwise.
    """
    if not isinstance(pred_fn_pairs, (list, tuple, dict)):
        raise TypeError(
            "'pred_fn_pairs' must be a list, tuple, or dict. "
            f"Received: {type(pred_fn_pairs)}"
        )
    items = pred_fn_pairs.items() if isinstance(pred_fn_pairs, dict) else pred_fn_pairs
    pairs = [tuple(pair) for pair in items]
    if not pairs:
        raise ValueError("'pred_fn_pairs' must have at least one pair.")
    for pred, function in pairs:
        if not isinstance(pred, Tensor) and not hasattr(pred, "__tensor__"):
            raise TypeError(f"pred must be a Tensor, got: {pred}")
        if not pred.dtype.is_bool:
            raise TypeError(f"pred must be a boolean Tensor, got: {pred}")
        if not callable(function):
            raise TypeError(f"fn for pred {pred.name} must be callable.")
    if default is not None and not callable(default):
        raise TypeError(f"'default' must be callable: {default!r}")
    preds = [pred for pred, _ in pairs]
    with build.name_scope(name, "case", preds):
        checks = _case_checks(preds, default is None, exclusive)
        graph = build.graph_of(*preds)
        functions = [function for _, function in pairs]
        rest = functions.pop() if default is None else default
        assert rest is not None
        with graph.control_dependencies(checks):
            if not functions:
                return nest.map_leaves(lambda t: graph.apply("Identity", t), rest())
            for pred, function in reversed(list(zip(preds, functions))):
                rest = _nested(pred, function, rest)
            return rest()


def _nested(
    pred: Any, function: Callable[[], Any], rest: Callable[[], Any]
) -> Callable[[], Any]:
    return lambda: cond(pred, function, rest, name="cond")


def _case_checks(preds: Sequence[Any], some: bool, exclusive: bool) -> list[Operation]:
    """Ops that fail unless one predicate is true (``some``), or at most one is."""
    graph = build.graph_of(*preds)
    if not (some or exclusive):
        return []
    return [graph.apply("CheckCase", list(preds), some=some, exclusive=exclusive)]


def _check_case(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    count = sum(bool(a) for a in arrays)
    if site.attrs["some"] and not count:
        raise InvalidArgumentError(
            None,
            None,
            "None of the conditions of case() is true, and it has no default.",
        )
    if site.attrs["exclusive"] and count > 1:
        raise InvalidArgumentError(
            None, None, f"{count} conditions of an exclusive case() are true."
        )
    return []


family.op(
    "CheckCase",
    [Input("preds", attr=None, number="N")],
    attrs={"some": False, "exclusive": False},
    infer=lambda op: (),
    host=_check_case,
    stateful=True,
)
family.no_gradient("CheckCase")
