"""Layers and recurrent networks, as functions of a TensorFlow 1 module and inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Shape = Sequence[int | None]


class Program(NamedTuple):
    """``build(tf, *inputs)`` gives tensors; inputs have a static and a fed shape.

    ``second``: to second order too. ``named``: outputs have TensorFlow's names.
    TensorFlow has no float64 for some kernels: ``dtype``.
    """

    build: Callable[..., Any]
    inputs: tuple[tuple[Shape, Sequence[int]], ...]
    second: bool = False
    named: bool = True
    dtype: str = "float64"


PROGRAMS: dict[str, Program] = {}


def _add(name: str, build: Callable[..., Any], *shapes: Sequence[int], **more: Any):
    """A program whose inputs have a batch that is not known."""
    inputs = tuple(((None, *shape[1:]), shape) for shape in shapes)
    PROGRAMS[name] = Program(build, inputs, **more)


def _add_exact(name: str, build: Callable[..., Any], static: Shape, fed: Any, **more):
    PROGRAMS[name] = Program(build, ((static, fed),), **more)


# --- layers ---------------------------------------------------------------------------


def _penalty(tf: Any) -> Callable[[Any], Any]:
    return lambda w: 0.1 * tf.nn.l2_loss(w)


def _regularized(tf: Any, x: Any) -> Any:
    penalty = _penalty(tf)
    a = tf.layers.dense(
        x, 4, kernel_regularizer=penalty, name="d", activity_regularizer=penalty
    )
    with tf.variable_scope("d2", regularizer=penalty):
        b = tf.layers.dense(a, 4)
    c = tf.layers.dense(x, 4, name="d", reuse=True, kernel_regularizer=penalty)
    return a, b, c


def _shared(tf: Any, x: Any) -> Any:
    found = []
    for _ in range(2):
        with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
            found.append(tf.layers.dense(tf.layers.dense(x, 4), 4))
    layer = tf.layers.Dense(3, name="q")
    return found, layer(x), layer(x)


_add(
    "dense",
    lambda tf, x: tf.layers.dense(tf.layers.dense(x, 5, tf.nn.relu), 3, use_bias=False),
    (4, 6),
)
_add(
    "dense_of_three_axes",
    lambda tf, x: tf.layers.dense(x, 5, activation=tf.tanh, name="foo"),
    (4, 2, 6),
    second=True,
)
_add("regularizers", _regularized, (4, 6))
_add("shared", _shared, (4, 6))


def _layer(name: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
    return lambda tf, x: getattr(tf.layers, name)(x, *args, **kwargs)


_IMAGES = {1: (2, 7, 3), 2: (2, 7, 6, 3), 3: (2, 5, 6, 4, 3)}
for rank, shape in _IMAGES.items():
    conv = f"conv{rank}d"
    _add(conv, _layer(conv, 4, 2), shape)
    _add(
        f"{conv}_strides",
        _layer(conv, 4, 2, 2, "same", activation="relu"),
        shape,
    )
    # TensorFlow makes several ops of a dilated convolution.
    dilated = _layer(conv, 4, 2, dilation_rate=2, use_bias=False)
    _add(f"{conv}_dilated", dilated, shape, named=False)
    for kind in ("max", "average"):
        name = f"{kind}_pooling{rank}d"
        single = {"dtype": "float32", "named": rank > 1}
        _add(name, _layer(name, 2, 2), shape, **single)
        _add(f"{name}_same", _layer(name, 3, 1, "same"), shape, **single)
_add("causal", lambda tf, x: tf.layers.Conv1D(3, 2, padding="causal")(x), (2, 7, 3))
_IMAGE = (2, 5, 4, 3)
_add("transpose", _layer("conv2d_transpose", 4, 2), _IMAGE)
_add("transpose_same", _layer("conv2d_transpose", 4, 2, 2, "same"), _IMAGE)
_add("transpose_steps", _layer("conv2d_transpose", 4, 2, (2, 3)), _IMAGE)
_add_exact(
    "transpose_open",
    _layer("conv2d_transpose", 4, [3, 5], 3, use_bias=False),
    (None, None, 4, 3),
    _IMAGE,
)
_SINGLE = {"dtype": "float32"}
_add("separable", _layer("separable_conv2d", 4, 3), _IMAGES[2], **_SINGLE)
_add(
    "separable_wide",
    _layer("separable_conv2d", 4, 3, 2, "same", depth_multiplier=2),
    _IMAGES[2],
    **_SINGLE,
)
_add("flatten", _layer("flatten"), _IMAGES[2])
_add_exact("flatten_batch_known", _layer("flatten"), (2, None, 3), (2, 7, 3))
_add_exact(
    "flatten_open",
    lambda tf, x: (tf.layers.flatten(x), tf.layers.dropout(x)),
    (None, None, 3),
    (2, 7, 3),
)


def _normalized(training: bool, fed: bool, **kwargs: Any) -> Callable[..., Any]:
    def build(tf: Any, x: Any) -> Any:
        mode = tf.placeholder_with_default(training, []) if fed else training
        return tf.layers.batch_normalization(x, training=mode, **kwargs)

    return build


for training in (True, False):
    for fed in (True, False):
        case = f"{'training' if training else 'inference'}{'_fed' if fed else ''}"
        _add(f"bn_{case}", _normalized(training, fed), (5, 3), named=not fed)
        _add(
            f"bn_fused_{case}",
            _normalized(training, fed),
            (5, 2, 3, 3),
            dtype="float32",
            named=not fed,
        )
        _add(
            f"bn_channels_first_{case}",
            _normalized(training, fed, fused=False, axis=1, scale=False, momentum=0.75),
            (5, 2, 3, 3),
            named=not fed,
        )
        _add(
            f"bn_two_axes_{case}",
            _normalized(training, fed, axis=[1, 2], center=False),
            (5, 2, 3, 3),
            named=not fed,
        )


# --- recurrent networks ---------------------------------------------------------------

Cell = Callable[[Any], Any]
CELLS: dict[str, Cell] = {
    "rnn": lambda c: c.BasicRNNCell(4),
    "gru": lambda c: c.GRUCell(3),
    "basic_lstm": lambda c: c.BasicLSTMCell(4),
    "basic_lstm_flat": lambda c: c.BasicLSTMCell(4, 0.3, state_is_tuple=False),
    "lstm": lambda c: c.LSTMCell(4),
    "peepholes": lambda c: c.LSTMCell(
        4, use_peepholes=True, cell_clip=0.8, num_proj=3, proj_clip=0.7
    ),
    "projection_flat": lambda c: c.LSTMCell(4, num_proj=3, state_is_tuple=False),
    "multi": lambda c: c.MultiRNNCell([c.BasicLSTMCell(4), c.GRUCell(3)]),
    "multi_flat": lambda c: c.MultiRNNCell(
        [c.BasicRNNCell(4), c.GRUCell(3)], state_is_tuple=False
    ),
    "residual": lambda c: c.ResidualWrapper(c.GRUCell(2)),
    "dropout": lambda c: c.DropoutWrapper(c.LSTMCell(2)),
}
_FED = (3, 5, 2)
_OPEN = (None, None, 2)


def _dynamic(cell: Cell, **kwargs: Any) -> Callable[..., Any]:
    def build(tf: Any, x: Any) -> Any:
        made = cell(tf.nn.rnn_cell)
        return tf.nn.dynamic_rnn(made, x, dtype=tf.float64, **kwargs)

    return build


def _static(cell: Cell, **kwargs: Any) -> Callable[..., Any]:
    def build(tf: Any, x: Any) -> Any:
        steps = tf.unstack(x, axis=1)
        return tf.nn.static_rnn(cell(tf.nn.rnn_cell), steps, dtype=tf.float64, **kwargs)

    return build


for name, cell in CELLS.items():
    _add_exact(f"dynamic_{name}", _dynamic(cell), _OPEN, _FED, second=True)
    _add_exact(f"lengths_{name}", _dynamic(cell, sequence_length=[2, 5, 3]), _FED, _FED)
    _add(f"static_{name}", _static(cell), _FED)
_SHORT = [2, 3, 1]
_LSTM = CELLS["basic_lstm"]
_add_exact(
    "shorter_than_time",
    _dynamic(_LSTM, sequence_length=_SHORT),
    _OPEN,
    _FED,
    second=True,
)
_add_exact("no_steps", _dynamic(_LSTM, sequence_length=[0, 0, 0]), _OPEN, _FED)
_add_exact(
    "time_major",
    _dynamic(
        CELLS["gru"],
        time_major=True,
        swap_memory=True,
        parallel_iterations=4,
        sequence_length=[3, 1, 2, 2, 3],
        scope="foo",
    ),
    _OPEN,
    _FED,
    named=False,
)
# TensorFlow takes a branch at each step.
_add_exact(
    "static_lengths", _static(_LSTM, sequence_length=_SHORT), _FED, _FED, named=False
)


def _first_state(tf: Any, x: Any) -> Any:
    state = tf.nn.rnn_cell.LSTMStateTuple(x[:, 0], x[:, 1] * 2)
    return tf.nn.dynamic_rnn(tf.nn.rnn_cell.LSTMCell(2), x, initial_state=state)


def _both_ways(lengths: Any, static: bool) -> Callable[..., Any]:
    def build(tf: Any, x: Any) -> Any:
        cells = tf.nn.rnn_cell.GRUCell(3), tf.nn.rnn_cell.LSTMCell(2)
        kwargs = {"dtype": tf.float64, "sequence_length": lengths}
        if static:
            steps = tf.unstack(x, axis=1)
            return tf.nn.static_bidirectional_rnn(*cells, steps, **kwargs)
        return tf.nn.bidirectional_dynamic_rnn(*cells, x, **kwargs)

    return build


def _twice(tf: Any, x: Any) -> Any:
    cell = tf.nn.rnn_cell.GRUCell(3)
    first = tf.nn.dynamic_rnn(cell, x, dtype=tf.float64)
    with tf.variable_scope("other"):
        return first, tf.nn.dynamic_rnn(cell, x, dtype=tf.float64)


def _reused(tf: Any, x: Any) -> Any:
    found = []
    for reuse in (False, True):
        with tf.variable_scope("m", reuse=reuse):
            cells = [tf.nn.rnn_cell.GRUCell(3) for _ in range(2)]
            stacked = tf.nn.rnn_cell.MultiRNNCell(cells)
            found.append(tf.nn.dynamic_rnn(stacked, x, dtype=tf.float64))
    return found


def _by_hand(tf: Any, x: Any) -> Any:
    cell = tf.nn.rnn_cell.BasicLSTMCell(2)
    state = cell.zero_state(3, tf.float64)
    outputs = []
    with tf.variable_scope("q") as scope:
        for time in range(3):
            if time:
                scope.reuse_variables()
            output, state = cell(x[:, time], state)
            outputs.append(output)
    return outputs, state


def own_cell(tf: Any) -> type[Any]:
    """A cell that takes its variable from get_variable."""

    class Mine(tf.nn.rnn_cell.RNNCell):
        state_size = property(lambda self: (3, tf.TensorShape([2])))
        output_size = property(lambda self: 3)

        def call(self, inputs, state):
            w = tf.get_variable("w", [2, 3], dtype=tf.float64)
            h = tf.tanh(tf.matmul(inputs, w) + state[0])
            return h, (h, state[1] + inputs)

    return Mine


def old_cell(tf: Any) -> type[Any]:
    """A cell as scripts of 2016 have it: its own __call__, its own scope."""

    class Old(tf.nn.rnn_cell.RNNCell):
        state_size = property(lambda self: 3)
        output_size = property(lambda self: 3)

        def __call__(self, inputs, state, scope=None):
            with tf.variable_scope(scope or type(self).__name__):
                w = tf.get_variable("W", [2, 3], dtype=tf.float64)
                h = tf.tanh(tf.matmul(inputs, w) + state)
                return h, h

    return Old


def _custom(make: Callable[[Any], type[Any]], static: bool) -> Callable[..., Any]:
    def build(tf: Any, x: Any) -> Any:
        build = _static if static else _dynamic
        return build(lambda _: make(tf)())(tf, x)

    return build


_add_exact("first_state", _first_state, _FED, _FED)
for lengths in (None, [2, 5, 3]):
    case = "" if lengths is None else "_lengths"
    _add_exact(
        f"bidirectional{case}",
        _both_ways(lengths, False),
        _FED,
        _FED,
        second=lengths is None,
    )
    _add_exact(
        f"static_bidirectional{case}",
        _both_ways(lengths, True),
        _FED,
        _FED,
        named=lengths is None,
    )
_add_exact("one_cell_twice", _twice, _OPEN, _FED)
_add_exact("reused_scope", _reused, _OPEN, _FED)
_add_exact("by_hand", _by_hand, _FED, _FED)
for name, make in (("own", own_cell), ("old", old_cell)):
    _add_exact(f"{name}_cell", _custom(make, False), _OPEN, _FED)
    _add_exact(f"{name}_cell_static", _custom(make, True), _FED, _FED)
