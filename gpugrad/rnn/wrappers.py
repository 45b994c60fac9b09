"""Cells around a cell: dropout, residual connections."""

from __future__ import annotations

import itertools
import numbers
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from gpugrad.dtypes import as_dtype
from gpugrad.graph import build, nest
from gpugrad.graph.build import apply_op
from gpugrad.graph.constant import constant_value
from gpugrad.ops.layers import dropout
from gpugrad.ops.random import random_uniform
from gpugrad.rnn.cells import LSTMStateTuple, RNNCell, map_sizes, sizes


def check_cell(cell: Any, name: str = "cell") -> None:
    """TypeError unless ``cell`` can be used as an RNNCell."""
    absent = [
        a for a in ("output_size", "state_size", "zero_state") if not hasattr(cell, a)
    ]
    if absent or not callable(cell):
        raise TypeError(
            f"The argument {name!r} ({cell!r}) is not an RNNCell: "
            + (f"it has no {', no '.join(absent)}." if absent else "is not callable.")
        )


class _Wrapper(RNNCell):
    """A cell around a cell, with its variables and its state."""

    def __init__(self, cell: Any, **common: Any) -> None:
        super().__init__(**common)
        check_cell(cell)
        self.cell = cell

    @property
    def wrapped_cell(self) -> Any:
        """The cell inside."""
        return self.cell

    @property
    def state_size(self) -> Any:
        """That of the cell inside."""
        return self.cell.state_size

    @property
    def output_size(self) -> Any:
        """That of the cell inside."""
        return self.cell.output_size

    @property
    def trainable_variables(self) -> list[Any]:
        """Those of the cell inside."""
        return list(self.cell.trainable_variables)

    @property
    def non_trainable_variables(self) -> list[Any]:
        """Those of the cell inside."""
        return list(self.cell.non_trainable_variables)

    def __call__(  # type: ignore[override]
        self, inputs: Any, state: Any, scope: Any = None
    ) -> Any:
        """(output, state) after ``inputs``; ``scope`` is for the cell inside."""
        return self._around(partial(self.cell, scope=scope), inputs, state)

    def _around(self, cell: Callable[..., Any], inputs: Any, state: Any) -> Any:
        """What the wrapper makes of ``cell(inputs, state)``."""
        return cell(inputs, state)

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """That of the cell inside."""
        with build.name_scope(f"{type(self).__name__}ZeroState"):
            return self.cell.zero_state(batch_size, dtype)


class ResidualWrapper(_Wrapper):
    """output = inputs + cell(inputs), or ``residual_fn(inputs, outputs)``."""

    def __init__(
        self, cell: Any, residual_fn: Callable[..., Any] | None = None, **common: Any
    ) -> None:
        super().__init__(cell, **common)
        self._residual = residual_fn

    def _around(self, cell: Callable[..., Any], inputs: Any, state: Any) -> Any:
        outputs, state = cell(inputs, state)
        if self._residual is not None:
            return self._residual(inputs, outputs), state
        leaves, rebuild = nest.flatten(outputs)
        found = nest.flatten(inputs)[0]
        for x, y in zip(found, leaves):
            y.shape.assert_is_compatible_with(x.shape)
        return rebuild([x + y for x, y in zip(found, leaves)]), state


def _all_but_memory(state: Any) -> Any:
    """Which parts of a state are dropped: not the memory of an LSTM cell."""
    return LSTMStateTuple(False, True) if isinstance(state, LSTMStateTuple) else True


