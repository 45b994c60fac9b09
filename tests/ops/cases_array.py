"""Gradient rows of the array ops: identities, layout, joining, slices, diagonals.

Most of these ops are linear: the square of the input makes a second derivative.
"""

import numpy as np

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case

V = ((3,), -2, 2)
A = ((2, 3), -2, 2)
B = ((4, 3), -2, 2)
C = ((2, 3, 4), -2, 2)
IMAGE = ((1, 4, 4, 2), -2, 2)
MATRICES = ((2, 3, 4), -2, 2)


def squared(function):
    """``function`` of the squares of its inputs."""
    return lambda *xs: function(*[x * x for x in xs])


def counted(x, number):
    """``number`` as a tensor whose value only a run of ``x`` tells."""
    return tf.size(tf.where(tf.greater(tf.abs(x), 1e9)), out_type=tf.int32) + number


CASES = [
    Case("Identity", squared(tf.identity), [A]),
    Case("IdentityN", squared(lambda x, y: tf.identity_n([x, y])), [A, V]),
    Case("Print", squared(lambda x: tf.Print(x, [], first_n=0)), [A]),
    Case("PlaceholderWithDefault", squared(
        lambda x: tf.placeholder_with_default(x, [2, 3])), [A]),
    Case("CheckNumerics", squared(lambda x: tf.check_numerics(x, "m")), [A]),
    Case("EnsureShape", squared(lambda x: tf.ensure_shape(x, [2, None])), [A]),
    Case("Fill", lambda x: tf.fill([2, 3], tf.exp(x)), [((), -1, 1)]),
    Case("Reshape", squared(lambda x: tf.reshape(x, [3, -1])), [A]),
    Case("Transpose", squared(tf.transpose), [C]),
    Case("Transpose", squared(lambda x: tf.transpose(x, [1, 2, 0])), [C], label="perm"),
    Case("ConjugateTranspose", squared(
        lambda x: tf.transpose(x, conjugate=True)), [A], dtype="complex128"),
    Case("ExpandDims", squared(lambda x: tf.expand_dims(x, -1)), [A]),
    Case("Squeeze", squared(tf.squeeze), [((1, 2, 1, 3), -2, 2)]),
    Case("BroadcastTo", squared(lambda x: tf.broadcast_to(x, [2, 4, 3])),
         [((4, 1), -2, 2)]),
    Case("Tile", squared(lambda x: tf.tile(x, [2, 3])), [A]),
    Case("ConcatV2", squared(lambda x, y: tf.concat([x, y, x], 0)), [A, B]),
    Case("ConcatV2", squared(lambda x: tf.concat([x] * 17, -1)), [A], label="many"),
    Case("Concat", lambda x, y: x.graph.apply("Concat", 1, [x * y, x]), [A, A]),
    Case("Pack", squared(lambda x, y: tf.stack([x, y], axis=-1)), [A, A]),
    Case("Unpack", squared(lambda x: tf.unstack(x, axis=1)), [A]),
    Case("Split", squared(lambda x: tf.split(x, 3, 1)), [A]),
    Case("SplitV", squared(lambda x: tf.split(x, [1, -1], 1)), [A]),
    Case("Slice", squared(lambda x: tf.slice(x, [0, 1, 2], [1, -1, 2])), [C]),
    Case("StridedSlice", squared(lambda x: x[1, ::-2, None, 1:3]), [C]),
    Case("StridedSlice", squared(lambda x: x[..., -1]), [C], label="ellipsis"),
    Case("StridedSlice", squared(lambda x: x[counted(x, 1), ::2, counted(x, -1)]),
         [C], label="index of the run"),
    Case("Slice", squared(lambda x: tf.slice(x, [counted(x, 1), 0, 1], [1, 2, 2])),
         [C], label="begin of the run"),
    Case("StridedSliceGrad", lambda x: tf.gradients(x[:, ::2] ** 3.0, x)[0], [A]),
    Case("Pad", squared(lambda x: tf.pad(x, [[1, 0], [0, 2]])), [A]),
    Case("PadV2", squared(
        lambda x: tf.pad(x, [[1, 0], [0, 2]], constant_values=3.0)), [A]),
    Case("MirrorPad", squared(lambda x: tf.pad(x, [[1, 0], [2, 1]], "REFLECT")), [A]),
    Case("MirrorPad", squared(
        lambda x: tf.pad(x, [[2, 1], [3, 0]], "SYMMETRIC")), [A], label="symmetric"),
    Case("MirrorPadGrad", lambda x: tf.gradients(
        tf.pad(x, [[1, 0], [2, 1]], "REFLECT") ** 3.0, x)[0], [A]),
    Case("ReverseV2", squared(lambda x: tf.reverse(x, [0, -1])), [C]),
    Case("Roll", squared(lambda x: tf.roll(x, [1, -2], [0, 2])), [C]),
    Case("ReverseSequence", squared(
        lambda x: tf.reverse_sequence(x, [1, 4], seq_axis=2, batch_axis=0)), [C]),
    Case("SpaceToDepth", squared(lambda x: tf.space_to_depth(x, 2)), [IMAGE]),
    Case("DepthToSpace", squared(lambda x: tf.depth_to_space(x, 2)),
         [((1, 2, 2, 8), -2, 2)]),
    Case("SpaceToBatchND", squared(
        lambda x: tf.space_to_batch_nd(x, [2, 3], [[1, 1], [0, 2]])), [IMAGE]),
    Case("BatchToSpaceND", squared(
        lambda x: tf.batch_to_space_nd(x, [2, 1], [[1, 0], [0, 0]])),
         [((4, 2, 3, 1), -2, 2)]),
    Case("Diag", squared(tf.diag), [A]),
    Case("DiagPart", squared(tf.diag_part), [((2, 3, 2, 3), -2, 2)]),
    Case("MatrixDiagV3", squared(tf.matrix_diag), [A]),
    Case("MatrixDiagV3", squared(lambda x: tf.matrix_diag(
        x, k=(-1, 1), num_rows=3, num_cols=4)), [((2, 3, 3), -2, 2)], label="band"),
    Case("MatrixDiagPartV3", squared(lambda x: tf.matrix_diag_part(x, k=1)),
         [MATRICES]),
    Case("MatrixDiagPartV3", squared(lambda x: tf.matrix_diag_part(
        x, k=(-2, 1), align="LEFT_RIGHT")), [MATRICES], label="band"),
    Case("MatrixSetDiagV3", squared(lambda x, d: tf.matrix_set_diag(x, d)),
         [MATRICES, ((2, 3), -2, 2)]),
    Case("MatrixBandPart", squared(lambda x: tf.matrix_band_part(x, 1, 0)), [MATRICES]),
    Case("TopKV2", squared(lambda x: tf.nn.top_k(x, 2)[0]),
         [((3, 4), 0.5, 2)]),
    Case("TopKV2", squared(lambda x: tf.sort(x, axis=0)), [A], label="sort"),
    Case("GatherV2", squared(lambda x: tf.ensure_shape(
        tf.repeat(x, [2, 0, 1], axis=1), [2, 3])), [A], label="repeat"),
    Case("Slice", lambda x, y: tf.linspace(x, y * x, 4), [A, A], label="linspace"),
    Case("Mul", squared(lambda x, y: tf.meshgrid(x, y)), [V, ((2,), -1, 1)],
         label="meshgrid"),
]  # fmt: skip

