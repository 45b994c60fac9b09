"""Recurrent cells: one step of a recurrence, (inputs, state) to (output, state)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.graph import build
from gpugrad.graph.build import apply_op
from gpugrad.layers.activations import activation_of
from gpugrad.layers.base import Layer, fixed
from gpugrad.ops.arithmetic import add, multiply
from gpugrad.ops.clip import clip_by_value
from gpugrad.ops.concat import concat
from gpugrad.ops.elementary import sigmoid, tanh
from gpugrad.ops.fill import zeros
from gpugrad.ops.initializers import Constant, Zeros
from gpugrad.ops.matmul import matmul
from gpugrad.ops.nn import bias_add
from gpugrad.ops.split import split
from gpugrad.ops.variable_scope import get_variable_scope, variable_scope
from gpugrad.shapes import TensorShape


class LSTMStateTuple(NamedTuple):
    """The state of an LSTM cell: the memory ``c``, and the last output ``h``."""

    c: Any
    h: Any

    @property
    def dtype(self) -> DType:
        """Of both; TypeError if they differ."""
        if self.c.dtype is not self.h.dtype:
            raise TypeError(
                "Inconsistent dtypes for internal state: "
                f"{self.c.dtype.name} vs {self.h.dtype.name}"
            )
        dtype: DType = self.c.dtype
        return dtype


def sizes(size: Any) -> list[Any]:
    """The dimensions behind the batch that a size (an int or a shape) means."""
    if isinstance(size, TensorShape):
        return size.as_list()
    return [int(size)]


def map_sizes(function: Callable[[Any], Any], structure: Any) -> Any:
    """``function`` of each size; a TensorShape is one size."""
    if isinstance(structure, (list, tuple)) and not isinstance(structure, TensorShape):
        items = [map_sizes(function, item) for item in structure]
        if hasattr(structure, "_fields"):
            return type(structure)(*items)
        return type(structure)(items)
    return function(structure)


def zero_tensors(structure: Any, batch_size: Any, dtype: Any) -> Any:
    """Zeros [batch_size, ...size] for each size of ``structure``."""
    return map_sizes(lambda n: zeros([batch_size, *sizes(n)], dtype), structure)


class RNNCell(Layer):
    """One step of a recurrence: ``output, state = cell(inputs, state)``.

    ``state_size`` is an int, a TensorShape or a tuple of such, the shape of the state
    behind the batch; ``output_size`` that of the output. A cell of your own defines
    both, and ``call(inputs, state)``, which may take its variables from get_variable.
    """

    @property
    def state_size(self) -> Any:
        """The sizes of the state."""
        raise NotImplementedError(f"{type(self).__name__} defines no state_size.")

    @property
    def output_size(self) -> Any:
        """The sizes of the output."""
        raise NotImplementedError(f"{type(self).__name__} defines no output_size.")

    def __call__(  # type: ignore[override]
        self, inputs: Any, state: Any, scope: Any = None
    ) -> Any:
        """(output, state) after ``inputs``; ``scope`` is for the variables."""
        around = get_variable_scope() if scope is None else scope
        with variable_scope(around, custom_getter=self._tracked) as opened:
            inside = None if scope is None else opened
            return super().__call__(inputs, state, scope=inside)

    def _tracked(self, getter: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """get_variable, and a note that the variable is the cell's."""
        variable = getter(*args, **kwargs)
        group = self._trainable if variable.trainable else self._fixed
        if not any(variable is other for other in group):
            group.append(variable)
        return variable

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """The state before the first step, zeros for a batch of that size."""
        with build.name_scope(f"{type(self).__name__}ZeroState"):
            return zero_tensors(self.state_size, batch_size, dtype)

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> Any:
        """zero_state, for a batch like ``inputs`` or of the given size and dtype."""
        if inputs is not None:
            inputs = build.convert_to_tensor(inputs)
            batch_size = inputs._shape[0] if inputs._shape else None
            if batch_size is None:
                batch_size = apply_op("Shape", inputs, out_type=dtypes.int32)[0]
            dtype = inputs.dtype
        if batch_size is None or dtype is None:
            raise ValueError(
                "get_initial_state() needs `inputs`, or both `batch_size` and `dtype`."
            )
        return self.zero_state(batch_size, dtype)


class _Units(RNNCell):
    """What the cells below share: a number of units and an activation, tanh.

    They make their variables in ``build``, and need no scope around their own.
    """

    def __init__(
        self,
        num_units: int,
        activation: Any = None,
        reuse: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **common: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, _reuse=reuse, **common)
        self._units = int(num_units)
        self._activation = activation_of(activation) or tanh

    def __call__(  # type: ignore[override]
        self, inputs: Any, state: Any, scope: Any = None
    ) -> Any:
        """(output, state) after ``inputs``; ``scope`` is for the variables."""
        return Layer.__call__(self, inputs, state, scope=scope)

    @property
    def state_size(self) -> Any:
        """The number of units."""
        return self._units

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._units

    def _affine(self, inputs: Any, state: Any, kernel: Any, bias: Any) -> Any:
        return bias_add(matmul(concat([inputs, state], 1), kernel), bias)


