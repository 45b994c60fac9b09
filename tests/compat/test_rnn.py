"""Recurrent networks: what values from TensorFlow do not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf

cells = tf.nn.rnn_cell


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as made:
        yield made


def values(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_basic_lstm_cell_is_the_formula() -> None:
    """Gates in the order i, j, f, o; the forget gate's bias of 1 is added, not kept."""
    rng = np.random.default_rng(0)
    x, c, h = (rng.normal(size=(3, n)) for n in (2, 4, 4))
    weights = rng.normal(size=(6, 16))
    initializer = tf.constant_initializer(weights)
    with tf.variable_scope("", initializer=initializer):
        state = cells.LSTMStateTuple(tf.constant(c), tf.constant(h))
        output, after = cells.BasicLSTMCell(4)(tf.constant(x), state)
    i, j, f, o = np.split(np.concatenate([x, h], 1) @ weights, 4, 1)
    new_c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
    found = values([output, after])
    assert isinstance(found[1], cells.LSTMStateTuple)
    np.testing.assert_allclose(found[1].c, new_c)
    np.testing.assert_allclose(found[0], np.tanh(new_c) * sigmoid(o))


def test_gru_cell_is_the_formula() -> None:
    rng = np.random.default_rng(1)
    x, h = rng.normal(size=(3, 2)), rng.normal(size=(3, 4))
    output, _ = cells.GRUCell(4)(tf.constant(x), tf.constant(h))
    found, gates, gate_bias, kernel, bias = values([output, *tf.global_variables()])
    assert (gate_bias == 1).all() and (bias == 0).all()
    r, u = np.split(sigmoid(np.concatenate([x, h], 1) @ gates + 1), 2, 1)
    candidate = np.tanh(np.concatenate([x, r * h], 1) @ kernel)
    np.testing.assert_allclose(found, u * h + (1 - u) * candidate)


def test_zero_state_has_the_structure_of_the_state() -> None:
    batch = tf.placeholder(tf.int32, [])
    cell = cells.MultiRNNCell([cells.LSTMCell(3, num_proj=2), cells.GRUCell(4)])
    state = cell.zero_state(batch, tf.float64)
    assert state[0].c.shape.as_list() == [None, 3]
    assert state[0].c.name == "MultiRNNCellZeroState/LSTMCellZeroState/zeros:0"
    found = values(state, {batch: 5})
    assert [a.shape for a in (*found[0], found[1])] == [(5, 3), (5, 2), (5, 4)]
    assert cell.state_size == ((3, 2), 4) and cell.output_size == 4
    known = cells.GRUCell(4).zero_state(2, tf.float32)
    assert known.shape.as_list() == [2, 4]


def test_steps_after_the_end_of_a_row_change_nothing() -> None:
    x = tf.placeholder(tf.float64, [None, None, 2])
    lengths = tf.placeholder(tf.int64, [None])
    outputs, state = tf.nn.dynamic_rnn(
        cells.GRUCell(3), x, sequence_length=lengths, dtype=tf.float64
    )
    (slope,) = tf.gradients([outputs, state], x)
    feed = np.random.default_rng(2).normal(size=(2, 4, 2))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())

        def run(fed, row_lengths):
            return session.run([outputs, state, slope], {x: fed, lengths: row_lengths})

        all_out, _, _ = run(feed, [4, 4])
        out, last, d = run(feed, [1, 3])
        np.testing.assert_allclose(out[0, :1], all_out[0, :1])
        np.testing.assert_allclose(out[1, :3], all_out[1, :3])
        assert not out[0, 1:].any() and not out[1, 3:].any()
        np.testing.assert_allclose(last, [all_out[0, 0], all_out[1, 2]])
        assert not d[0, 1:].any() and not d[1, 3:].any() and d[1, :3].all()
        feed[0, 1:] = np.nan  # not even what is no number
        again, _, d = run(feed, [1, 3])
        np.testing.assert_allclose(again, out)
        with pytest.raises(tf.errors.InvalidArgumentError, match="one length for each"):
            run(feed, [1, 3, 2])


