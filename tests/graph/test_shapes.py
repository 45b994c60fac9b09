"""Static shapes as TF2 and TF1 code read them."""

from __future__ import annotations

import pytest

import gpugrad.compat.v1 as tf


def test_dimensions_are_ints_with_a_value() -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 3])
    assert x.shape[1] == 3
    assert isinstance(x.shape[1], int)
    assert x.shape[1].value == 3
    assert x.shape[0] is None
    assert x.get_shape()[1].value == 3
    assert x.get_shape()[0].value is None
    assert int(x.get_shape()[1]) * 2 == 6
    assert x.get_shape().as_list() == [None, 3]
    assert [d.value for d in x.get_shape().dims] == [None, 3]
    assert x.shape[1:] == [3]
    assert repr(x.get_shape()) == "TensorShape([None, 3])"


def test_unknown_rank() -> None:
    shape = tf.TensorShape(None)
    assert shape[0] is None
    assert shape.ndims is None
    for ask in (shape.as_list, lambda: len(shape)):
        with pytest.raises(ValueError, match="unknown TensorShape"):
            ask()


def test_merging() -> None:
    shape = tf.TensorShape([None, 3]).merge_with([2, None])
    assert shape.as_list() == [2, 3]
    assert shape.num_elements() == 6
    assert shape.concatenate([4]).as_list() == [2, 3, 4]
    with pytest.raises(ValueError, match="not compatible"):
        shape.merge_with([3, 3])
    with pytest.raises(ValueError, match="must have rank 3"):
        shape.with_rank(3)
