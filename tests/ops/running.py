"""Values, gradients and graphs of small functions, for the tables of these tests."""

import numpy as np

import gpugrad.compat.v1 as tf


def value_and_gradients(function, *arrays):
    """The value of ``function`` of constants, and the gradients of its sum."""
    with tf.Graph().as_default(), tf.Session() as session:
        xs = [tf.constant(a) for a in arrays]
        y = function(*xs)
        gradients = tf.gradients(y, xs)
        known = [tf.convert_to_tensor(g) for g in gradients if g is not None]
        value, *rest = session.run([y, *known])
        given = iter(rest)
        return value, [None if g is None else next(given) for g in gradients]


def value(function, *arrays, shapes=None):
    """The value of ``function`` of placeholders, of static ``shapes`` if given."""
    with tf.Graph().as_default(), tf.Session() as session:
        arrays = [np.asarray(a) for a in arrays]
        shapes = [a.shape for a in arrays] if shapes is None else shapes
        xs = [tf.placeholder(a.dtype, s) for a, s in zip(arrays, shapes)]
        return session.run(function(*xs), dict(zip(xs, arrays)))


def built(function, *shapes, dtype=tf.float32):
    """The result of ``function`` of placeholders of these static shapes."""
    with tf.Graph().as_default():
        return function(*[tf.placeholder(dtype, shape) for shape in shapes])


def gradient_ops(function, *shapes):
    """What gradients() adds after the seed, and what it returns.

    ``name:Type`` (the type where it differs) of every op but constants, and the
    names of the results, both without the scopes around them.
    """
    with tf.Graph().as_default() as graph:
        xs = [tf.placeholder(tf.float32, shape) for shape in shapes]
        y = function(*xs)
        before = len(graph.get_operations())
        gradients = tf.gradients(y, xs)
        added = graph.get_operations()[before:]

    def short(op):
        name = op.name.rpartition("/")[2]
        if "grad_ys_0" in op.name:
            name = "seed"
        return name

    ops = [
        short(op)
        if short(op).partition("_")[0] == op.type
        else f"{short(op)}:{op.type}"
        for op in added
        if op.type != "Const" and op.name.count("/") > 1
    ]
    return ops, [None if g is None else short(g.op) for g in gradients]