def test_an_empty_time_axis_gives_the_first_state() -> None:
    x = tf.placeholder(tf.float32, [2, None, 3])
    first = tf.ones([2, 4])
    outputs, state = tf.nn.dynamic_rnn(cells.GRUCell(4), x, initial_state=first)
    found = values([outputs, state], {x: np.zeros((2, 0, 3))})
    assert found[0].shape == (2, 0, 4)
    np.testing.assert_array_equal(found[1], np.ones((2, 4)))


def test_training_an_lstm_to_remember() -> None:
    """The first bit of each string is asked for after the last."""
    tf.set_random_seed(1)
    bits = np.array([[n >> k & 1 for k in range(5)] for n in range(32)], np.float32)
    x = tf.constant(bits[:, :, None])
    y = tf.constant(bits[:, 0])
    _, state = tf.nn.dynamic_rnn(cells.LSTMCell(8), x, dtype=tf.float32)
    logits = tf.layers.dense(state.h, 1)[:, 0]
    loss = tf.losses.sigmoid_cross_entropy(y, logits)
    train = tf.train.AdamOptimizer(0.05).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(100):
            session.run(train)
        assert session.run(loss) < 0.05


def test_regularizing_a_cell() -> None:
    cell = cells.BasicLSTMCell(3)
    tf.nn.dynamic_rnn(cell, tf.ones([1, 2, 2]), dtype=tf.float32)
    assert [v.name for v in cell.trainable_variables] == [
        "rnn/basic_lstm_cell/kernel:0",
        "rnn/basic_lstm_cell/bias:0",
    ]
    wrapped = cells.DropoutWrapper(cells.MultiRNNCell([cell]), 0.5)
    assert wrapped.trainable_weights == cell.weights


def test_variables_of_a_cell_of_ones_own_are_its_own() -> None:
    class Mine(cells.RNNCell):
        state_size = output_size = 2

        def call(self, inputs, state):
            w = tf.get_variable("w", [2])
            frozen = tf.get_variable("frozen", [2], trainable=False)
            return inputs * w + frozen, state

    cell = Mine()
    tf.nn.dynamic_rnn(cell, tf.ones([1, 3, 2]), dtype=tf.float32)
    assert [v.name for v in cell.trainable_variables] == ["rnn/mine/w:0"]
    assert [v.name for v in cell.non_trainable_variables] == ["rnn/mine/frozen:0"]


# --- dropout --------------------------------------------------------------------------


class Through(cells.RNNCell):
    """Gives its inputs, and keeps its state."""

    state_size = cells.LSTMStateTuple(50, 50)
    output_size = 50

    def call(self, inputs, state):
        return inputs, state


def dropped(**kwargs: Any) -> Any:
    cell = cells.DropoutWrapper(Through(), **kwargs)
    first = cells.LSTMStateTuple(tf.ones([4, 50]), tf.ones([4, 50]))
    return tf.nn.dynamic_rnn(cell, tf.ones([4, 10, 50]), initial_state=first)


def test_dropout_draws_anew_at_every_step() -> None:
    keep = tf.placeholder(tf.float32, [])
    outputs, _ = dropped(output_keep_prob=keep, seed=5)
    found = values(outputs, {keep: 0.5})
    assert set(np.unique(found)) == {np.float32(0.0), np.float32(2.0)}
    assert found.mean() == pytest.approx(1.0, abs=0.1)
    assert (found[:, 0] != found[:, 1]).any() and (found[0] != found[1]).any()
    assert (values(outputs, {keep: 1.0}) == 1).all()


def test_inputs_and_outputs_are_dropped_each_by_itself() -> None:
    outputs, _ = dropped(input_keep_prob=0.5, output_keep_prob=0.5, seed=5)
    found = values(outputs)
    assert set(np.unique(found)) == {np.float32(0.0), np.float32(4.0)}
    assert (found != 0).mean() == pytest.approx(0.25, abs=0.05)


