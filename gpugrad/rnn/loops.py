"""Recurrent networks: a cell applied along time, in a loop or written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.control.loop import while_loop
from gpugrad.control.tensor_array import TensorArray
from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph import build, nest
from gpugrad.graph.build import apply_op
from gpugrad.graph.tensor import Tensor
from gpugrad.ops.cast import cast
from gpugrad.ops.check import assert_equal
from gpugrad.ops.concat import concat
from gpugrad.ops.layout import transpose
from gpugrad.ops.reduce import reduce_max
from gpugrad.ops.reverse import reverse, reverse_sequence
from gpugrad.ops.select import where
from gpugrad.ops.stack import stack, unstack
from gpugrad.ops.static import shape_of
from gpugrad.ops.variable_scope import variable_scope
from gpugrad.rnn.cells import zero_tensors
from gpugrad.rnn.wrappers import check_cell


def _swapped(x: Any) -> Any:
    """With the first two axes exchanged: batch and time."""
    x = build.convert_to_tensor(x)
    if x.ndim is None or x.ndim < 2:
        return x
    return transpose(x, [1, 0, *range(2, x.ndim)])


def _lengths(sequence_length: Any, batch_size: Any) -> Any:
    """Lengths as an int32 vector, one for each row of the batch."""
    lengths = cast(build.convert_to_tensor(sequence_length), dtypes.int32)
    if lengths.ndim not in (None, 1):
        raise ValueError(
            "sequence_length must be a vector of length batch_size, not of shape "
            f"{lengths.shape}."
        )
    given = shape_of(lengths)[0]
    message = "sequence_length needs one length for each row of the batch."
    with lengths.graph.control_dependencies(
        [assert_equal(given, batch_size, message=message)]
    ):
        return apply_op("Identity", lengths, name="sequence_length")


def _first_state(cell: Any, state: Any, batch_size: Any, dtype: Any) -> Any:
    if state is not None:
        return nest.map_leaves(build.convert_to_tensor, state)
    if dtype is None:
        raise ValueError(
            "If no initial_state is provided, argument `dtype` must be specified"
        )
    return cell.zero_state(batch_size, dtype)


def _dtype_of(dtype: Any, state: Any) -> DType:
    """The dtype asked for, or that of all tensors of the state."""
    if dtype is not None:
        return as_dtype(dtype)
    found = {tensor.dtype for tensor in nest.flatten(state)[0]}
    if len(found) != 1:
        raise ValueError(
            f"The tensors of the state have several dtypes, {found}: give `dtype`."
        )
    return found.pop()


def _step(
    cell: Any, inputs: Any, state: Any, time: Any, lengths: Any, zero_output: Any
) -> Any:
    """(output, state) of a step; rows that are over give zeros and keep their state."""
    output, new_state = cell(inputs, state)
    for what, got, want in (
        ("output", output, zero_output),
        ("state", new_state, state),
    ):
        if nest.shape_of(got) != nest.shape_of(want):
            raise ValueError(
                f"The cell {cell!r} gave the {what} {got}, which has not the structure "
                f"of its {what}_size."
            )
    if lengths is None:
        return output, new_state
    over = apply_op("GreaterEqual", time, lengths)

    def held(old: Any, new: Any) -> Any:
        leaves, rebuild = nest.flatten(new)
        olds = nest.flatten(old)[0]
        return rebuild(
            [
                n if n.ndim == 0 else where(over, apply_op("Identity", o), n)
                for o, n in zip(olds, leaves)
            ]
        )

    return held(zero_output, output), held(state, new_state)


def dynamic_rnn(
    cell: Any,
    inputs: Any,
    sequence_length: Any = None,
    initial_state: Any = None,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    swap_memory: bool = False,
    time_major: bool = False,
    scope: Any = None,
) -> Any:
    """(outputs, last state) of a cell along time, in a loop.

    Shapes:  inputs [batch, time, ...input], or a structure of such; outputs [batch,
             time, ...output_size]. With ``time_major`` both begin [time, batch].
    ``sequence_length``: the steps of each row, [batch]; later ones give zeros and leave
    the state. ``initial_state``: of the cell's state_size; without one, zeros of
    ``dtype``. ``parallel_iterations`` and ``swap_memory`` change nothing.

    Raises TypeError for what is no cell, ValueError for inputs whose size is not known
    or whose extents in time and batch differ.
    """
    check_cell(cell)
    with variable_scope(scope or "rnn"):
        if not time_major:
            inputs = nest.map_leaves(_swapped, inputs)
        leaves, rebuild = nest.flatten(inputs)
        leaves = [build.convert_to_tensor(leaf) for leaf in leaves]
        time_steps, batch_size = _extents(leaves)
        if sequence_length is not None:
            sequence_length = _lengths(sequence_length, batch_size)
        state = _first_state(cell, initial_state, batch_size, dtype)
        outputs, state = _loop(
            cell, leaves, rebuild, state, time_steps, batch_size, sequence_length, dtype
        )
        if not time_major:
            outputs = nest.map_leaves(_swapped, outputs)
        return outputs, state


def _extents(leaves: Sequence[Tensor]) -> tuple[Any, Any]:
    """Time and batch of [time, batch, ...], as ints where they are known."""
    both: list[int | None] = [None, None]
    for leaf in leaves:
        if leaf.ndim is not None and leaf.ndim < 2:
            raise ValueError(
                "Inputs need the axes time and batch, but the shape of "
                f"{leaf.name} is {leaf.shape}."
            )
        known: Any = leaf._shape
        if known is None or None in known[2:]:
            raise ValueError(
                "Input size (depth of inputs) must be accessible via shape inference, "
                f"but saw value None for input={leaf}. Use set_shape() or reshape()."
            )
        for axis, what in enumerate(("time", "batch")):
            size = known[axis]
            if None not in (size, both[axis]) and size != both[axis]:
                raise ValueError(
                    f"The inputs differ in their extent of {what}: {both[axis]}, and "
                    f"{size} of {leaf.name}."
                )
            both[axis] = both[axis] if size is None else size
    if None not in both:
        return both[0], both[1]
    dynamic = shape_of(leaves[0])
    return tuple(dynamic[i] if n is None else n for i, n in enumerate(both))  # type: ignore[return-value]


def _loop(
    cell: Any,
    leaves: Sequence[Tensor],
    rebuild: nest.Rebuild,
    state: Any,
    time_steps: Any,
    batch_size: Any,
    lengths: Any,
    dtype: Any,
) -> Any:
    kind = _dtype_of(dtype, state)
    static_batch = batch_size if isinstance(batch_size, int) else None
    zero_output = zero_tensors(cell.output_size, batch_size, kind)
    rows, pack_outputs = nest.flatten(zero_output)
    fed = [
        TensorArray(leaf.dtype, size=time_steps, element_shape=leaf.shape[1:]).unstack(
            leaf
        )
        for leaf in leaves
    ]
    written = [
        TensorArray(
            kind, size=time_steps, element_shape=(static_batch, *row._shape[1:])
        )
        for row in rows
    ]
    limit = time_steps
    if lengths is not None:
        last = apply_op("Maximum", 1, reduce_max(lengths))
        limit = apply_op("Minimum", time_steps, last)

    def body(time: Any, arrays: Any, state: Any) -> Any:
        x = rebuild([array.read(time) for array in fed])
        output, state = _step(cell, x, state, time, lengths, zero_output)
        values = nest.flatten(output)[0]
        return time + 1, [a.write(time, v) for a, v in zip(arrays, values)], state

    _, written, state = while_loop(
        lambda time, *_: time < limit, body, (0, written, state)
    )
    return pack_outputs([array.stack() for array in written]), state


def _reversed(x: Any, lengths: Any, time_axis: int) -> Any:
    if lengths is None:
        return reverse(x, [time_axis])
    return reverse_sequence(x, lengths, seq_axis=time_axis, batch_axis=1 - time_axis)


def bidirectional_dynamic_rnn(
    cell_fw: Any,
    cell_bw: Any,
    inputs: Any,
    sequence_length: Any = None,
    initial_state_fw: Any = None,
    initial_state_bw: Any = None,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    swap_memory: bool = False,
    time_major: bool = False,
    scope: Any = None,
) -> Any:
    """((outputs, outputs), (state, state)): dynamic_rnn forwards, and one backwards.

    The outputs backwards stand where their inputs do.
    """
    check_cell(cell_fw, "cell_fw")
    check_cell(cell_bw, "cell_bw")
    axis = 0 if time_major else 1

    def turned(structure: Any) -> Any:
        return nest.map_leaves(lambda x: _reversed(x, sequence_length, axis), structure)

    def run(cell: Any, x: Any, state: Any, name: str) -> Any:
        with variable_scope(name) as inner:
            if name == "bw":
                x = turned(x)
            return dynamic_rnn(
                cell, x, sequence_length, state, dtype, time_major=time_major,
                scope=inner,
            )  # fmt: skip

    with variable_scope(scope or "bidirectional_rnn"):
        forwards, state_fw = run(cell_fw, inputs, initial_state_fw, "fw")
        backwards, state_bw = run(cell_bw, inputs, initial_state_bw, "bw")
    return (forwards, turned(backwards)), (state_fw, state_bw)


def static_rnn(
    cell: Any,
    inputs: Any,
    initial_state: Any = None,
    dtype: Any = None,
    sequence_length: Any = None,
    scope: Any = None,
) -> Any:
    """(list of outputs, last state) of a cell, each step written out in the graph.

    ``inputs``: a list of tensors [batch, ...input], one a step. The other arguments are
    those of dynamic_rnn.
    """
    check_cell(cell)
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(f"inputs must be a list, one tensor a step, not {inputs!r}.")
    if not inputs:
        raise ValueError("inputs must not be empty.")
    with variable_scope(scope or "rnn") as opened:
        inputs = [nest.map_leaves(build.convert_to_tensor, x) for x in inputs]
        first = nest.flatten(inputs[0])[0][0]
        batch_size = first._shape[0] if first._shape else None
        if batch_size is None:
            batch_size = shape_of(first)[0]
        state = _first_state(cell, initial_state, batch_size, dtype)
        zero_output = zero_tensors(
            cell.output_size, batch_size, _dtype_of(dtype, state)
        )
        if sequence_length is not None:
            sequence_length = _lengths(sequence_length, batch_size)
        outputs = []
        for time, x in enumerate(inputs):
            if time:
                opened.reuse_variables()
            output, state = _step(cell, x, state, time, sequence_length, zero_output)
            outputs.append(output)
        return outputs, state


def static_bidirectional_rnn(
    cell_fw: Any,
    cell_bw: Any,
    inputs: Any,
    initial_state_fw: Any = None,
    initial_state_bw: Any = None,
    dtype: Any = None,
    sequence_length: Any = None,
    scope: Any = None,
) -> Any:
    """(list of outputs, state, state): static_rnn forwards, and one backwards.

    An output is both, concatenated along axis 1.
    """
    check_cell(cell_fw, "cell_fw")
    check_cell(cell_bw, "cell_bw")

    def turned(items: Sequence[Any]) -> list[Any]:
        if sequence_length is None:
            return list(reversed(items))
        return unstack(_reversed(stack(items), sequence_length, 0), len(items))

    with variable_scope(scope or "bidirectional_rnn"):
        with variable_scope("fw") as inner:
            forwards, state_fw = static_rnn(
                cell_fw, inputs, initial_state_fw, dtype, sequence_length, inner
            )
        with variable_scope("bw") as inner:
            backwards, state_bw = static_rnn(
                cell_bw, turned(inputs), initial_state_bw, dtype, sequence_length, inner
            )
    outputs = [concat([f, b], 1) for f, b in zip(forwards, turned(backwards))]
    return outputs, state_fw, state_bw