class BasicRNNCell(_Units):
    """output = state = activation([inputs, state] @ kernel + bias)."""

    def __init__(
        self,
        num_units: int,
        activation: Any = None,
        reuse: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **common: Any,
    ) -> None:
        super().__init__(num_units, activation, reuse, name, dtype, **common)

    def build(self, input_shape: Any) -> None:
        """Make the kernel and the bias."""
        rows = fixed(input_shape, -1, self.name) + self._units
        self._kernel = self.add_weight("kernel", [rows, self._units])
        self._bias = self.add_weight("bias", [self._units], initializer=Zeros())
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """(output, state)."""
        output = self._activation(self._affine(inputs, state, self._kernel, self._bias))
        return output, output


class GRUCell(_Units):
    """Gated recurrent unit: state' = u * state + (1 - u) * candidate.

    r, u = split(sigmoid([inputs, state] @ gates/kernel + gates/bias)),
    candidate = activation([inputs, r * state] @ candidate/kernel + candidate/bias).
    The bias of the gates starts from 1, that of the candidate from 0.
    """

    def __init__(
        self,
        num_units: int,
        activation: Any = None,
        reuse: Any = None,
        kernel_initializer: Any = None,
        bias_initializer: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **common: Any,
    ) -> None:
        super().__init__(num_units, activation, reuse, name, dtype, **common)
        self._kernel_initializer = kernel_initializer
        self._bias_initializer = bias_initializer

    def build(self, input_shape: Any) -> None:
        """Make the kernels and the biases."""
        units = self._units
        rows = fixed(input_shape, -1, self.name) + units

        def pair(name: str, columns: int, bias: Any) -> tuple[Any, Any]:
            return (
                self.add_weight(
                    f"{name}/kernel",
                    [rows, columns],
                    initializer=self._kernel_initializer,
                ),
                self.add_weight(
                    f"{name}/bias",
                    [columns],
                    initializer=self._bias_initializer or bias,
                ),
            )

        self._gates = pair("gates", 2 * units, Constant(1.0))
        self._candidate = pair("candidate", units, Zeros())
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """(output, state)."""
        gates = sigmoid(self._affine(inputs, state, *self._gates))
        r, u = split(gates, 2, 1)
        c = self._activation(self._affine(inputs, r * state, *self._candidate))
        output = u * state + (1 - u) * c
        return output, output


class _LSTM(_Units):
    """What both LSTM cells share: their state, and the four gates.

    i, j, f, o = split([inputs, h] @ kernel + bias).
    """

    def __init__(
        self,
        num_units: int,
        forget_bias: float,
        state_is_tuple: bool,
        activation: Any,
        reuse: Any,
        name: str | None,
        dtype: Any,
        **common: Any,
    ) -> None:
        super().__init__(num_units, activation, reuse, name, dtype, **common)
        self._forget_bias = forget_bias
        self._is_tuple = state_is_tuple

    @property
    def state_size(self) -> Any:
        """LSTMStateTuple of both sizes, or their sum."""
        sizes = LSTMStateTuple(self._units, self.output_size)
        return sizes if self._is_tuple else sizes.c + sizes.h

    def _kernel_and_bias(self, input_shape: Any, initializer: Any = None) -> None:
        rows = fixed(input_shape, -1, self.name) + self.output_size
        columns = 4 * self._units
        self._kernel = self.add_weight(
            "kernel", [rows, columns], initializer=initializer
        )
        self._bias = self.add_weight("bias", [columns], initializer=Zeros())

    def _taken(self, state: Any) -> Any:
        if self._is_tuple:
            return state
        return split(state, [self._units, self.output_size], 1)

    def _given(self, c: Any, h: Any) -> Any:
        return LSTMStateTuple(c, h) if self._is_tuple else concat([c, h], 1)

    def _split(self, inputs: Any, h: Any) -> Any:
        return split(self._affine(inputs, h, self._kernel, self._bias), 4, 1)


