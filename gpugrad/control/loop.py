"""While: a body that runs again and again, and its gradient, which runs back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.control import feeds
from gpugrad.control.derivative import Derivative, node_of, total, zeros
from gpugrad.control.invariants import invariant_gradients, unchanging
from gpugrad.dtypes import variant
from gpugrad.errors import GraphError, InvalidArgumentError
from gpugrad.graph import build, nest
from gpugrad.graph.function_graph import FunctionGraph, is_captured
from gpugrad.graph.indexed_slices import densify
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.graph.variable import Variable
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import outputs

family = OpFamily()

# --- While, StatelessWhile ------------------------------------------------------------
#
# The first inputs are the loop variables, as many as the body has outputs: a counter
# from 0, the limit of the counter (-1 for none), then the user's. The host counts, so
# neither graph computes with the first two. ``_cond`` is None where only the limit
# ends the loop. ``_shapes`` are what is known of the loop variables' shapes.
# ``_reverse``: what the op reads and saves an iteration stands in the lists from the
# back; then the limit is the number of iterations. See feeds.py for ``_feeds``,
# ``_cond_feeds`` and ``_saved``.


def _infer(op: Any) -> Any:
    op.attrs["_node"] = op
    own = zip(op.attrs["_body"].outputs, op.attrs["_shapes"])
    return (
        *[(t.dtype, shape) for t, shape in own],
        *[(variant, ())] * len(op.attrs["_saved"]),
    )


def _go_on(run: Any, value: Any) -> bool:
    value = run.to_host(value)
    if value.ndim or value.dtype.kind != "b":
        if value.size != 1 or value.dtype.kind != "b":
            raise InvalidArgumentError(
                None,
                None,
                "The condition of a loop must be one boolean, not "
                f"{value.dtype} of shape {value.shape}.",
            )
        value = value.reshape(())
    return bool(value)


class _Layout:
    """How a loop's values stand in the arguments and results of an iteration.

    An iteration is one call: the body, then the condition on what it gave. Arguments
    are the loop variables, then what else is fed. ``moved`` are the loop variables
    that change: (argument, result); ``swapped`` those that take another argument's
    place; ``elements``: (argument, input, element) of what was saved before; ``spans``:
    (output, first and last result) of what is saved now. ``once``: the tensors among
    that which no iteration changes; ``repeated`` has for each span the elements that
    those are: (element, place in ``once``).
    """

    def __init__(self, site: Any) -> None:
        attrs = site.attrs
        self.body: FunctionGraph = attrs["_body"]
        self.cond: FunctionGraph | None = attrs["_cond"]
        carried = len(self.body.outputs)
        self._places: dict[feeds.Feed, int] = {(k, None): k for k in range(carried)}
        self.sources = [self._place(feed) for feed in attrs["_feeds"]]
        self.cond_sources = [self._place(feed) for feed in attrs["_cond_feeds"]]
        self.constant = [
            (at, i)
            for (i, e), at in self._places.items()
            if e is None and at >= carried
        ]
        self.elements = [
            (at, i, e) for (i, e), at in self._places.items() if e is not None
        ]
        arguments = dict(zip(self.body.inputs, self.sources))
        self.results: list[Tensor] = []
        self.moved: list[tuple[int, int]] = []
        self.swapped: list[tuple[int, int]] = []
        for k, tensor in enumerate(self.body.outputs[2:], 2):
            source = arguments.get(tensor)
            if source is None:
                self.moved.append((k, len(self.results)))
                self.results.append(tensor)
            elif source != k:
                self.swapped.append((k, source))
        self.spans: list[tuple[int, int, int]] = []
        self.once: dict[Tensor, int] = {}
        self.repeated: list[list[tuple[int, int]]] = []
        same = set(unchanging(self.body, self.cond))
        for number, tensors in enumerate(attrs["_saved"][: len(site.dtypes) - carried]):
            if site.wanted[carried + number]:
                first = len(self.results)
                self.results += [t for t in tensors if t not in same]
                self.spans.append((number, first, len(self.results)))
                self.repeated.append(
                    [
                        (e, self.once.setdefault(t, len(self.once)))
                        for e, t in enumerate(tensors)
                        if t in same
                    ]
                )
        self.size = len(self._places)

    def _place(self, feed: feeds.Feed) -> int:
        return self._places.setdefault(feed, len(self._places))

    def first(self) -> Any:
        """The bodies of the first look at the condition."""
        assert self.cond is not None
        return [(self.cond, self.cond_sources, self.cond.outputs)]

    def before(self) -> Any:
        """What the first iteration gives for all."""
        return [(self.body, self.sources, list(self.once))]

    def iteration(self) -> Any:
        """The bodies of an iteration."""
        bodies: list[Any] = [(self.body, self.sources, self.results)]
        if self.cond is not None:
            carried = len(self.body.outputs)
            sources = [
                self.body.outputs[s] if 2 <= s < carried else s
                for s in self.cond_sources
            ]
            bodies.append((self.cond, sources, self.cond.outputs))
        return bodies


def _host(run: Any, site: Any, arrays: list[Any]) -> list[Any]:
    attrs = site.attrs
    layout = run.kept.get("layout")
    if layout is None:
        layout = run.kept["layout"] = _Layout(site)
    carried = len(layout.body.outputs)
    arguments: list[Any] = [None] * layout.size
    arguments[2:carried] = arrays[2:carried]
    arrays[2:carried] = [None] * (carried - 2)  # nothing else holds them on
    for at, i in layout.constant:
        arguments[at] = arrays[i]
    elements = [(at, arrays[i], e) for at, i, e in layout.elements]
    records: list[list[Any]] = [[] for _ in layout.spans]
    spans = [(r.append, a, b) for r, (_, a, b) in zip(records, layout.spans)]
    moved, swapped, counted = layout.moved, layout.swapped, layout.cond is None
    reverse = attrs["_reverse"]
    limit = int(run.to_host(arrays[1]))
    done = 0
    once: list[Any] = []
    go_on = counted
    if not counted:
        look = run.compiled("cond", layout.first, arguments)
        go_on = _go_on(run, look(arguments)[0])
    if go_on and limit != 0:
        for at, record, e in elements:
            arguments[at] = record[0][e]  # for the dtypes and handles among them
        if layout.once:
            once = run.compiled("once", layout.before, arguments)(arguments)
        iterate = run.compiled("body", layout.iteration, arguments)
        while go_on and done != limit:
            if elements:
                here = limit - 1 - done if reverse else done
                for at, record, e in elements:
                    arguments[at] = record[here][e]
            found = iterate(arguments)
            for append, first, last in spans:
                append(found[first:last])
            if swapped:
                values = [arguments[source] for _, source in swapped]
                for (k, _), value in zip(swapped, values):
                    arguments[k] = value
            for k, number in moved:
                arguments[k] = found[number]
            done += 1
            if done == 1:  # now it is known what an iteration is
                iterate = run.compiled("body", layout.iteration, arguments)
            if not counted:
                go_on = _go_on(run, found[-1])
    saved: list[Any] = [None] * (len(site.dtypes) - carried)
    for record, (number, _, _), repeated in zip(records, layout.spans, layout.repeated):
        for e, place in repeated:
            for tensors in record:
                tensors.insert(e, once[place])
        if reverse:
            record.reverse()
        saved[number] = record
    count = run.xp.asarray(np.array(done, np.int32))
    return [count, arrays[1], *arguments[2:carried], *saved]


for _type in ("While", "StatelessWhile"):
    family.op(
        _type,
        [Input("input", attr=None, number="N")],
        attrs={"_cond": ..., "_body": ..., "_cond_feeds": ..., "_feeds": ...}
        | {"_shapes": ..., "_saved": ..., "_reverse": False},
        infer=_infer,
        host=_host,
        on_device=True,
        stateful=_type == "While",
    )


def _add(
    graph: Any,
    inputs: Sequence[Tensor],
    cond: tuple[FunctionGraph | None, Sequence[feeds.Feed]],
    body: tuple[FunctionGraph, Sequence[feeds.Feed]],
    dims: Sequence[shapes.Partial],
    saved: list[Any],
    reverse: bool = False,
    name: str | None = None,
) -> list[Tensor]:
    stateful = any(g is not None and g.is_stateful for g in (cond[0], body[0]))
    found = graph.apply(
        "While" if stateful else "StatelessWhile",
        list(inputs),
        name=name,
        _cond=cond[0],
        _cond_feeds=tuple(cond[1]),
        _body=body[0],
        _feeds=tuple(body[1]),
        _shapes=tuple(dims),
        _saved=saved,
        _reverse=reverse,
    )
    return outputs(found)


@family.gradient("While", "StatelessWhile")
def _loop_grad(op: Any, *dys: Any) -> Any:
    """A loop over the iterations from the last to the first.

    Its loop variables are the gradients of the forward loop's, and one sum for each
    input that is the same in all iterations.
    """
    attrs = op.attrs
    node = node_of(op)
    body: FunctionGraph = attrs["_body"]
    carried = len(body.outputs)
    fed = dict(zip(body.inputs, attrs["_feeds"]))
    own = [k for k in range(carried) if body.outputs[k].dtype.is_trainable]
    # The engine puts zeros where no gradient arrives, but for lists.
    dys = tuple(
        zeros(op.graph, op.outputs[k]) if dy is None and k in own else dy
        for k, dy in enumerate(dys)
    )
    through = [
        (s, dy) for s, dy in zip(attrs["_saved"], dys[carried:]) if dy is not None
    ]
    elements = [feeds.trainable(saved) for saved, _ in through]
    ys = [body.outputs[k] for k in own] + [t for listed in elements for t in listed]
    fixed = [p for p, (i, e) in fed.items() if i >= carried and e is None]
    fixed += unchanging(body, attrs["_cond"])
    derivative = Derivative(body, ys, feeds.trainable(list(fed)), fixed)
    graph = derivative.graph
    invariants, records = invariant_gradients(op, derivative, fed, carried)
    lists = [
        i for i, t in enumerate(op.inputs)
        if t.dtype is variant and feeds.has_element_gradient(derivative, fed, i)
    ]  # fmt: skip
    packs = [tuple(feeds.element_gradients(derivative, fed, i)) for i in lists]
    with build.graph_context(graph):
        counter, limit = (
            graph.apply("Placeholder", name=name, dtype=dtypes.int32, shape=())
            for name in ("counter", "limit")
        )
        sums = [
            graph.apply("Placeholder", name="sum", dtype=g.dtype, shape=g._shape)
            for g in invariants.values()
        ]
        results = [
            counter,
            limit,
            *[_carried_gradient(derivative, body.inputs[k]) for k in own],
            *[total([s, g]) for s, g in zip(sums, invariants.values())],
        ]
    with build.graph_context(op.graph):
        first = [
            op.graph.convert(0, dtypes.int32),
            op.outputs[0],
            *[dys[k] for k in own],
            *[zeros(op.graph, op.inputs[i]) for i in invariants],
            *[dy for _, dy in through],
        ]
    gathered = feeds.GradientInputs(op, first)
    packs += [record.tensors for record in records.values()]
    wanted = [*results, *(t for pack in packs for t in pack)]
    placeholders, places, saved = gathered.feeds(derivative, wanted, fed, carried)
    count = len(own)
    weights = derivative.weights
    graph.inputs = [counter, limit, *weights[:count], *sums, *weights[count:]]
    graph.inputs += placeholders
    graph.outputs = results
    list_feeds: list[feeds.Feed] = [
        (len(results) + n, e)
        for n, listed in enumerate(elements)
        for e in range(len(listed))
    ]
    if saved:
        places = list(feeds.settled(places, gathered.saved_at(node, tuple(saved))))
    dims = [(), (), *[op.inputs[k]._shape for k in own], *[s._shape for s in sums]]
    found = _add(
        op.graph,
        gathered.tensors,
        (None, ()),
        (graph, [*((i, None) for i in range(len(results))), *list_feeds, *places]),
        dims,
        packs,
        reverse=not attrs["_reverse"],
    )
    result: dict[int, Any] = dict(zip([*own, *invariants], found[2:]))
    saved_gradients = found[len(results) :]
    result.update(zip(lists, saved_gradients))
    for (index, kept), found_all in zip(records.items(), saved_gradients[len(lists) :]):
        dense = kept.total(op.inputs[index], found_all)
        other = result.get(index)
        result[index] = dense if other is None else total([other, dense])
    return [result.get(i) for i in range(len(op.inputs))]


def _carried_gradient(derivative: Derivative, x: Tensor) -> Tensor:
    gradient = derivative.gradients.get(x)
    if gradient is None:
        return derivative.zeros(x)
    dense: Tensor = densify(gradient)
    return dense


# --- building -------------------------------------------------------------------------


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _plain(structure: Any) -> Any:
    """A structure with reads in the place of variables."""
    return nest.map_leaves(
        lambda v: v.value() if isinstance(v, Variable) else v, structure
    )


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    shape_invariants: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
    maximum_iterations: Any = None,
    return_same_structure: bool = False,
) -> Any:
    """``loop_vars = body(*loop_vars)`` while ``cond(*loop_vars)``; the last loop_vars.

    ``loop_vars``: a list of tensors or structures of them. Their dtypes stay the same,
    and their shapes too, unless ``shape_invariants``, a list alike, says less of them.
    ``maximum_iterations`` ends the loop at the latest. ``back_prop=False`` lets no
    gradient through. A single loop variable comes back without its list unless
    ``return_same_structure``. ``parallel_iterations`` and ``swap_memory`` change
    nothing.

    Raises TypeError for what cannot be called and for a dtype that changes, ValueError
    for a shape or structure that does.
    """
    for label, function in (("cond", cond), ("body", body)):
        if not callable(function):
            raise TypeError(f"'{label}' must be callable.")
    if not isinstance(parallel_iterations, int) or parallel_iterations < 1:
        raise TypeError("'parallel_iterations' must be a positive integer.")
    if isinstance(loop_vars, (list, tuple)) and not loop_vars:
        raise TypeError("'loop_vars' must be provided: a loop needs a variable.")
    structure = _plain(loop_vars)
    items = _as_list(structure)
    graph = build.graph_of(*nest.flatten(items)[0])
    with build.graph_context(graph):
        leaves, rebuild = nest.flatten(items)
        initial = [build.convert_to_tensor(leaf) for leaf in leaves]
        dims = _invariants(items, initial, shape_invariants)
        with graph.name_scope(name or "while") as scope:
            found = _build(
                graph, cond, body, initial, dims, rebuild, maximum_iterations, scope
            )
            results = [graph.apply("Identity", t) for t in found][2:]
        if not back_prop:
            results = [graph.apply("StopGradient", t) for t in results]
    packed = rebuild(results)
    if len(items) == 1 and not return_same_structure:
        return packed[0]
    return tuple(packed) if isinstance(loop_vars, tuple) else packed


def while_loop_v2(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    shape_invariants: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    maximum_iterations: Any = None,
    name: str | None = None,
) -> Any:
    """``loop_vars = body(*loop_vars)`` while ``cond(*loop_vars)``; the last loop_vars.

    As compat.v1's while_loop, with TensorFlow 2's arguments; the result always has the
    structure of ``loop_vars``.
    """
    return while_loop(
        cond,
        body,
        loop_vars,
        shape_invariants,
        parallel_iterations,
        back_prop,
        swap_memory,
        name,
        maximum_iterations,
        return_same_structure=True,
    )


def _invariants(
    items: list[Any], initial: Sequence[Tensor], given: Any
) -> list[shapes.Partial]:
    """The shapes that the loop variables keep."""
    if given is None:
        return [t._shape for t in initial]
    wanted = _as_list(given)
    flat = _flat_shapes(items, wanted)
    dims = []
    for tensor, invariant in zip(initial, flat):
        shape = shapes.as_partial(invariant)
        if not _within(tensor._shape, shape):
            raise ValueError(
                f"The shape invariant specified for {tensor.name} is not compatible "
                "with the initial shape of the loop variable. It enters the loop with "
                f"shape {shapes.text(tensor._shape)}, but the specified shape "
                "invariant "
                f"is {shapes.text(shape)}."
            )
        dims.append(shape)
    return dims


def _flat_shapes(items: Any, wanted: Any) -> list[Any]:
    """Shapes in the structure of the loop variables, one a leaf."""
    if isinstance(items, dict):
        return [
            s for key in sorted(items) for s in _flat_shapes(items[key], wanted[key])
        ]
    if hasattr(items, "__parts__"):
        return [None] * len(nest.flatten(items)[0])  # a TensorArray has no shape
    if isinstance(items, (list, tuple)):
        if not isinstance(wanted, (list, tuple)) or len(items) != len(wanted):
            raise ValueError(
                "The two structures don't have the same nested structure: loop_vars "
                f"have {len(items)} elements, shape_invariants are {wanted}."
            )
        return [
            s for item, want in zip(items, wanted) for s in _flat_shapes(item, want)
        ]
    return [wanted]


def _within(shape: shapes.Partial, invariant: shapes.Partial) -> bool:
    """True when every tensor of ``shape`` is one of ``invariant``."""
    if invariant is None:
        return True
    if shape is None or len(shape) != len(invariant):
        return False
    return all(want is None or have == want for have, want in zip(shape, invariant))


def _build(
    graph: Any,
    cond: Callable[..., Any],
    body: Callable[..., Any],
    initial: Sequence[Tensor],
    dims: Sequence[shapes.Partial],
    rebuild: nest.Rebuild,
    maximum: Any,
    scope: str,
) -> list[Tensor]:
    """Build both graphs and the op."""
    limit = graph.convert(
        -1 if maximum is None else maximum, dtypes.int32, "maximum_iterations"
    )
    first = [graph.convert(0, dtypes.int32, "loop_counter"), limit, *initial]
    all_dims = [(), (), *dims]

    def started(label: str) -> FunctionGraph:
        inner = FunctionGraph(graph, label)
        with build.graph_context(inner):
            for tensor, shape in zip(first, all_dims):
                inner.add_input(tensor.dtype, shape, tensor.op.name.rpartition("/")[2])
        return inner

    body_graph = started(f"{scope}body")
    with build.graph_context(body_graph):
        counter, limit_inside, *variables = body_graph.inputs
        packed = rebuild(variables)
        result = body(*packed)
        returned = _as_list(result) if len(packed) != 1 else _single(result, packed)
        if nest.shape_of(returned) != nest.shape_of(list(packed)):
            raise ValueError(
                "The two structures don't have the same nested structure.\n\nThe body "
                f"of the loop returned {result}, the loop variables are {packed}."
            )
        leaves, _ = nest.flatten(returned)
        tensors = [body_graph.convert(leaf) for leaf in leaves]
        _check_alike(initial, dims, tensors)
        body_graph.outputs = [counter, limit_inside, *tensors]
    cond_graph = started(f"{scope}cond")
    with build.graph_context(cond_graph):
        variables = cond_graph.inputs[2:]
        go_on = cond_graph.convert(cond(*rebuild(variables)))
        cond_graph.outputs = [go_on]
    places: dict[Tensor, int] = {}
    for inner in (body_graph, cond_graph):
        for outer in inner.captures:
            places.setdefault(outer, len(first) + len(places))

    def fed(inner: FunctionGraph) -> list[feeds.Feed]:
        return [
            (places[t.op.attrs["_captured"]] if is_captured(t) else i, None)
            for i, t in enumerate(inner.inputs)
        ]

    return _add(
        graph,
        [*first, *places],
        (cond_graph, fed(cond_graph)),
        (body_graph, fed(body_graph)),
        all_dims,
        [],
        name=scope,
    )


def _single(result: Any, packed: Sequence[Any]) -> list[Any]:
    """What a body of one loop variable returned, as a list of one."""
    if not isinstance(result, (list, tuple)) or len(result) != 1:
        return [result]
    # (x,) is the list of one, unless the loop variable is itself a list of one.
    sequence = isinstance(packed[0], (list, tuple))
    wrapped = not sequence or isinstance(result[0], (list, tuple))
    return list(result) if wrapped else [result]


def _check_alike(
    initial: Sequence[Tensor], dims: Sequence[shapes.Partial], tensors: Sequence[Tensor]
) -> None:
    """Errors for loop variables that come out of an iteration as something else."""
    for before, shape, after in zip(initial, dims, tensors):
        if before.dtype is not after.dtype:
            raise TypeError(
                f"Loop var {before.name} enters the loop with type {before.dtype.name} "
                f"but has type {after.dtype.name} after 1 iteration. {before.name} "
                "type should remain constant."
            )
        if not _within(after._shape, shape):
            raise GraphError(
                f"Input tensor `{before.name}` enters the loop with shape "
                f"{shapes.text(shape)}, but has shape {shapes.text(after._shape)} "
                "after "
                "one iteration. To allow the shape to vary across iterations, use the "
                "`shape_invariants` argument of tf.while_loop to specify a "
                "less-specific "
                "shape."
            )