ROWS = np.array([2, 0, 2, -1, 1])
SEGMENTS = np.array([0, 0, 1, 1, 3])
FIVE = ((5, 2), 0.4, 2)

CASES += [
    Case("GatherV2", squared(lambda x: tf.gather(x, [[2, 0], [2, 2]])), [B]),
    Case("GatherV2", squared(lambda x: tf.gather(x, [3, 0, 3], axis=-1)), [C],
         label="axis"),
    Case("GatherV2", squared(lambda x: tf.gather(
        x, [[1, 1], [0, 2]], axis=2, batch_dims=1)), [C], label="batch"),
    Case("Gather", squared(lambda x: x.graph.apply("Gather", x, [1, 1, 0])), [B]),
    Case("GatherNd", squared(lambda x: tf.gather_nd(x, [[0, 1], [1, 2], [0, 1]])), [A]),
    Case("GatherNd", squared(lambda x: tf.gather_nd(x, [[3], [3]])), [B], label="rows"),
    Case("ScatterNd", squared(lambda u: tf.scatter_nd([[1], [3], [1]], u, [4, 2])),
         [((3, 2), -2, 2)]),
    Case("TensorScatterUpdate", squared(
        lambda x, u: tf.tensor_scatter_update(x, [[0, 1], [1, 1]], u)),
         [A, ((2,), -2, 2)]),
    Case("TensorScatterAdd", squared(
        lambda x, u: tf.tensor_scatter_add(x, [[0], [0]], u)), [A, A]),
    Case("TensorScatterSub", squared(
        lambda x, u: tf.tensor_scatter_sub(x, [[0], [0]], u)), [A, A]),
    Case("TensorScatterMax", squared(
        lambda x, u: tf.tensor_scatter_max(x, [[1], [0]], u)), [A, A]),
    Case("TensorScatterMin", squared(
        lambda x, u: tf.tensor_scatter_min(x, [[1], [0]], u)), [A, A]),
    Case("DynamicPartition", squared(
        lambda x: tf.dynamic_partition(x, [1, 0, 1, 2], 3)), [B]),
    Case("DynamicStitch", squared(
        lambda x, y: tf.dynamic_stitch([[0, 3], [1, 2]], [x, y])), [A, A]),
    Case("ParallelDynamicStitch", lambda x, y: x.graph.apply(
        "ParallelDynamicStitch", [[0, 3], [1, 2]], [x * y, y * y]), [A, A]),
    Case("UnsortedSegmentSum", squared(
        lambda x: tf.unsorted_segment_sum(x, ROWS, 4)), [FIVE]),
    Case("UnsortedSegmentMax", squared(
        lambda x: tf.unsorted_segment_max(x, ROWS, 3)), [FIVE]),
    Case("UnsortedSegmentMin", squared(
        lambda x: tf.unsorted_segment_min(x, ROWS, 3)), [FIVE]),
    Case("UnsortedSegmentProd", squared(
        lambda x: tf.unsorted_segment_prod(x, ROWS, 3)), [FIVE]),
    Case("RealDiv", squared(lambda x: tf.math.unsorted_segment_mean(x, ROWS, 4)),
         [FIVE], label="segment-mean"),
    Case("SegmentSum", squared(lambda x: tf.segment_sum(x, SEGMENTS)), [FIVE]),
    Case("SegmentMean", squared(lambda x: tf.segment_mean(x, SEGMENTS)), [FIVE]),
    Case("SegmentProd", squared(lambda x: tf.segment_prod(x, SEGMENTS)), [FIVE]),
    Case("SegmentMax", squared(lambda x: tf.segment_max(x, SEGMENTS)), [FIVE]),
    Case("SegmentMin", squared(lambda x: tf.segment_min(x, SEGMENTS)), [FIVE]),
    Case("GatherV2", squared(lambda x: tf.ensure_shape(tf.boolean_mask(
        x, [[True, False, True], [False, True, True]]), [4])), [A], label="mask"),
    Case("ReverseV2", squared(lambda x: np.flip(x, 0)), [A], label="numpy"),
]  # fmt: skip
