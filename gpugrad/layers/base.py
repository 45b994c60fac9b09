"""Layer: an object that owns variables and applies itself to tensors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gpugrad import shapes
from gpugrad.dtypes import DType, as_dtype, float32
from gpugrad.graph import build
from gpugrad.graph.function_graph import outermost
from gpugrad.graph.tensor import Tensor
from gpugrad.graph.variable import GraphKeys, Variable
from gpugrad.layers.activations import activation_of
from gpugrad.ops import static
from gpugrad.ops.cast import cast
from gpugrad.ops.initializers import Zeros
from gpugrad.ops.nn import bias_add
from gpugrad.ops.variable_scope import VariableScope, get_variable, variable_scope
from gpugrad.shapes import TensorShape


def snake_case(name: str) -> str:
    """Conv2DTranspose -> conv2d_transpose."""
    inner = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", inner).lower()


class Layer:
    """Variables, and a function of tensors that uses them.

    A layer opens a variable scope when it is first called: ``name``, or the name of
    its class made unique. Later calls use the variables that the first one made.

    A class of your own defines ``call(inputs)``, and ``build(input_shape)``, which
    makes the variables with ``add_weight`` at the first call.

    ``trainable``: False keeps the variables away from optimizers. ``dtype``: of the
    variables; by default that of the first input. ``_scope`` and ``_reuse``: a scope to
    open, its name as it stands, and whether to find the variables there.

    Not safe to be called for the first time from several threads.
    """

    def __init__(
        self,
        trainable: bool = True,
        name: str | None = None,
        dtype: Any = None,
        activity_regularizer: Callable[..., Any] | None = None,
        _scope: str | VariableScope | None = None,
        _reuse: Any = None,
    ) -> None:
        self.trainable = trainable
        self.built = False
        self.activity_regularizer = activity_regularizer
        self._dtype = None if dtype is None else as_dtype(dtype).base_dtype
        self._given_name = name
        self._base_name = name or snake_case(type(self).__name__)
        self._reuse = _reuse
        self._scope: VariableScope | None = None
        self._trainable: list[Variable] = []
        self._fixed: list[Variable] = []
        self._losses: list[Any] = []
        self._updates: list[Any] = []
        if _scope:
            self.enter(_scope)

    # --- what it is -------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The last part of the scope's name, or what that will begin with."""
        if self._scope is not None and self._scope.name:
            return self._scope.name.rpartition("/")[2]
        return self._base_name

    @property
    def scope_name(self) -> str:
        """The prefix of the variables' names; ValueError before the first call."""
        if self._scope is None:
            raise ValueError(
                f"The layer {self.name!r} has no scope before its first call, which "
                "opens one. Call it first."
            )
        return self._scope.name

    @property
    def dtype(self) -> DType | None:
        """Of the variables; None before the first call, if none was asked for."""
        return self._dtype

    @property
    def trainable_variables(self) -> list[Variable]:
        """What optimizers update."""
        return list(self._trainable) if self.trainable else []

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The others."""
        frozen = [] if self.trainable else self._trainable
        return [*frozen, *self._fixed]

    @property
    def variables(self) -> list[Variable]:
        """All, the trainable first."""
        return [*self.trainable_variables, *self.non_trainable_variables]

    @property
    def weights(self) -> list[Variable]:
        """``variables`` under another name."""
        return self.variables

    @property
    def trainable_weights(self) -> list[Variable]:
        """``trainable_variables`` under another name."""
        return self.trainable_variables

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """``non_trainable_variables`` under another name."""
        return self.non_trainable_variables

    @property
    def losses(self) -> list[Any]:
        """What the regularizers of this layer gave."""
        return list(self._losses)

    @property
    def updates(self) -> list[Any]:
        """Ops that keep the layer's state, to be run with each training step."""
        return list(self._updates)

    # --- building ---------------------------------------------------------------------

    def build(self, input_shape: TensorShape) -> None:
        """Make the variables."""
        self.built = True

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The layer of ``inputs``."""
        return inputs

    def _scoped(self) -> variable_scope:
        return variable_scope(
            self._scope,
            reuse=True if self.built else self._reuse,
            auxiliary_name_scope=False,
        )

    def enter(self, scope: str | VariableScope) -> None:
        """Have ``scope`` hold the variables; its name is not made unique."""
        with variable_scope(scope) as self._scope:
            pass

    def _set_scope(self, scope: Any = None) -> None:
        if self._scope is not None:
            return
        if scope is None and self._reuse:
            scope = self._base_name
        with variable_scope(scope, self._base_name) as self._scope:
            pass

    def add_weight(
        self,
        name: str,
        shape: Any,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Callable[..., Any] | None = None,
        trainable: bool = True,
        constraint: Callable[..., Any] | None = None,
        partitioner: Any = None,
    ) -> Any:
        """A variable of the layer's: get_variable in its scope."""
        self._set_scope()

        def kept(variable: Any) -> Any:
            loss = regularizer(variable)  # type: ignore[misc]
            if loss is not None:
                self._losses.append(loss)
            return loss

        with self._scoped():
            variable = get_variable(
                name,
                shape,
                dtype or self._dtype or float32,
                initializer,
                kept if regularizer else None,
                trainable=trainable and self.trainable,
                constraint=constraint,
                partitioner=partitioner,
            )
        group = self._trainable if trainable else self._fixed
        if not any(variable is other for other in group):
            group.append(variable)
        return variable

    add_variable = add_weight

    def add_update(self, updates: Any) -> None:
        """Add ops to ``updates`` and to the collection UPDATE_OPS."""
        for update in updates if isinstance(updates, (list, tuple)) else [updates]:
            self._updates.append(update)
            build.get_default_graph().add_to_collection(GraphKeys.UPDATE_OPS, update)

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Add tensors to ``losses`` and to the collection REGULARIZATION_LOSSES."""
        graph = outermost(build.get_default_graph())
        for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
            self._losses.append(loss)
            graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)

    # --- calling ----------------------------------------------------------------------

    def __call__(
        self, inputs: Any, *args: Any, scope: Any = None, **kwargs: Any
    ) -> Any:
        """Build the layer if this is the first call, and apply it."""
        inputs = _converted(inputs)
        self._set_scope(scope)
        with self._scoped() as current, build.name_scope(current.original_name_scope):
            if not self.built:
                first = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
                if self._dtype is None:
                    self._dtype = first.dtype
                self.build(_shape_of(inputs))
                self.built = True
            outputs = self.call(inputs, *args, **kwargs)
            if self.activity_regularizer is not None:
                self._regularize_activity(outputs)
        return outputs

    def _regularize_activity(self, outputs: Any) -> None:
        """Add the mean over the batch of the regularizer's loss."""
        with build.name_scope("ActivityRegularizer"):
            for output in outputs if isinstance(outputs, (list, tuple)) else [outputs]:
                loss = self.activity_regularizer(output)  # type: ignore[misc]
                if loss is not None:
                    rows = cast(static.shape_of(output)[0], loss.dtype)
                    self.add_loss(loss / rows)

    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The same as calling the layer."""
        return self(inputs, *args, **kwargs)

    def count_params(self) -> int:
        """The number of elements of all variables."""
        return sum(v.shape.num_elements() or 0 for v in self.variables)


def _converted(inputs: Any) -> Any:
    if isinstance(inputs, (list, tuple)) and any(
        isinstance(item, (Tensor, Variable)) for item in inputs
    ):
        return type(inputs)(build.convert_to_tensor(item) for item in inputs)
    return build.convert_to_tensor(inputs)


def _shape_of(inputs: Any) -> Any:
    if isinstance(inputs, (list, tuple)):
        return [item.shape for item in inputs]
    return inputs.shape


class WeightedLayer(Layer):
    """A layer with a kernel, a bias and an activation.

    ``activation``: a function of a tensor, or the name of one. ``use_bias``: False for
    no bias. The kernel's initializer is get_variable's default (Glorot's uniform
    distribution, unless the variable scope has another), the bias's is zeros. What a
    regularizer gives goes into the collection REGULARIZATION_LOSSES; an optimizer
    applies a constraint after each update.
    """

    kernel: Any = None
    bias: Any = None
    weight_names = ("kernel", "bias")

    def __init__(
        self,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = None,
        kernel_regularizer: Callable[..., Any] | None = None,
        bias_regularizer: Callable[..., Any] | None = None,
        activity_regularizer: Callable[..., Any] | None = None,
        kernel_constraint: Callable[..., Any] | None = None,
        bias_constraint: Callable[..., Any] | None = None,
        trainable: bool = True,
        name: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(
            trainable, name, activity_regularizer=activity_regularizer, **common
        )
        self.activation = activation_of(activation)
        self.use_bias = use_bias
        self._kernel_arguments: dict[str, Any] = {
            "initializer": kernel_initializer,
            "regularizer": kernel_regularizer,
            "constraint": kernel_constraint,
        }
        self._bias_arguments: dict[str, Any] = {
            "initializer": bias_initializer or Zeros(),
            "regularizer": bias_regularizer,
            "constraint": bias_constraint,
        }

    def add_weights(self, kernel_shape: Any, units: int) -> None:
        """Make the kernel and the bias."""
        kernel, bias = self.weight_names
        self.kernel = self.add_weight(kernel, kernel_shape, **self._kernel_arguments)
        if self.use_bias:
            self.bias = self.add_weight(bias, [units], **self._bias_arguments)

    def finish(self, outputs: Any, data_format: str | None = None) -> Any:
        """``outputs`` with the bias and the activation."""
        if self.use_bias:
            outputs = bias_add(outputs, self.bias, data_format=data_format)
        return outputs if self.activation is None else self.activation(outputs)


def as_function(layer_type: Callable[..., Layer], *to_call: str) -> Callable[..., Any]:
    """tf.layers' function of a layer: make one, call it once on ``inputs``.

    It takes the arguments of the class, ``reuse``, and by keyword those named in
    ``to_call``, which the call gets. With a name, that is the variable scope.
    """

    def function(inputs: Any, *args: Any, reuse: Any = None, **kwargs: Any) -> Any:
        passed = {key: kwargs.pop(key) for key in to_call if key in kwargs}
        layer = layer_type(*args, **kwargs, _reuse=reuse)
        if layer._given_name:
            layer.enter(layer._given_name)
        return layer(inputs, **passed)

    function.__name__ = function.__qualname__ = snake_case(layer_type.__name__)
    function.__doc__ = layer_type.__doc__
    function.__module__ = layer_type.__module__
    return function


def fixed(shape: Any, axis: int, what: str) -> int:
    """The extent of ``shape`` along ``axis``; ValueError if it is not known."""
    partial = shapes.as_partial(shape)
    if partial is None or len(partial) < -axis or partial[axis] is None:
        raise ValueError(
            f"{what} needs inputs whose axis {axis} is known while the graph is built, "
            f"not of shape {shapes.text(partial)}. Use set_shape() or reshape()."
        )
    size: int = partial[axis]  # type: ignore[assignment]
    return size
