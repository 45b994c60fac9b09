"""Moving averages of variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.graph import build
from gpugrad.graph.function_graph import outermost
from gpugrad.graph.gate import group_ops
from gpugrad.graph.tensor import Operation
from gpugrad.graph.variable import GraphKeys, Variable


class ExponentialMovingAverage:
    """Shadow variables that follow variables: s = decay * s + (1 - decay) * v.

    With ``num_updates`` the decay is at most (1 + num_updates) / (10 + num_updates),
    so that averages move faster at first.
    """

    def __init__(
        self,
        decay: Any,
        num_updates: Any = None,
        zero_debias: bool = False,
        name: str = "ExponentialMovingAverage",
    ) -> None:
        if zero_debias:
            raise ValueError(
                "zero_debias is of use for averages that start at zero; these start at "
                "the variable's value. Leave it out."
            )
        self._decay = decay
        self._num_updates = num_updates
        self._name = name
        self._averages: dict[Variable, Variable] = {}

    @property
    def name(self) -> str:
        """The name, which the averages' names end in."""
        return self._name

    def apply(self, var_list: Sequence[Variable] | None = None) -> Operation:
        """An op that updates the averages of ``var_list``, by default all trainable
        variables; their averages start at the variables' initial values.
        """
        graph = outermost(build.get_default_graph())
        if var_list is None:
            var_list = graph.get_collection(GraphKeys.TRAINABLE_VARIABLES)
        for variable in var_list:
            if not isinstance(variable, Variable) or not variable.dtype.is_floating:
                raise TypeError(
                    f"{variable!r} has no moving average: only variables of a floating "
                    "type have."
                )
            if variable not in self._averages:
                self._averages[variable] = self._shadow(variable)
        with graph.name_scope(self._name) as scope:
            decay = graph.convert(self._decay, dtypes.float32, "decay")
            if self._num_updates is not None:
                count = graph.apply("Cast", self._num_updates, DstT=dtypes.float32)
                early = (1.0 + count) / (10.0 + count)
                decay = graph.apply("Minimum", decay, early)
            updates = [self._update(v, 1.0 - decay) for v in var_list]
            return group_ops(graph, updates, scope)

    def _shadow(self, variable: Variable) -> Variable:
        graph = variable.graph
        name = f"{variable.op.name}/{self._name}"
        graph.add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, variable)
        with graph.control_dependencies(None), graph.name_scope(None):
            with graph.colocate_with(variable):
                return Variable(variable.initial_value, trainable=False, name=name)

    def _update(self, variable: Variable, rate: Any) -> Operation:
        average = self._averages[variable]
        graph = variable.graph
        with graph.name_scope("AssignMovingAvg"), graph.colocate_with(average):
            if rate.dtype is not variable.dtype:
                rate = graph.apply("Cast", rate, DstT=variable.dtype)
            step = (average - variable) * rate
            op: Operation = average.assign_sub(step, read_value=False)
            return op

    def average(self, var: Variable) -> Variable | None:
        """The variable that holds the average of ``var``, or None."""
        return self._averages.get(var)

    def average_name(self, var: Variable) -> str:
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
