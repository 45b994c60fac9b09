"""Optimizer: gradients of a loss, and ops that update variables with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.autodiff.gradients import gradients_v1
from gpugrad.dtypes import DType
from gpugrad.graph import build, nest
from gpugrad.graph.function_graph import outermost
from gpugrad.graph.gate import gate, group_ops
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import GraphKeys, Variable
from gpugrad.ops.fill import zeros, zeros_like

_VALID = (dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16)

GradientsAndVariables = list[tuple[Any, Any]]


class Optimizer:
    """Base of the optimizers: minimize() computes gradients, then applies them.

    ``GATE_NONE``: an update may start as soon as its gradient exists. ``GATE_OP``: no
    gradient of an op is read before all gradients of that op exist. ``GATE_GRAPH``:
    no update starts before all gradients exist.

    A kind of optimizer says how to make its slots (_create_slots), which numbers to
    convert once (_prepare), and how to update one variable (_apply_dense,
    _apply_sparse).
    """

    GATE_NONE = 0
    GATE_OP = 1
    GATE_GRAPH = 2

    def __init__(self, use_locking: bool, name: str) -> None:
        if not name:
            raise ValueError("Must specify the optimizer name")
        self._use_locking = use_locking
        self._name = name
        # Slot variables by slot name, then by the variable that they belong to.
        self._slots: dict[str, dict[Variable, Variable]] = {}
        self._others: dict[tuple[str, Graph], Variable] = {}

    def get_name(self) -> str:
        """The optimizer's name."""
        return self._name

    # --- gradients ------------------------------------------------------------------

    def minimize(
        self,
        loss: Any,
        global_step: Variable | None = None,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
    ) -> Operation:
        """An op that takes one step down ``loss``; see compute_ and apply_gradients.

        Raises ValueError if no variable gets a gradient.
        """
        pairs = self.compute_gradients(
            loss,
            var_list=var_list,
            gate_gradients=gate_gradients,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
            grad_loss=grad_loss,
        )
        if all(grad is None for grad, _ in pairs):
            raise ValueError(
                "No gradients provided for any variable, check your graph for ops that "
                "do not support gradients, between variables "
                f"{[str(v) for _, v in pairs]} and loss {loss}."
            )
        return self.apply_gradients(pairs, global_step=global_step, name=name)

    def compute_gradients(
        self,
        loss: Any,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        grad_loss: Any = None,
    ) -> GradientsAndVariables:
        """(gradient or None, variable) for each variable of ``var_list``.

        ``var_list`` defaults to the graph's trainable variables. ``grad_loss`` weighs
        the elements of ``loss``.
        """
        gates = (Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH)
        if gate_gradients not in gates:
            raise ValueError(
                "gate_gradients must be one of: Optimizer.GATE_NONE, "
                "Optimizer.GATE_OP, "
                f"Optimizer.GATE_GRAPH.  Not {gate_gradients}"
            )
        _check_dtypes([t for t in (loss, grad_loss) if t is not None])
        if var_list is None:
            graph = outermost(build.graph_of(loss))
            variables = graph.get_collection(GraphKeys.TRAINABLE_VARIABLES)
        else:
            variables, _ = nest.flatten(var_list)
        if not variables:
            raise ValueError("No variables to optimize.")
        grads = gradients_v1(
            loss,
            variables,
            grad_ys=grad_loss,
            gate_gradients=gate_gradients == Optimizer.GATE_OP,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
        )
        if gate_gradients == Optimizer.GATE_GRAPH:
            grads = gate(grads)
        pairs = list(zip(grads, variables))
        _check_dtypes([v for g, v in pairs if g is not None])
        return pairs

    # --- updates --------------------------------------------------------------------

    def apply_gradients(
        self,
        grads_and_vars: Any,
        global_step: Variable | None = None,
        name: str | None = None,
    ) -> Operation:
        """An op that updates each variable with its gradient, and counts a step.

        Pairs whose gradient is None are left out. ``global_step`` is increased by one
        after the updates. Raises ValueError if nothing is left.
        """
        pairs = self._checked(grads_and_vars)
        variables = [v for g, v in pairs if g is not None]
        graph = build.graph_of(*[v.handle for v in variables])
        with build.graph_context(graph):
            with graph.control_dependencies(None):
                self._create_slots(variables)
            with graph.name_scope(name or self._name) as scope:
                self._prepare()
                updates = []
                for grad, variable in pairs:
                    if grad is None:
                        continue
                    with graph.name_scope("update_" + variable.op.name):
                        with graph.colocate_with(variable):
                            updates.append(self._apply(grad, variable))
                if global_step is None:
                    train_op = self._finish(updates, scope)
                else:
                    train_op = self._count(updates, global_step, scope)
            ops = graph.get_collection_ref(GraphKeys.TRAIN_OP)
            if train_op not in ops:
                ops.append(train_op)
        return train_op

    def _checked(self, grads_and_vars: Any) -> GradientsAndVariables:
        """The pairs, in a list; errors for what cannot be applied."""
        pairs = list(grads_and_vars)
        if not pairs:
            raise ValueError("No variables provided.")
        for grad, variable in pairs:
            if isinstance(variable, Tensor):
                raise NotImplementedError("Trying to update a Tensor ", variable)
            if not isinstance(variable, Variable):
                raise TypeError(f"Variable must be a tf.Variable: {variable}")
            if grad is not None and not isinstance(grad, (Tensor, IndexedSlices)):
                raise TypeError(
                    f"Gradient must be a Tensor, IndexedSlices, or None: {grad}"
                )
        if all(grad is None for grad, _ in pairs):
            names = [str(v) for _, v in pairs]
            raise ValueError(f"No gradients provided for any variable: {names}.")
        return pairs

    def _apply(self, grad: Any, variable: Variable) -> Operation:
        if isinstance(grad, IndexedSlices):
            update = self._apply_sparse(grad, variable)
        else:
            update = self._apply_dense(grad, variable)
        if variable.constraint is None:
            return update
        with variable.graph.control_dependencies([update]):
            bounded = variable.constraint(variable.value())
            op: Operation = variable.assign(bounded, read_value=False)
            return op

    def _count(
        self, updates: Sequence[Operation], global_step: Variable, scope: str
    ) -> Operation:
        graph = build.get_default_graph()
        done = self._finish(updates, "update")
        with graph.control_dependencies([done]), graph.colocate_with(global_step):
            one = graph.convert(1, global_step.dtype)
            op: Operation = graph.apply(
                "AssignAddVariableOp", global_step.handle, one, name=scope
            )
        return op

    # --- what a kind of optimizer says ------------------------------------------------

    def _create_slots(self, variables: Sequence[Variable]) -> None:
        """Make the slot variables that are not there yet."""

    def _prepare(self) -> None:
        """Make tensors of the numbers, such as the learning rate."""

    def _apply_dense(self, grad: Tensor, variable: Variable) -> Operation:
        """An op that updates ``variable`` with a dense gradient."""
        raise TypeError(f"{type(self).__name__} does not say how to apply a gradient.")

    def _apply_sparse(self, grad: IndexedSlices, variable: Variable) -> Operation:
        """An op that updates ``variable`` with rows of a gradient."""
        return self._apply_dense(variable.graph.convert(grad), variable)

    def _finish(self, updates: Sequence[Operation], name: str) -> Operation:
        """An op that stands for all updates."""
        return group_ops(build.get_default_graph(), updates, name)

    # --- numbers and slots ------------------------------------------------------------

    def _number(self, value: Any, name: str) -> Tensor:
        """A hyperparameter as a tensor; a function is called for it."""
        return build.convert_to_tensor(value() if callable(value) else value, name=name)

    @staticmethod
    def _cast(tensor: Tensor, dtype: DType) -> Tensor:
        """A hyperparameter in a variable's dtype."""
        if tensor.dtype is dtype:
            return tensor
        cast: Tensor = build.get_default_graph().apply("Cast", tensor, DstT=dtype)
        return cast

    def _slot(
        self, variable: Variable, slot_name: str, op_name: str, initial: Any = None
    ) -> Variable:
        """The slot of ``variable``, made on first use, of its shape; zeros by "
        "default."""
        slots = self._slots.setdefault(slot_name, {})
        found = slots.get(variable)
        if found is None:
            name = f"{variable.op.name}/{op_name}"
            first = _zeros(variable) if initial is None else initial
            found = slots[variable] = _hidden(variable, first, name)
        return found

    def _other(self, name: str, initial: Any, beside: Variable) -> Variable:
        """A variable of the optimizer's own, one a graph."""
        key = name, beside.graph
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = _hidden(beside, initial, name)
        return found

    def get_slot(self, var: Variable, name: str) -> Variable | None:
        """The slot variable ``name`` of ``var``, or None."""
        return self._slots.get(name, {}).get(var)

    def get_slot_names(self) -> list[str]:
        """The names of the slots, sorted."""
        return sorted(self._slots)

    def variables(self) -> list[Variable]:
        """The variables that the optimizer has made in the current graph."""
        graph = outermost(build.get_default_graph())
        made = [
            *self._others.values(),
            *(v for s in self._slots.values() for v in s.values()),
        ]
        return sorted((v for v in made if v.graph is graph), key=lambda v: v.name)


def _zeros(variable: Variable) -> Callable[[], Tensor]:
    """Zeros like the variable, also where its shape is only known when it runs."""
    dims = variable._shape
    if dims is None or None in dims:
        return lambda: zeros_like(variable.initial_value)
    return lambda: zeros(list(dims), variable.dtype)


def _hidden(beside: Variable, initial: Any, name: str) -> Variable:
    """A variable that is not trained, under a full name, next to another."""
    graph = beside.graph
    with graph.name_scope(None), graph.colocate_with(beside):
        return Variable(initial, trainable=False, name=name)


def _check_dtypes(tensors: Sequence[Any]) -> None:
    for tensor in tensors:
        dtype = tensor.dtype if hasattr(tensor, "dtype") else None
        if dtype not in _VALID:
            name = getattr(tensor, "name", repr(tensor))
            raise ValueError(
                f"Invalid type {dtype!r} for {name}, expected: {list(_VALID)}."
            )