def test_the_memory_of_an_lstm_is_not_dropped_unless_asked() -> None:
    _, state = dropped(state_keep_prob=0.5)
    memory, output = values(state)
    assert (memory == 1).all()
    assert set(np.unique(output)) <= {0, 2.0**10}
    _, state = dropped(
        state_keep_prob=0.5,
        dropout_state_filter_visitor=lambda s: (
            cells.LSTMStateTuple(True, False) if isinstance(s, tuple) else True
        ),
    )
    memory, output = values(state)
    assert set(np.unique(memory)) <= {0, 2.0**10} and (output == 1).all()


def test_variational_dropout_is_the_same_at_every_step_of_a_run() -> None:
    outputs, _ = dropped(
        input_keep_prob=0.5, variational_recurrent=True, input_size=50, dtype=tf.float32
    )
    with tf.Session() as session:
        first, second = session.run(outputs), session.run(outputs)
    assert (first == first[:1, :1]).all() and 0 < (first == 0).mean() < 1
    assert (first != second).any()


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: tf.nn.dynamic_rnn(object(), tf.ones([1, 2, 3]), dtype=tf.float32),
            TypeError,
            "is not an RNNCell: it has no output_size, no state_size, no zero_state",
        ),
        (
            lambda: tf.nn.dynamic_rnn(cells.GRUCell(2), tf.ones([1, 2, 3])),
            ValueError,
            "`dtype` must be specified",
        ),
        (
            lambda: tf.nn.dynamic_rnn(
                cells.GRUCell(2),
                tf.placeholder(tf.float32, [None, None, None]),
                dtype=tf.float32,
            ),
            ValueError,
            r"Input size.*set_shape",
        ),
        (
            lambda: tf.nn.dynamic_rnn(
                cells.GRUCell(2), tf.ones([1, 2, 3]), [[1]], dtype=tf.float32
            ),
            ValueError,
            "sequence_length must be a vector",
        ),
        (
            lambda: tf.nn.static_rnn(
                cells.GRUCell(2), tf.ones([1, 2, 3]), dtype=tf.float32
            ),
            TypeError,
            "must be a list",
        ),
        (
            lambda: tf.nn.static_rnn(cells.GRUCell(2), [], dtype=tf.float32),
            ValueError,
            "must not be empty",
        ),
        (lambda: cells.MultiRNNCell([]), ValueError, "at least one cell"),
        (lambda: cells.MultiRNNCell(cells.GRUCell(2)), TypeError, "list or tuple"),
        (
            lambda: cells.MultiRNNCell([cells.LSTMCell(2)], state_is_tuple=False),
            ValueError,
            "state_is_tuple must be True",
        ),
        (
            lambda: cells.DropoutWrapper(cells.GRUCell(2), output_keep_prob=1.5),
            ValueError,
            "output_keep_prob must be between 0 and 1",
        ),
        (
            lambda: cells.DropoutWrapper(cells.GRUCell(2), variational_recurrent=True),
            ValueError,
            "dtype must be provided",
        ),
        (
            lambda: cells.GRUCell(2).get_initial_state(batch_size=2),
            ValueError,
            "both `batch_size` and `dtype`",
        ),
    ],
)
def test_errors(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


# --- sequence_loss --------------------------------------------------------------------


def test_sequence_loss() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(2, 3, 4))
    targets = np.array([[0, 1, 3], [2, 2, 0]])
    weights = np.array([[1.0, 1.0, 0.5], [1.0, 0.0, 0.0]])
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    costs = -np.log(np.take_along_axis(chances, targets[..., None], -1))[..., 0]
    costs = costs * weights

    def loss(*flags: bool) -> Any:
        return values(
            tf.contrib.seq2seq.sequence_loss(logits, targets, weights, *flags)
        )

    np.testing.assert_allclose(loss(), costs.sum() / weights.sum())
    np.testing.assert_allclose(loss(True, False), costs.sum(1) / weights.sum(1))
    np.testing.assert_allclose(loss(False, False), costs)
    by_time = costs.sum(0) / (weights.sum(0) + 1e-12)
    np.testing.assert_allclose(loss(False, True), by_time)
    with pytest.raises(ValueError, match="targets must have 2 axes"):
        tf.contrib.seq2seq.sequence_loss(logits, targets[0], weights)
