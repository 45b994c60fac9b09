"""gg.function: tracing by signature, values in and out, calls inside graphs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gpugrad as gg


def test_values_in_values_out() -> None:
    @gg.function
    def f(x, y):
        return {"sum": x + y, "pair": (x * y, None)}

    got = f(np.float32(2.0), np.array([1.0, 2.0], np.float32))
    assert got["sum"].numpy().tolist() == [3.0, 4.0]
    assert got["pair"][1] is None
    assert isinstance(got["sum"].array, np.ndarray)
    assert repr(f(np.float32(2.0), np.float32(3.0))["sum"]) == (
        "<tf.Tensor: shape=(), dtype=float32, numpy=5.0>"
    )
    assert str(got["sum"]) == "tf.Tensor([3. 4.], shape=(2,), dtype=float32)"


def test_python_values_that_are_equal_share_a_trace() -> None:
    traced = []

    @gg.function
    def f(x):
        traced.append(x)
        return gg.convert_to_tensor(x)

    texts = [str(f(v)) for v in (1, 1.0, True)]
    assert texts == ["tf.Tensor(1, shape=(), dtype=int32)"] * 3
    assert len(traced) == 1
    f(np.float32(2.0))
    f(np.float32(3.0))
    assert len(traced) == 2
    assert f.experimental_get_tracing_count() == 2


def test_shapes_and_dtypes_make_traces() -> None:
    traced = []

    @gg.function
    def f(x):
        traced.append(x.shape.as_list())
        return x * x

    for n in (2, 3, 2):
        f(np.ones(n, np.float32))
    f(np.ones(2, np.float64))
    assert traced == [[2], [3], [2]]


def test_positional_and_keyword_are_the_same() -> None:
    traced = []

    @gg.function
    def f(x, scale=2.0):
        traced.append(1)
        return x * scale

    x = np.float32(3.0)
    assert f(x).numpy() == f(x=x).numpy() == 6.0
    assert f(x, 2.0).numpy() == f(x, scale=2.0).numpy() == 6.0


def test_input_signature() -> None:
    traced = []

    @gg.function(input_signature=[gg.TensorSpec([None], gg.float32)])
    def f(x):
        traced.append(x.shape.as_list())
        return gg.reduce_sum(x)

    assert f([1.0, 2.0]).numpy() == 3.0
    assert f([1.0, 2.0, 3.0]).numpy() == 6.0
    assert traced == [[None]]
    for wrong in ([[1.0]], np.array([[1.0]], np.float32)):
        with pytest.raises(TypeError, match="Binding inputs to tf.function failed"):
            f(wrong)


def test_what_may_not_be_returned() -> None:
    with pytest.raises(TypeError, match="must return zero or more Tensors"):
        gg.function(lambda: object())()
    assert gg.function(lambda: None)() is None


def test_gradients_inside() -> None:
    @gg.function
    def f(x):
        y = x * x * x
        return gg.gradients(y, x)[0]

    assert f(np.float32(2.0)).numpy() == 12.0


def test_values_meet_values_and_tensors() -> None:
    v = gg.function(lambda: gg.constant([1.0, 2.0]))()
    assert (v + 1).numpy().tolist() == [2.0, 3.0]
    assert (2.0 * v - v / 2.0).numpy().tolist() == [1.5, 3.0]
    assert np.exp(v * 0.0).numpy().tolist() == [1.0, 1.0]
    assert float(v[0]) == 1.0 and len(v) == 2 and [float(e) for e in v] == [1.0, 2.0]
    assert bool((v == v).numpy().all())
    with gg.Graph().as_default():
        x = gg.compat.v1.placeholder(gg.float32, [2])
        y = x * v
        assert [op.type for op in x.graph.get_operations()].count("Const") == 1
        with gg.Session() as session:
            assert session.run(y, {x: v}).tolist() == [1.0, 4.0]
    with pytest.raises(RuntimeError, match="eager"):
        gg.gradients(v * v, v)


def test_a_call_in_a_graph_is_one_op() -> None:
    @gg.function
    def cube(x):
        return x * x * x

    with gg.Graph().as_default() as graph:
        x = gg.compat.v1.placeholder(gg.float32, [], name="x")
        y = cube(x)
        assert "PartitionedCall" in y.op.type
        (g,) = gg.gradients(y, x)
        (h,) = gg.gradients(g, x)
        with gg.Session(graph=graph) as session:
            assert session.run([y, g, h], {x: 3.0}) == [27.0, 27.0, 18.0]


def test_state_changes_once_a_call() -> None:
    with gg.Graph().as_default():
        v = gg.Variable(1.0)

        @gg.function
        def f(x):
            v.assign_add(1.0)
            y = x * v
            v.assign_add(1.0)
            return y

        x = gg.constant(3.0)
        y = f(x)
        (g,) = gg.gradients(y, x)
        with gg.Session() as session:
            session.run(gg.compat.v1.global_variables_initializer())
            assert session.run([y, g]) == [6.0, 2.0]
            assert session.run(v) == 3.0


def test_captures_of_the_default_graph() -> None:
    gg.compat.v1.reset_default_graph()
    c = gg.constant(4.0) * 2.0
    w = gg.Variable(2.0)

    @gg.function
    def f(x):
        return gg.gradients(x * c * w, [x, c, w])

    assert [float(t) for t in f(np.float32(3.0))] == [16.0, 6.0, 24.0]
    gg.compat.v1.reset_default_graph()


def test_no_copy_of_what_is_there() -> None:
    value = np.arange(4, dtype=np.float32)
    out = gg.function(lambda x: x + 1.0)(value)
    assert np.asarray(out) is out.array or np.shares_memory(np.asarray(out), out.array)
    assert np.from_dlpack(out).tolist() == [1.0, 2.0, 3.0, 4.0]


def test_results_are_apart() -> None:
    one, other = gg.function(lambda x: (x, x))(np.ones(3, np.float32))
    assert not np.shares_memory(one.array, other.array)


class _Settings:
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, factor: float) -> None:
        self.factor = factor


def test_unhashable_arguments_are_not_mixed_up() -> None:
    scaled = gg.function(lambda x, settings: x * settings.factor)
    got = [float(scaled(np.float32(1), _Settings(float(i)))) for i in range(5)]
    assert got == [0, 1, 2, 3, 4]


def test_first_calls_from_many_threads_initialize_once() -> None:
    made: list[gg.Variable] = []

    @gg.function
    def add(x):  # type: ignore[no-untyped-def]
        if not made:
            made.append(gg.Variable(0.0))
        return made[0].assign_add(x)

    together = threading.Barrier(8)

    def call(_: int) -> float:
        together.wait()
        return float(add(np.float32(1)))

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(call, range(8))) == [1, 2, 3, 4, 5, 6, 7, 8]
