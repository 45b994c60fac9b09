"""sparse_segment_sum and its kin, against sums written out."""

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf

DATA = np.arange(12.0).reshape(4, 3)
INDICES, SEGMENTS = [3, 0, 0, 2], [0, 0, 2, 2]
WEIGHT = {"sum": 1, "mean": 2, "sqrt_n": np.sqrt(2)}


@pytest.mark.parametrize("kind", WEIGHT)
@pytest.mark.parametrize("count", [None, 5])
def test_values_and_slices(kind, count):
    function = getattr(tf, f"sparse_segment_{kind}")
    with tf.Graph().as_default(), tf.Session() as session:
        data = tf.constant(DATA)
        y = function(data, INDICES, SEGMENTS, num_segments=count)
        other = getattr(gg.sparse, f"segment_{kind}")(data, INDICES, SEGMENTS, count)
        wanted = np.zeros([count or 3, 3])
        wanted[0] = (DATA[3] + DATA[0]) / WEIGHT[kind]
        wanted[2] = (DATA[0] + DATA[2]) / WEIGHT[kind]
        found, same = session.run([y, other])
        np.testing.assert_allclose(found, wanted)
        np.testing.assert_allclose(same, wanted)
        slices = session.run(tf.gradients(y, data)[0])
        assert slices.indices.tolist() == INDICES
        np.testing.assert_allclose(slices.values, 1 / WEIGHT[kind])
