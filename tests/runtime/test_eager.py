"""Values: functions of ops on them run at once; so does everything in eager mode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture
def value() -> gg.EagerTensor:
    return gg.function(lambda: gg.constant([[1.0, 2.0], [3.0, 4.0]]))()


@pytest.fixture
def eager() -> Iterator[None]:
    gg.enable_eager_execution()
    try:
        yield
    finally:
        gg.disable_eager_execution()


def test_functions_on_values(value: gg.EagerTensor) -> None:
    before = tf.get_default_graph().version
    assert gg.reduce_sum(value).numpy() == 10.0
    assert gg.reduce_mean(value, axis=0).numpy().tolist() == [2.0, 3.0]
    assert gg.reduce_sum(input_tensor=value, axis=1).numpy().tolist() == [3.0, 7.0]
    assert gg.nn.softmax(value * 0.0).numpy().tolist() == [[0.5, 0.5]] * 2
    assert gg.concat([value, value], 0).shape == (4, 2)
    assert gg.stack([value, [[0.0, 0.0], [0.0, 0.0]]]).shape == (2, 2, 2)
    assert [v.numpy().tolist() for v in gg.unstack(value)] == [[1.0, 2.0], [3.0, 4.0]]
    assert gg.where(value > 2.0, value, -value).numpy().tolist() == [[-1, -2], [3, 4]]
    assert (value @ value).numpy().tolist() == [[7.0, 10.0], [15.0, 22.0]]
    assert gg.clip_by_value(value, 1.5, 3.5).numpy().tolist() == [[1.5, 2], [3, 3.5]]
    assert np.sum(value, axis=0).numpy().tolist() == [4.0, 6.0]
    assert value[1, 0].numpy() == 3.0
    assert tf.get_default_graph().version == before


def test_a_symbolic_tensor_wins(value: gg.EagerTensor) -> None:
    x = gg.constant([1.0, 2.0])
    assert isinstance(gg.matmul(value, x[:, None]), gg.Tensor)
    assert isinstance(gg.add_n([x, value[0]]), gg.Tensor)


def test_eager_mode(eager: None) -> None:
    x = gg.constant([1.0, 4.0])
    assert isinstance(x, gg.EagerTensor)
    assert gg.sqrt(x).numpy().tolist() == [1.0, 2.0]
    assert gg.reduce_sum(gg.square(x)).numpy() == 17.0
    assert gg.executing_eagerly()
    with pytest.raises(RuntimeError, match="eager"):
        gg.gradients(x, x)
    with pytest.raises(RuntimeError, match="eager"):
        gg.placeholder(gg.float32)
    with gg.Graph().as_default():
        assert not gg.executing_eagerly()
        assert isinstance(gg.constant(1.0), gg.Tensor)


def test_errors_name_the_line(value: gg.EagerTensor) -> None:
    with pytest.raises(ValueError, match=r"test_eager\.py"):
        gg.matmul(value, np.ones((3, 1), np.float32))


def test_explain() -> None:
    with gg.Graph().as_default():
        x = gg.placeholder(gg.float32, [None, 3], name="x")
        w = gg.Variable(np.ones((3, 2), np.float32), name="w")
        loss = gg.reduce_sum(gg.tanh(x @ w))
        grads = gg.gradients(loss, [x, w], gate_gradients=True)
        step = w.assign_sub(0.1 * grads[1])
        with gg.Session() as session:
            session.run(w.initializer)
            text = gg.explain([loss, grads, step], {x: np.ones((4, 3))}, session)
            assert "operations after pruning" in text
            assert "sum[" in text
            assert "barrier" in text
            assert "variable 0 <-" in text
            assert "arena of" in text
            assert "def run(" in text
            assert session.run(w).tolist() == np.ones((3, 2)).tolist()