class BasicLSTMCell(_LSTM):
    """LSTM: c' = c * sigmoid(f + forget_bias) + sigmoid(i) * activation(j), and
    output = activation(c') * sigmoid(o), where
    i, j, f, o = split([inputs, h] @ kernel + bias).

    The state is LSTMStateTuple(c, h), with ``state_is_tuple=False`` both side by side.
    """

    def __init__(
        self,
        num_units: int,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Any = None,
        reuse: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **common: Any,
    ) -> None:
        super().__init__(
            num_units, forget_bias, state_is_tuple, activation, reuse, name, dtype,
            **common,
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Make the kernel and the bias."""
        self._kernel_and_bias(input_shape)
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """(output, state)."""
        c, h = self._taken(state)
        i, j, f, o = self._split(inputs, h)
        kept = multiply(c, sigmoid(add(f, self._forget_bias)))
        c = add(kept, multiply(sigmoid(i), self._activation(j)))
        h = multiply(self._activation(c), sigmoid(o))
        return h, self._given(c, h)


class LSTMCell(_LSTM):
    """BasicLSTMCell with three more things, each by choice.

    ``use_peepholes``: the gates see c too, each unit its own, times the variables
    w_f_diag, w_i_diag and w_o_diag. ``cell_clip``: c' is held within its negative and
    itself. ``num_proj``: the output is (...) @ projection/kernel, of that size, held
    within ``proj_clip``. ``initializer`` is that of all weights but the bias.
    """

    def __init__(
        self,
        num_units: int,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        initializer: Any = None,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        num_unit_shards: int | None = None,
        num_proj_shards: int | None = None,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Any = None,
        reuse: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **common: Any,
    ) -> None:
        super().__init__(
            num_units, forget_bias, state_is_tuple, activation, reuse, name, dtype,
            **common,
        )  # fmt: skip
        self._peepholes = use_peepholes
        self._clip, self._proj_clip = cell_clip, proj_clip
        self._initializer, self._num_proj = initializer, num_proj

    @property
    def output_size(self) -> Any:
        """The size of the projection, or the number of units."""
        return self._num_proj or self._units

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self._kernel_and_bias(input_shape, self._initializer)

        def weight(name: str, shape: list[int]) -> Any:
            return self.add_weight(name, shape, initializer=self._initializer)

        units = self._units
        if self._peepholes:
            self._f, self._i, self._o = (
                weight(f"w_{gate}_diag", [units]) for gate in "fio"
            )
        if self._num_proj:
            self._projection = weight("projection/kernel", [units, self._num_proj])
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """(output, state)."""
        c, h = self._taken(state)
        i, j, f, o = self._split(inputs, h)
        f = f + self._forget_bias
        if self._peepholes:
            f, i = f + self._f * c, i + self._i * c
        c = sigmoid(f) * c + sigmoid(i) * self._activation(j)
        if self._clip is not None:
            c = clip_by_value(c, -self._clip, self._clip)
        if self._peepholes:
            o = o + self._o * c
        h = sigmoid(o) * self._activation(c)
        if self._num_proj:
            h = matmul(h, self._projection)
            if self._proj_clip is not None:
                h = clip_by_value(h, -self._proj_clip, self._proj_clip)
        return h, self._given(c, h)


class MultiRNNCell(RNNCell):
    """Cells one after another: each gets the output of the one before.

    The state is a tuple of theirs, with ``state_is_tuple=False`` all side by side.
    """

    def __init__(self, cells: Sequence[Any], state_is_tuple: bool = True) -> None:
        super().__init__()
        if not isinstance(cells, (list, tuple)):
            raise TypeError(f"cells must be a list or tuple, but received: {cells}.")
        if not cells:
            raise ValueError("Must specify at least one cell for MultiRNNCell.")
        if not state_is_tuple and any(
            isinstance(cell.state_size, (list, tuple)) for cell in cells
        ):
            raise ValueError(
                "Some cells have tuples as states; then state_is_tuple must be True. "
                f"State sizes are: {[cell.state_size for cell in cells]}"
            )
        self._cells = list(cells)
        self._is_tuple = state_is_tuple

    @property
    def state_size(self) -> Any:
        """The sizes of all cells' states."""
        every = tuple(cell.state_size for cell in self._cells)
        return every if self._is_tuple else sum(every)

    @property
    def output_size(self) -> Any:
        """That of the last cell."""
        return self._cells[-1].output_size

    @property
    def trainable_variables(self) -> list[Any]:
        """Those of all cells."""
        return [v for cell in self._cells for v in cell.trainable_variables]

    @property
    def non_trainable_variables(self) -> list[Any]:
        """Those of all cells."""
        return [v for cell in self._cells for v in cell.non_trainable_variables]

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """The state before the first step."""
        if not self._is_tuple:
            return super().zero_state(batch_size, dtype)
        with build.name_scope(f"{type(self).__name__}ZeroState"):
            return tuple(cell.zero_state(batch_size, dtype) for cell in self._cells)

    def call(self, inputs: Any, state: Any) -> Any:
        """(output, state)."""
        if not self._is_tuple:
            state = split(state, [cell.state_size for cell in self._cells], 1)
        elif not isinstance(state, (list, tuple)) or len(state) != len(self._cells):
            raise ValueError(
                f"Expected state to be a tuple of length {len(self._cells)}, but "
                f"received: {state}"
            )
        after = []
        for number, (cell, before) in enumerate(zip(self._cells, state)):
            with variable_scope(f"cell_{number}"):
                inputs, new = cell(inputs, before)
            after.append(new)
        return inputs, tuple(after) if self._is_tuple else concat(after, 1)
