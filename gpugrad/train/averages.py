"""Moving averages of variables and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.graph import build
from gpugrad.graph.function_graph import outermost
from gpugrad.graph.gate import group_ops
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import GraphKeys, Variable
from gpugrad.ops.fill import zeros


class ExponentialMovingAverage:
    """Shadow variables that follow variables: s = decay * s + (1 - decay) * v.

    With ``num_updates`` the decay is at most (1 + num_updates) / (10 + num_updates),
    so that averages move faster at first. Averages of variables start at the
    variables' initial values, those of tensors at zero; with ``zero_debias`` the latter
    are divided by 1 - decay ** updates, as in Adam, which takes that zero out again.
    """

    def __init__(
        self,
        decay: Any,
        num_updates: Any = None,
        zero_debias: bool = False,
        name: str = "ExponentialMovingAverage",
    ) -> None:
        self._decay = decay
        self._num_updates = num_updates
        self._name = name
        self._zero_debias = zero_debias
        self._averages: dict[Any, Variable] = {}
        # For an average that is corrected: the sum as it is, and the updates so far.
        self._corrected: dict[Any, tuple[Variable, Variable]] = {}

    @property
    def name(self) -> str:
        """The name, which the averages' names end in."""
        return self._name

    def apply(self, var_list: Sequence[Any] | None = None) -> Operation:
        """An op that updates the averages of ``var_list``: variables or tensors, by
        default all trainable variables.

        Raises TypeError for what is not of a floating type, ValueError for a tensor
        whose shape is not known.
        """
        graph = outermost(build.get_default_graph())
        if var_list is None:
            var_list = graph.get_collection(GraphKeys.TRAINABLE_VARIABLES)
        for item in var_list:
            known = isinstance(item, (Variable, Tensor))
            if not known or not item.dtype.is_floating:
                raise TypeError(
                    f"{item!r} has no moving average: only variables and tensors of a "
                    "floating type have."
                )
            if item not in self._averages:
                self._averages[item] = self._shadow(item)
        with graph.name_scope(self._name) as scope:
            decay = graph.convert(self._decay, dtypes.float32, "decay")
            if self._num_updates is not None:
                count = graph.apply("Cast", self._num_updates, DstT=dtypes.float32)
                early = (1.0 + count) / (10.0 + count)
                decay = graph.apply("Minimum", decay, early)
            updates = [self._update(v, 1.0 - decay) for v in var_list]
            return group_ops(graph, updates, scope)

    def _shadow(self, item: Any) -> Variable:
        graph = item.graph
        name = f"{item.op.name}/{self._name}"
        if isinstance(item, Variable):
            graph.add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, item)
            return self._hidden(item, item.initial_value, name)
        dims, dtype = item.shape.as_list(), item.dtype
        average = self._hidden(item, lambda: zeros(dims, dtype), name)
        if self._zero_debias:
            self._corrected[item] = (
                self._hidden(item, lambda: zeros(dims, dtype), f"{name}/biased"),
                self._hidden(item, lambda: zeros([], dtype), f"{name}/local_step"),
            )
        return average

    @staticmethod
    def _hidden(item: Any, initial: Any, name: str) -> Variable:
        graph = item.graph
        with graph.control_dependencies(None), graph.name_scope(None):
            with graph.colocate_with(item.op):
                return Variable(initial, trainable=False, name=name)

    def _update(self, item: Any, rate: Any) -> Operation:
        average = self._averages[item]
        graph = item.graph
        with graph.name_scope("AssignMovingAvg"), graph.colocate_with(average):
            if rate.dtype is not item.dtype:
                rate = graph.apply("Cast", rate, DstT=item.dtype)
            if item in self._corrected:
                return self._debiased(item, rate)
            step = (average - item) * rate
            op: Operation = average.assign_sub(step, read_value=False)
            return op

    def _debiased(self, item: Any, rate: Any) -> Operation:
        biased, updates = self._corrected[item]
        total = biased.assign_sub((biased - item) * rate).value()
        count = updates.assign_add(item.graph.convert(1, item.dtype)).value()
        weight = 1.0 - (1.0 - rate) ** count
        average = self._averages[item]
        op: Operation = average.assign(total / weight, read_value=False)
        return op

    def average(self, var: Any) -> Variable | None:
        """The variable that holds the average of ``var``, or None."""
        return self._averages.get(var)

    def average_name(self, var: Any) -> str:
        """The name of the variable that holds, or would hold, the average."""
        found = self._averages.get(var)
        return found.op.name if found is not None else f"{var.op.name}/{self._name}"

    def variables_to_restore(self, moving_avg_variables: Any = None) -> dict[str, Any]:
        """Names in a checkpoint to variables: averages in the place of variables."""
        graph = outermost(build.get_default_graph())
        if moving_avg_variables is None:
            moving_avg_variables = graph.get_collection(GraphKeys.TRAINABLE_VARIABLES)
            moving_avg_variables += graph.get_collection(
                GraphKeys.MOVING_AVERAGE_VARIABLES
            )
        names = {self.average_name(v): v for v in moving_avg_variables}
        for variable in graph.get_collection(GraphKeys.GLOBAL_VARIABLES):
            if variable not in moving_avg_variables and variable.op.name not in names:
                names[variable.op.name] = variable
        return names
