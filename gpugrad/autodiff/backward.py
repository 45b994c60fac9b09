"""The reverse pass: gradients carried from ys to xs, one operation at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

from gpugrad import shapes
from gpugrad.autodiff.aggregate import aggregate
from gpugrad.autodiff.broadcast import unbroadcast
from gpugrad.autodiff.options import chained
from gpugrad.autodiff.path import between
from gpugrad.dtypes import resource, variant
from gpugrad.errors import GradientLookupError, GraphError, describe
from gpugrad.graph.gate import gate
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.spec import NO_GRADIENT, REGISTRY
from gpugrad.graph.tensor import Operation, Tensor


def rule_of(op: Operation) -> Any:
    """The gradient rule of an op, or NO_GRADIENT; LookupError if there is none."""
    name = op.attrs.get("_gradient_op_type") or op.spec.type
    if isinstance(name, bytes):
        name = name.decode()
    rule = REGISTRY.gradient(name)
    if rule is None:
        named = "" if name == op.spec.type else f", rule name: {name}"
        raise GradientLookupError(
            f"No gradient defined for operation'{op.name}' (op type: {op.spec.type}"
            f"{named}). A gradient arrives at {describe(op)}, which lies between ys "
            f"and xs. Register a rule with RegisterGradient({name!r}), or cut the path "
            "behind it with stop_gradient()."
        )
    return rule


class Backward:
    """Gradients on their way from ys to xs.

    Nodes go into ``graph`` under ``scope``, a prefix with its slash. The operations
    differentiated are ``graph``'s own, or those of a graph around it: the latter are
    shown to their rules as if they stood in ``graph``, which captures their tensors.
    """

    def __init__(
        self, graph: Graph, scope: str, colocate: bool, gated: bool, method: Any
    ) -> None:
        self.graph = graph
        self.scope = scope
        self.colocate = colocate
        self.gated = gated
        self.method = method
        self._here = graph._here
        # Where ops go that belong to no forward op.
        self._around = self._here.colocation, self._here.device
        # What arrived at each tensor: a gradient, or a list of them.
        self._arrived: dict[Tensor, Any] = {}

    def send(self, tensor: Tensor, gradient: Any) -> None:
        """One more gradient arrives at ``tensor``."""
        arrived = self._arrived
        before = arrived.get(tensor)
        if before is None:
            arrived[tensor] = gradient
        elif type(before) is list:
            before.append(gradient)
        else:
            arrived[tensor] = [before, gradient]

    def arrived(self, tensor: Tensor) -> Any:
        """The gradient of ``tensor`` after a run, or None."""
        return self._arrived.get(tensor)

    def run(
        self, ys: Sequence[Tensor], xs: Sequence[Tensor], stops: Collection[Operation]
    ) -> None:
        """Carry what was sent to ``ys`` back to ``xs``, not passing ``stops``.

        All ys and xs are of one graph.
        """
        targets = dict.fromkeys(y.op for y in ys)
        sources = dict.fromkeys(x.op for x in xs)
        path = between(targets, sources)
        pending = path.pending
        queue = deque(op for op in targets if op in path.ops and op not in pending)
        stop = {
            op for op in sources if not any(t.op in pending for t in op.inputs)
        }.union(stops)
        if queue:
            chained(self.method)  # an unknown method is an error once it matters
        while queue:
            op = queue.popleft()
            self._step(op, op in stop)
            for tensor in op.inputs:
                source = tensor.op
                left = pending.get(source)
                if left is not None:
                    if left == 1:
                        queue.append(source)
                    pending[source] = left - 1

    def enter(self, op: Operation) -> None:
        """Build in the gradients scope, and beside ``op`` if that was asked for."""
        here = self._here
        here.scope = self.scope
        if self.colocate:
            groups = op.attrs.get("_class") or (b"loc:@" + op.name.encode(),)
            around = self._around[0]
            here.colocation = tuple(sorted({*around, *groups}) if around else groups)
            here.device = op.device
        else:
            here.colocation, here.device = self._around

    def _step(self, op: Operation, stopped: bool) -> None:
        """Aggregate what arrived at ``op`` and pass it on to its inputs."""
        self.enter(op)
        outputs = op.outputs
        arrived = self._arrived
        dys = []
        anything = False
        for y in outputs:
            dy = arrived.get(y)
            if type(dy) is list:
                dy = arrived[y] = aggregate(self.graph, op, dy, self.method)
            if dy is not None:
                anything = True
            dys.append(dy)
        if not anything or not op.inputs:
            return
        rule = NO_GRADIENT if stopped else rule_of(op)
        if rule is NO_GRADIENT:
            self._ended(op, stopped)
            return
        seen = op if op.graph is self.graph else self._shown(op)
        for index, y in enumerate(outputs):
            if dys[index] is None and y.dtype.is_trainable:
                dys[index] = arrived[y] = self._blank(seen.outputs[index])
        dxs = self._differentiate(seen, rule, dys)
        self._deliver(op, dxs)

    def _ended(self, op: Operation, stopped: bool) -> None:
        """A gradient ends at ``op``, on purpose: a hook for why_none()."""

    def _blank(self, y: Tensor) -> Tensor | None:
        """Zeros for an output that no gradient reached; a handle gets none."""
        if y.dtype is resource or y.dtype is variant:
            return None
        return self.graph.apply("ZerosLike", y, name="zeros_like")

    def _differentiate(self, op: Operation, rule: Any, dys: list[Any]) -> Sequence[Any]:
        """The gradients of the inputs, built in a scope of the op's own."""
        graph = self.graph
        here = self._here
        with graph._lock:
            here.scope = graph._names.unique(f"{self.scope}{op.name}_grad") + "/"
        dxs = rule(op, *dys)
        if not isinstance(dxs, (list, tuple)):
            dxs = (dxs,)
        if len(dxs) != len(op.inputs):
            raise ValueError(
                f'Num gradients {len(dxs)} generated for op name: "{op.name}" '
                f"({describe(op)}) do not match num inputs {len(op.inputs)}"
            )
        given = 0
        for dx in dxs:
            if dx is not None:
                given += 1
                if type(dx) is not Tensor and not isinstance(dx, IndexedSlices):
                    raise TypeError(
                        f"The gradient rule of {describe(op)} returned {dx!r}, a "
                        f"{type(dx).__name__}. It must return a tensor, IndexedSlices "
                        "or None for each input."
                    )
        if given and len(dxs) > 1:
            if op.spec.elementwise and getattr(rule, "unreduced", False):
                dxs = unbroadcast(op, dxs)
            if self.gated and given > 1:
                here.colocation, here.device = (), ""
                dxs = gate(dxs)
        return dxs

    def _deliver(self, op: Operation, dxs: Sequence[Any]) -> None:
        for index, dx in enumerate(dxs):
            if dx is None:
                continue
            x = op.inputs[index]
            if type(dx) is Tensor and dx._shape != x._shape and x.dtype is not resource:
                try:
                    dx._shape = shapes.merge(dx._shape, x._shape)
                except GraphError:
                    raise GraphError(
                        "Incompatible shapes between op input and calculated input "
                        f"gradient. Forward operation: {op.name}. Input index: "
                        f"{index}. Original input shape: {x.shape}. Calculated input "
                        f"gradient shape: {dx.shape} [{describe(op)}]"
                    ) from None
            self.send(x, dx)

    def _shown(self, op: Operation) -> Operation:
        """An op of a graph around ours, as if it stood in ours."""
        adopt = self.graph.adopt
        twin = Operation()
        twin.graph = self.graph
        twin.spec, twin.name, twin.attrs = op.spec, op.name, op.attrs
        twin.device, twin.id, twin.origin = op.device, op.id, op.origin
        twin.control_inputs = ()
        twin.inputs = tuple(adopt(t) for t in op.inputs)
        twin.outputs = [adopt(t) for t in op.outputs]
        return twin
