"""What Print and print write; the texts are TensorFlow 2.21's."""

import sys

import numpy as np
import pytest

import gpugrad.compat.v1 as tf

PRINTED = [
    (np.arange(4.0).reshape(2, 2), None, "[[0 1][2...]...]"),
    (np.arange(4.0).reshape(2, 2), 5, "[[0 1][2 3]]"),
    (np.arange(12), None, "[0 1 2...]"),
    (np.arange(5), -1, "[0 1 2 3 4]"),
    (np.float32(2.5), None, "[2.5]"),
    (np.array([b"a", b"b"], object), None, "[a b]"),
    (np.array([True, False]), None, "[1 0]"),
    (np.arange(24.0).reshape(2, 3, 4), 5, "[[[0 1 2 3][4...]]...]"),
    (np.array([1e-10, 1 / 3, 1e20], "f"), None, "[1e-10 0.333333343 1e+20]"),
    (np.array([np.inf, np.nan], "f"), None, "[inf nan]"),
    (np.zeros([0, 3]), None, "[]"),
]


@pytest.mark.parametrize(("value", "summarize", "text"), PRINTED, ids=str)
def test_Print(value, summarize, text, capsys):
    with tf.Graph().as_default(), tf.Session() as session:
        t = tf.constant(value)
        printed = tf.Print(t, [t, t], "msg: ", summarize=summarize)
        found = session.run(printed)
    np.testing.assert_array_equal(found, value)
    assert capsys.readouterr().err == f"msg: {text}{text}\n"


def test_Print_first_n(capsys):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(1.0)
        twice, never = tf.Print(x, [x], first_n=2), tf.Print(x, ["no"], first_n=0)
        for _ in range(4):
            session.run([twice, never])
    assert capsys.readouterr().err == "[1]\n[1]\n"


def test_Print_passes_the_gradient_on(capsys):
    with tf.Graph().as_default(), tf.Session() as session:
        x, seen = tf.constant(3.0), tf.constant(2.0)
        y = tf.Print(x * x, [seen]) * 2.0
        slope, none = tf.gradients(y, [x, seen])
        assert none is None
        assert session.run(slope) == 12
    assert capsys.readouterr().err == ""  # the gradient alone does not need it


FRAMED = [
    (np.arange(4.0).reshape(2, 2), 3, "[[0 1]\n [2 3]]"),
    (np.arange(12), 3, "[0 1 2 ... 9 10 11]"),
    (np.arange(12), 1, "[0 ... 11]"),
    (np.arange(3), -1, "[0 1 2]"),
    (np.float32(2.5), 3, "2.5"),
    (np.array([b"a", b"b"], object), 3, '["a" "b"]'),
    (np.array([True, False]), 3, "[1 0]"),
    (np.arange(24).reshape(2, 3, 4), 1,
     "[[[0 ... 3]\n  ...\n  [8 ... 11]]\n\n [[12 ... 15]\n  ...\n  [20 ... 23]]]"),
    (np.zeros([0, 3]), 3, "[]"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "summarize", "text"), FRAMED, ids=str)
def test_print(value, summarize, text, capsys):
    with tf.Graph().as_default(), tf.Session() as session:
        t = tf.constant(value)
        nest = {"a": t, "b": (t, 2)}
        op = tf.print("v:", t, nest, summarize=summarize)
        assert (op.type, op.inputs[0].op.type) == ("PrintV2", "StringFormat")
        session.run(op)
    wanted = f"v: {text} {{'a': {text}, 'b': ({text}, 2)}}\n"
    assert capsys.readouterr().err == wanted


def test_where_print_writes(capsys, tmp_path):
    path = tmp_path / "log"
    with tf.Graph().as_default(), tf.Session() as session:
        to_out = tf.print(1, "%s {}", sep=", ", end=";", output_stream=sys.stdout)
        to_file = tf.print(tf.constant(2), output_stream=f"file://{path}")
        session.run([to_out, to_file])
        session.run(to_file)
        with pytest.raises(ValueError, match="output_stream must be"):
            tf.print(1, output_stream=3)
    assert capsys.readouterr().out == "1, %s {};"
    assert path.read_text() == "2\n2\n"
