"""hessians: values, names, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def run(fetches, feed=None):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


def test_vector() -> None:
    x = tf.constant([1.0, 2.0])
    h = tf.hessians(tf.reduce_sum(x**3), x, name="is not used")
    assert [t.name for t in h] == ["Reshape_1:0"]
    assert run(h)[0].tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_both_signatures() -> None:
    x = tf.constant([1.0, 2.0])
    y = tf.reduce_sum(x**3)
    gated = gg.hessians(y, x, True)
    names = [op.name for op in x.graph.get_operations()]
    assert any("tuple/group_deps" in name for name in names)
    assert run(gated)[0].tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_matrix_and_scalar_and_variable() -> None:
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    s = tf.constant(3.0)
    v = tf.get_variable("v", initializer=[2.0], use_resource=True)
    hx, hs, hv = tf.hessians(tf.reduce_sum(x * x) * s**3 + v**2, [x, s, v])
    values = run([hx, hs, hv])
    assert [h.shape for h in values] == [(2, 2, 2, 2), (), (1, 1)]
    assert np.allclose(values[0].reshape(4, 4), 2 * 27.0 * np.eye(4))
    assert values[1] == pytest.approx(30.0 * 6 * 3.0)
    assert values[2].tolist() == [[2.0]]


def test_linear_and_unconnected() -> None:
    x = tf.constant([1.0, 2.0])
    with pytest.raises(ValueError, match="None values not supported"):
        tf.hessians(tf.reduce_sum(x * 3.0), x)
    with pytest.raises(ValueError, match="None values not supported"):
        tf.hessians(tf.constant(1.0), x)


def test_shapes_known_only_when_run() -> None:
    for shape in ([None], [None, 2], None):
        x = tf.placeholder(tf.float32, shape)
        (h,) = tf.hessians(tf.reduce_sum(x**3) + tf.reduce_sum(x) ** 2, x)
        value = np.arange(1.0, 5.0, dtype=np.float32)
        fed = value.reshape(2, 2) if shape != [None] else value
        got = run(h, {x: fed})
        assert h.shape.is_compatible_with(got.shape)
        assert got.shape == fed.shape * 2
        assert np.allclose(got.reshape(4, 4), np.diag(6 * value) + 2.0)
    with pytest.raises(ValueError, match="None values not supported"):
        tf.hessians(tf.reduce_sum(x * 3.0), x)
