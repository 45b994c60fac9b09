"""If and Case: one of several bodies runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.control import feeds
from gpugrad.control.derivative import (
    Derivative,
    all_slices,
    node_of,
    taken_apart,
    total,
)
from gpugrad.dtypes import resource, variant
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import build
from gpugrad.graph.function_graph import FunctionGraph
from gpugrad.graph.indexed_slices import IndexedSlices, densify
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import handle_shape
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import outputs

family = OpFamily()

# --- If, StatelessIf, Case, StatelessCase ---------------------------------------------
#
# ``_branches`` are the bodies; an If has its then-branch first. See feeds.py for
# ``_feeds`` (one tuple a branch) and ``_saved``.


def _common(dims: Sequence[shapes.Partial]) -> shapes.Partial:
    """What is certain of a shape that is one of ``dims``."""
    first = dims[0]
    for other in dims[1:]:
        if first is None or other is None or len(first) != len(other):
            return None
        first = tuple(m if m == n else None for m, n in zip(first, other))
    return first


def _infer(op: Operation) -> Any:
    op.attrs["_node"] = op
    branches = op.attrs["_branches"]
    own = [
        (ts[0].dtype, _common([t._shape for t in ts]))
        for ts in zip(*[b.outputs for b in branches])
    ]
    return (*own, *[(variant, ())] * len(op.attrs["_saved"]))


def _is_true(run: Any, predicate: Any) -> bool:
    value = run.to_host(predicate)
    if value.size != 1 or value.dtype.kind not in "biuO":
        raise InvalidArgumentError(
            None,
            None,
            f"The predicate must be one boolean, not {value.dtype} of shape "
            f"{value.shape}.",
        )
    return bool(value.reshape(())[()])


def _run_branch(run: Any, site: Any, arrays: Sequence[Any], chosen: int) -> list[Any]:
    attrs = site.attrs
    branch = attrs["_branches"][chosen]
    arguments = [
        arrays[i] if e is None else arrays[i][0][e] for i, e in attrs["_feeds"][chosen]
    ]
    own = len(branch.outputs)
    # What is saved for a gradient that this run does not compute is not computed.
    saved = [
        listed[chosen] if wanted else ()
        for listed, wanted in zip(attrs["_saved"], site.wanted[own:])
    ]

    def bodies() -> Any:
        results = [*branch.outputs, *(t for tensors in saved for t in tensors)]
        return [(branch, range(len(arguments)), results)]

    found = run.compiled(chosen, bodies, arguments)(arguments)
    if not saved:
        return found
    results = found[:own]
    first = own
    for tensors in saved:
        results.append([found[first : first + len(tensors)]])
        first += len(tensors)
    return results


def _host_if(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    return _run_branch(run, site, arrays, 0 if _is_true(run, arrays[0]) else 1)


def _host_case(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    last = len(site.attrs["_branches"]) - 1
    index = int(run.to_host(arrays[0]))
    return _run_branch(run, site, arrays, index if 0 <= index <= last else last)


for _type, _first, _host in (
    ("If", Input("cond", attr="Tcond"), _host_if),
    ("Case", Input("branch_index", attr=None, dtype=dtypes.int32), _host_case),
):
    for _stateless in ("", "Stateless"):
        family.op(
            _stateless + _type,
            [_first, Input("input", attr=None, number="N")],
            attrs={"_branches": ..., "_feeds": ..., "_saved": ...},
            infer=_infer,
            host=_host,
            on_device=True,
            stateful=not _stateless,
        )


def add(
    graph: Any,
    op_type: str,
    chooser: Any,
    inputs: Sequence[Tensor],
    branches: Sequence[FunctionGraph],
    fed: Sequence[Sequence[feeds.Feed]],
    saved: list[Any],
    name: str | None = None,
) -> Any:
    stateful = any(b.is_stateful for b in branches)
    return graph.apply(
        op_type if stateful else f"Stateless{op_type}",
        chooser,
        list(inputs),
        name=name,
        _branches=tuple(branches),
        _feeds=tuple(tuple(f) for f in fed),
        _saved=saved,
    )


@family.gradient("If", "StatelessIf", "Case", "StatelessCase")
def _branch_grad(op: Operation, *dys: Any) -> Any:
    """The same choice between the gradients of the branches."""
    attrs = op.attrs
    branches = attrs["_branches"]
    own = len(branches[0].outputs)
    direct = [
        (k, dy)
        for k, dy in enumerate(dys[:own])
        if dy is not None and dy.dtype.is_trainable
    ]
    through = [(s, dy) for s, dy in zip(attrs["_saved"], dys[own:]) if dy is not None]
    gathered = feeds.GradientInputs(
        op, [op.inputs[0], *(dy for _, dy in direct), *(dy for _, dy in through)]
    )
    fed = [dict(zip(b.inputs, f)) for b, f in zip(branches, attrs["_feeds"])]
    derivatives, weight_feeds = [], []
    for number, branch in enumerate(branches):
        ys = [branch.outputs[k] for k, _ in direct]
        places: list[feeds.Feed] = [(1 + i, None) for i in range(len(direct))]
        for i, (saved, _) in enumerate(through):
            elements = feeds.trainable(saved[number])
            ys += elements
            places += [(1 + len(direct) + i, e) for e in range(len(elements))]
        derivatives.append(Derivative(branch, ys, feeds.trainable(list(fed[number]))))
        weight_feeds.append(places)
    slots, columns = _columns(op, derivatives, fed)
    lists = [
        i for i, t in enumerate(op.inputs) if t.dtype is variant
        and any(feeds.has_element_gradient(d, f, i) for d, f in zip(derivatives, fed))
    ]  # fmt: skip
    packs = [
        tuple(tuple(feeds.element_gradients(d, f, i)) for d, f in zip(derivatives, fed))
        for i in lists
    ]
    rebuild: Any = None
    all_feeds, all_saved = [], []
    for number, derivative in enumerate(derivatives):
        parts, rebuild = taken_apart([column[number] for column in columns])
        wanted = [*parts, *(t for pack in packs for t in pack[number])]
        placeholders, places, saved = gathered.feeds(derivative, wanted, fed[number], 1)
        derivative.graph.inputs = [*derivative.weights, *placeholders]
        derivative.graph.outputs = parts
        all_feeds.append([*weight_feeds[number], *places])
        all_saved.append(tuple(saved))
    if any(all_saved):
        place = gathered.saved_at(node_of(op), tuple(all_saved))
        all_feeds = [list(feeds.settled(f, place)) for f in all_feeds]
    kind = op.type.removeprefix("Stateless")
    graphs = [d.graph for d in derivatives]
    found = outputs(
        add(
            op.graph, kind, op.inputs[0], gathered.tensors[1:], graphs, all_feeds, packs
        )
    )
    result = dict(zip(slots, rebuild(found)))
    result.update(zip(lists, found[len(found) - len(lists) :]))
    return [result.get(i) for i in range(len(op.inputs))]


def _columns(
    op: Operation, derivatives: Sequence[Derivative], fed: Sequence[dict[Tensor, Any]]
) -> tuple[list[int], list[list[Any]]]:
    """The inputs that have gradients, and for each its gradient in every branch."""
    slots, columns = [], []
    for index, x in enumerate(op.inputs):
        if index == 0 or not x.dtype.is_trainable:
            continue
        column = []
        for derivative, places in zip(derivatives, fed):
            terms = [
                derivative.gradients[p]
                for p, feed in places.items()
                if feed == (index, None) and p in derivative.gradients
            ]
            with build.graph_context(derivative.graph):
                column.append(total(terms))
        if any(g is not None for g in column):
            slots.append(index)
            columns.append(_completed(column, x, derivatives))
    return slots, columns


def _completed(
    column: list[Any], x: Tensor, derivatives: Sequence[Derivative]
) -> list[Any]:
    """Gradients of one kind in every branch: zeros, or no rows, where there is none."""
    shape = handle_shape(x) if x.dtype is resource else x._shape
    sparse = all_slices(column) and shapes.is_known(shape)
    complete = []
    for gradient, derivative in zip(column, derivatives):
        with build.graph_context(derivative.graph):
            if gradient is not None:
                gradient = gradient if sparse else densify(gradient)
            elif sparse:
                like = next(g for g in column if g is not None)
                gradient = _no_rows(derivative.graph, like, shapes.known(shape))
            else:
                gradient = derivative.zeros_for(x)
        complete.append(gradient)
    return complete


def _no_rows(graph: Any, like: IndexedSlices, shape: tuple[int, ...]) -> IndexedSlices:
    values = np.zeros((0, *shape[1:]), like.dtype.np_dtype)
    indices = np.zeros((0,), like.indices.dtype.np_dtype)
    assert like.dense_shape is not None
    dense = np.array(shape, like.dense_shape.dtype.np_dtype)
    return IndexedSlices(
        graph.convert(values), graph.convert(indices), graph.convert(dense)
    )
