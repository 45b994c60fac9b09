"""The optimizers: which slots each keeps, and which op each applies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph import build
from gpugrad.graph.gate import group_ops
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import Variable
from gpugrad.ops.fill import zeros_like
from gpugrad.train.optimizer import Optimizer


class _ByOneOp(Optimizer):
    """An optimizer whose update is one op, dense or sparse.

    ``_op``: the op's name, without Resource..Apply. ``_slot_names``: slots in the
    order of the op's inputs, with the names of their variables. ``_order``: the op's
    inputs after the slots; "grad" stands for the gradient.
    """

    _op = ""
    _slot_names: tuple[tuple[str, str], ...] = ()
    _order: tuple[str, ...] = ()

    def __init__(
        self, use_locking: bool, name: str, numbers: dict[str, Any], **attrs: Any
    ) -> None:
        super().__init__(use_locking, name)
        self._numbers = numbers
        self._attrs = attrs
        self._tensors: dict[str, Tensor] = {}

    def _create_slots(self, variables: Sequence[Variable]) -> None:
        for variable in variables:
            for slot, op_name in self._slot_names:
                self._slot(variable, slot, op_name, self._initial(slot, variable))

    def _initial(self, slot: str, variable: Variable) -> Any:
        """What a slot begins with; None for zeros."""
        return None

    def _prepare(self) -> None:
        self._tensors = {
            name: self._number(value, name) for name, value in self._numbers.items()
        }

    def _inputs(self, grad: Sequence[Tensor], variable: Variable) -> list[Tensor]:
        inputs = [variable.handle]
        inputs += [self._slots[slot][variable].handle for slot, _ in self._slot_names]
        for name in self._order:
            if name == "grad":
                inputs.extend(grad)
            else:
                inputs.append(self._cast(self._tensors[name], variable.dtype))
        return inputs

    def _apply_dense(self, grad: Tensor, variable: Variable) -> Operation:
        op: Operation = build.get_default_graph().apply(
            f"ResourceApply{self._op}",
            *self._inputs([grad], variable),
            use_locking=self._use_locking,
            **self._attrs,
        )
        return op

    def _apply_sparse(self, grad: IndexedSlices, variable: Variable) -> Operation:
        op: Operation = build.get_default_graph().apply(
            f"ResourceSparseApply{self._op}",
            *self._inputs([grad.values, grad.indices], variable),
            use_locking=self._use_locking,
            **self._attrs,
        )
        return op


def _filled(variable: Variable, value: float) -> Callable[[], Tensor]:
    """An initial value: ``value`` everywhere, in the shape of ``variable``."""
    number = np.asarray(value, variable.dtype.np_dtype)
    dims = variable._shape
    if dims is None or None in dims:
        return lambda: zeros_like(variable.initial_value) + number
    return lambda: build.convert_to_tensor(np.full(dims, number))


class GradientDescentOptimizer(_ByOneOp):
    """v -= learning_rate * g."""

    _op = "GradientDescent"
    _order = ("learning_rate", "grad")

    def __init__(
        self,
        learning_rate: Any,
        use_locking: bool = False,
        name: str = "GradientDescent",
    ) -> None:
        super().__init__(use_locking, name, {"learning_rate": learning_rate})

    def _apply_sparse(self, grad: IndexedSlices, variable: Variable) -> Operation:
        rate = self._cast(self._tensors["learning_rate"], variable.dtype)
        op: Operation = build.get_default_graph().apply(
            "ResourceScatterAdd", variable.handle, grad.indices, -grad.values * rate
        )
        return op


class MomentumOptimizer(_ByOneOp):
    """a = momentum * a + g, v -= learning_rate * a.

    With ``use_nesterov``: v -= learning_rate * (g + momentum * a).
    """

    _op = "Momentum"
    _slot_names = (("momentum", "Momentum"),)
    _order = ("learning_rate", "grad", "momentum")

    def __init__(
        self,
        learning_rate: Any,
        momentum: Any,
        use_locking: bool = False,
        name: str = "Momentum",
        use_nesterov: bool = False,
    ) -> None:
        numbers = {"learning_rate": learning_rate, "momentum": momentum}
        super().__init__(use_locking, name, numbers, use_nesterov=use_nesterov)


class AdagradOptimizer(_ByOneOp):
    """a += g², v -= learning_rate * g / √a; a starts at initial_accumulator_value."""

    _op = "Adagrad"
    _slot_names = (("accumulator", "Adagrad"),)
    _order = ("learning_rate", "grad")

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        use_locking: bool = False,
        name: str = "Adagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ValueError(
                "initial_accumulator_value must be positive: "
                f"{initial_accumulator_value}"
            )
        super().__init__(use_locking, name, {"learning_rate": learning_rate})
        self._initial_value = initial_accumulator_value

    def _initial(self, slot: str, variable: Variable) -> Any:
        return _filled(variable, self._initial_value)


class AdadeltaOptimizer(_ByOneOp):
    """a = ρa + (1-ρ)g², u = √(d+ε)/√(a+ε)·g, d = ρd + (1-ρ)u², v -= learning_rate·u."""

    _op = "Adadelta"
    _slot_names = (("accum", "Adadelta"), ("accum_update", "Adadelta"))
    _order = ("lr", "rho", "epsilon", "grad")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: Any = 0.95,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adadelta",
    ) -> None:
        numbers = {"lr": learning_rate, "rho": rho, "epsilon": epsilon}
        super().__init__(use_locking, name, numbers)


class RMSPropOptimizer(_ByOneOp):
    """s = decay·s + (1-decay)g², m = momentum·m + learning_rate·g/√(s+ε), v -= m.

    ``centered`` also keeps the mean of g, and takes its square from s under the root.
    s starts at 1.
    """

    _op = "RMSProp"
    _slot_names: tuple[tuple[str, str], ...] = (
        ("rms", "RMSProp"),
        ("momentum", "RMSProp"),
    )
    _order = ("learning_rate", "decay", "momentum", "epsilon", "grad")

    def __init__(
        self,
        learning_rate: Any,
        decay: Any = 0.9,
        momentum: Any = 0.0,
        epsilon: Any = 1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
    ) -> None:
        numbers = {
            "learning_rate": learning_rate,
            "decay": decay,
            "momentum": momentum,
            "epsilon": epsilon,
        }
        super().__init__(use_locking, name, numbers)
        if centered:
            self._op = "CenteredRMSProp"
            self._slot_names = (
                ("mg", "RMSProp"),
                ("rms", "RMSProp"),
                ("momentum", "RMSProp"),
            )

    def _create_slots(self, variables: Sequence[Variable]) -> None:
        # TensorFlow makes rms first; checkpoints know the slots by that order.
        order = {"rms": 0, "mg": 1, "momentum": 2}
        for variable in variables:
            for slot, op_name in sorted(self._slot_names, key=lambda s: order[s[0]]):
                self._slot(variable, slot, op_name, self._initial(slot, variable))

    def _initial(self, slot: str, variable: Variable) -> Any:
        return _filled(variable, 1.0) if slot == "rms" else None


def _half_over(beta: float, rate: Any) -> Callable[[], Any]:
    """beta / (2 · rate), where the rate may be a function."""
    return lambda: beta / (2.0 * (rate() if callable(rate) else rate))


class FtrlOptimizer(_ByOneOp):
    """Follow the regularized leader (McMahan and others, 2013), with L1 and L2.

    ``l2_shrinkage_regularization_strength`` is a penalty on the size of the variable
    rather than a term of the proximal step; ``beta`` adds to L2. ``accum_name`` and
    ``linear_name`` name the slot variables.
    """

    _op = "Ftrl"
    _slot_names = (("accum", "Ftrl"), ("linear", "Ftrl"))
    _order: tuple[str, ...] = (
        "grad",
        "learning_rate",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "learning_rate_power",
    )

    def __init__(
        self,
        learning_rate: Any,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "Ftrl",
        accum_name: str | None = None,
        linear_name: str | None = None,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float | None = None,
    ) -> None:
        if initial_accumulator_value < 0.0:
            raise ValueError(
                f"initial_accumulator_value {initial_accumulator_value} needs to be "
                "positive or zero"
            )
        if learning_rate_power > 0.0:
            raise ValueError(
                f"learning_rate_power {learning_rate_power} needs to be negative or "
                "zero"
            )
        for label, value in (
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            (
                "l2_shrinkage_regularization_strength",
                l2_shrinkage_regularization_strength,
            ),
        ):
            if value < 0.0:
                raise ValueError(f"{label} {value} needs to be positive or zero")
        numbers = {
            "learning_rate": learning_rate,
            "l1_regularization_strength": l1_regularization_strength,
            "l2_regularization_strength": l2_regularization_strength,
            "learning_rate_power": learning_rate_power,
        }
        if beta:
            # 2·l2 + β/lr is what multiplies the variable.
            half = _half_over(beta, learning_rate)
            numbers["l2_regularization_strength"] = lambda: (
                half() + l2_regularization_strength
            )
        if l2_shrinkage_regularization_strength > 0.0:
            self._op = "FtrlV2"
            label = "l2_shrinkage_regularization_strength"
            numbers[label] = l2_shrinkage_regularization_strength
            self._order = (*self._order[:-1], label, self._order[-1])
        self._slot_names = (
            ("accum", accum_name or name),
            ("linear", linear_name or name),
        )
        super().__init__(use_locking, name, numbers)
        self._initial_value = initial_accumulator_value

    def _initial(self, slot: str, variable: Variable) -> Any:
        return _filled(variable, self._initial_value) if slot == "accum" else None


class ProximalGradientDescentOptimizer(_ByOneOp):
    """Gradient descent, then shrinking towards zero by L1 and L2."""

    _op = "ProximalGradientDescent"
    _order = (
        "learning_rate",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "grad",
    )

    def __init__(
        self,
        learning_rate: Any,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "ProximalGradientDescent",
    ) -> None:
        numbers = {
            "learning_rate": learning_rate,
            "l1_regularization_strength": l1_regularization_strength,
            "l2_regularization_strength": l2_regularization_strength,
        }
        super().__init__(use_locking, name, numbers)


class ProximalAdagradOptimizer(_ByOneOp):
    """Adagrad, then shrinking towards zero by L1 and L2."""

    _op = "ProximalAdagrad"
    _slot_names = (("accumulator", "ProximalAdagrad"),)
    _order = (
        "learning_rate",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "grad",
    )

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "ProximalAdagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ValueError(
                "initial_accumulator_value must be positive: "
                f"{initial_accumulator_value}"
            )
        numbers = {
            "learning_rate": learning_rate,
            "l1_regularization_strength": l1_regularization_strength,
            "l2_regularization_strength": l2_regularization_strength,
        }
        super().__init__(use_locking, name, numbers)
        self._initial_value = initial_accumulator_value

    def _initial(self, slot: str, variable: Variable) -> Any:
        return _filled(variable, self._initial_value)


class AdamOptimizer(_ByOneOp):
    """m and v are decayed means of g and g²;
    v -= learning_rate·√(1-β2ᵗ)/(1-β1ᵗ)·m/(√v+ε).

    Rows of a gradient count as a dense gradient that is zero elsewhere: the means of
    all rows decay.
    """

    _op = "Adam"
    _slot_names = (("m", "Adam"), ("v", "Adam"))

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adam",
    ) -> None:
        numbers = {
            "learning_rate": learning_rate,
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": epsilon,
        }
        super().__init__(use_locking, name, numbers)

    def _create_slots(self, variables: Sequence[Variable]) -> None:
        first = min(variables, key=lambda v: v.name)
        for power, beta in (("beta1_power", "beta1"), ("beta2_power", "beta2")):
            value = self._numbers[beta]
            self._other(power, value() if callable(value) else value, first)
        super()._create_slots(variables)

    def _powers(self, variable: Variable) -> list[Variable]:
        graph = variable.graph
        return [self._others["beta1_power", graph], self._others["beta2_power", graph]]

    def _apply_dense(self, grad: Tensor, variable: Variable) -> Operation:
        slots = [self._slots[name][variable].handle for name in ("m", "v")]
        graph = build.get_default_graph()
        dtype = variable.dtype
        powers = [
            p if p.dtype is dtype else self._cast(p.value(), dtype)
            for p in self._powers(variable)
        ]
        names = ("learning_rate", "beta1", "beta2", "epsilon")
        op: Operation = graph.apply(
            "ResourceApplyAdam",
            variable.handle,
            *slots,
            *powers,
            *[self._cast(self._tensors[n], dtype) for n in names],
            grad,
            use_locking=self._use_locking,
        )
        return op

    def _apply_sparse(self, grad: IndexedSlices, variable: Variable) -> Operation:
        return self._apply_dense(variable.graph.convert(grad), variable)

    def _finish(self, updates: Sequence[Operation], name: str) -> Operation:
        graph = build.get_default_graph()
        powers = [self._others[n, graph] for n in ("beta1_power", "beta2_power")]
        last = []
        with graph.control_dependencies(updates), graph.colocate_with(powers[0]):
            for power, beta in zip(powers, ("beta1", "beta2")):
                last.append(power.assign(power * self._tensors[beta], read_value=False))
        return group_ops(graph, [*updates, *last], name)


class AdagradDAOptimizer(_ByOneOp):
    """Adagrad's dual averaging (Duchi and others, 2011), with L1 and L2.

    The variable follows from the sums of all gradients and of their squares; rows that
    no gradient names stay as they are until one does.
    """

    _op = "AdagradDA"
    _slot_names = (
        ("gradient_accumulator", "AdagradDA"),
        ("gradient_squared_accumulator", "AdagradDA"),
    )
    _order = (
        "grad",
        "learning_rate",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "global_step",
    )

    def __init__(
        self,
        learning_rate: Any,
        global_step: Any,
        initial_gradient_squared_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "AdagradDA",
    ) -> None:
        if initial_gradient_squared_accumulator_value <= 0.0:
            raise ValueError(
                "initial_gradient_squared_accumulator_value must be positive: "
                f"{initial_gradient_squared_accumulator_value}"
            )
        numbers = {
            "learning_rate": learning_rate,
            "l1_regularization_strength": l1_regularization_strength,
            "l2_regularization_strength": l2_regularization_strength,
        }
        super().__init__(use_locking, name, numbers)
        self._global_step = global_step
        self._initial_value = initial_gradient_squared_accumulator_value

    def _initial(self, slot: str, variable: Variable) -> Any:
        squared = slot == "gradient_squared_accumulator"
        return _filled(variable, self._initial_value) if squared else None

    def _inputs(self, grad: Sequence[Tensor], variable: Variable) -> list[Tensor]:
        graph = build.get_default_graph()
        # The step that this update makes: the counter is increased afterwards.
        step = self._cast(graph.convert(self._global_step), dtypes.int64) + 1
        inputs = [variable.handle]
        inputs += [self._slots[slot][variable].handle for slot, _ in self._slot_names]
        for name in self._order:
            if name == "grad":
                inputs.extend(grad)
            elif name == "global_step":
                inputs.append(step)
            else:
                inputs.append(self._cast(self._tensors[name], variable.dtype))
        return inputs