class DropoutWrapper(_Wrapper):
    """A cell with dropout of its inputs, its output and its state.

    Each ``..._keep_prob`` is the share that is kept, a number or a scalar tensor; 1
    changes nothing. The memory of an LSTM cell is never dropped, unless
    ``dropout_state_filter_visitor`` says so: a function of a state, or of a part of
    one, that gives a bool, or a tuple of bools for the parts.

    ``variational_recurrent``: the same elements are dropped at every step of a run, for
    the whole batch. It needs ``dtype``, and for dropped inputs ``input_size``.
    """

    def __init__(
        self,
        cell: Any,
        input_keep_prob: Any = 1.0,
        output_keep_prob: Any = 1.0,
        state_keep_prob: Any = 1.0,
        variational_recurrent: bool = False,
        input_size: Any = None,
        dtype: Any = None,
        seed: int | None = None,
        dropout_state_filter_visitor: Callable[[Any], Any] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(cell, dtype=dtype, **common)
        self._visit = dropout_state_filter_visitor or _all_but_memory
        if not callable(self._visit):
            raise TypeError("dropout_state_filter_visitor must be callable.")
        self._seed = seed
        self._keep = {
            "input": _probability(input_keep_prob, "input_keep_prob"),
            "state": _probability(state_keep_prob, "state_keep_prob"),
            "output": _probability(output_keep_prob, "output_keep_prob"),
        }
        self._noise: dict[str, Any] = {}
        if not variational_recurrent:
            return
        if dtype is None:
            raise ValueError("When variational_recurrent=True, dtype must be provided")
        if self._keep["input"] is not None:
            if input_size is None:
                raise ValueError(
                    "When variational_recurrent=True and input_keep_prob < 1.0 or is "
                    "unknown, input_size must be provided"
                )
            self._noise["input"] = self._drawn("input", input_size, dtype)
        self._noise["state"] = self._drawn("state", cell.state_size, dtype)
        self._noise["output"] = self._drawn("output", cell.output_size, dtype)

    def _seed_of(self, what: str, number: int) -> int | None:
        """A seed for each tensor, so that one seed does not drop the same of all."""
        if self._seed is None:
            return None
        return zlib.crc32(f"{self._seed}{what}_{number}".encode()) & 0x7FFFFFFF

    def _drawn(self, what: str, structure: Any, dtype: Any) -> Any:
        """Noise that all steps share, for one row that stands for the batch."""
        numbers = itertools.count()

        def draw(size: Any) -> Any:
            seed = self._seed_of(what, next(numbers))
            return random_uniform([1, *sizes(size)], seed=seed, dtype=as_dtype(dtype))

        return map_sizes(draw, structure)

    def _dropped(self, what: str, value: Any, visit: Callable[[Any], Any]) -> Any:
        keep = self._keep[what]
        if keep is None:
            return value
        numbers = itertools.count()

        def walk(part: Any, noise: Any) -> Any:
            chosen = visit(part)
            if chosen is False:
                return part
            if not isinstance(part, (list, tuple)):
                seed = self._seed_of(what, next(numbers))
                if noise is None:
                    return dropout(part, rate=1.0 - keep, seed=seed)
                kept = apply_op("Floor", keep + noise)
                return apply_op("RealDiv", part, keep) * kept
            flags = chosen if isinstance(chosen, tuple) else (True,) * len(part)
            noises = noise if noise is not None else (None,) * len(part)
            parts = [
                walk(p, n) if flag else p for p, n, flag in zip(part, noises, flags)
            ]
            named = hasattr(part, "_fields")
            return type(part)(*parts) if named else type(part)(parts)

        return walk(value, self._noise.get(what))

    def _around(self, cell: Callable[..., Any], inputs: Any, state: Any) -> Any:
        inputs = self._dropped("input", inputs, lambda part: True)
        output, state = cell(inputs, state)
        state = self._dropped("state", state, self._visit)
        return self._dropped("output", output, lambda part: True), state


def _probability(value: Any, name: str) -> Any:
    """A number or tensor; None where nothing is dropped. ValueError outside [0, 1]."""
    if not isinstance(value, numbers.Real):
        known = constant_value(build.convert_to_tensor(value))
        if known is None:
            return value
        value = known.item()
    if not 0 <= value <= 1:
        raise ValueError(f"Parameter {name} must be between 0 and 1. Received {value}")
    return None if value == 1 else float(value)
