"""The names of TensorFlow 1 that scripts use, and which of them are there.

The lists come from counting ``tf.*`` in 943 scripts and notebooks of 20 public
repositories of tutorials and models.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf

NAMES = {
    "What gradients are asked with": """
        gradients hessians stop_gradient custom_gradient recompute_grad
        grad_pass_through RegisterGradient no_gradient NoGradient
        NotDifferentiable UnconnectedGradients AggregationMethod IndexedSlices
        IndexedSlicesValue convert_to_tensor_or_indexed_slices
        test.compute_gradient test.compute_gradient_error function GradientTape
    """,
    "Graphs, dtypes, scopes": """
        Graph get_default_graph reset_default_graph Operation Tensor TensorShape
        Dimension DType float32 int32 int64 string bool uint8 float64 float16
        int16 complex64 complex128 as_dtype name_scope control_dependencies
        device colocate_with disable_eager_execution disable_v2_behavior
        enable_eager_execution executing_eagerly init_scope
    """,
    "Sessions, variables, errors": """
        Session InteractiveSession get_default_session ConfigProto placeholder
        placeholder_with_default constant Variable get_variable
        global_variables_initializer initialize_all_variables convert_to_tensor
        identity no_op group tuple add_n errors.InvalidArgumentError
        errors.FailedPreconditionError errors.OutOfRangeError
        errors.OperatorNotAllowedInGraphError
    """,
    "Methods": """
        Tensor.eval Operation.run Tensor.get_shape Tensor.set_shape
        TensorShape.as_list Graph.as_default Graph.get_operations
        Graph.get_tensor_by_name Graph.get_operation_by_name Graph.as_graph_def
        Graph.get_collection Graph.add_to_collection Graph.finalize
        Graph.unique_name Graph.gradient_override_map
    """,
    "Math and arrays": """
        matmul reduce_mean reduce_sum reduce_max reduce_min reduce_prod
        reduce_logsumexp add subtract multiply div divide truediv floordiv mod
        negative square sqrt rsqrt pow exp log log1p abs sign maximum minimum
        sin cos tanh sigmoid round floor ceil squared_difference clip_by_value
        clip_by_norm clip_by_global_norm global_norm norm argmax argmin equal
        not_equal greater less logical_and logical_or logical_not cast to_float
        to_int32 reshape transpose expand_dims squeeze concat stack unstack
        split tile slice strided_slice pad gather gather_nd scatter_nd where
        boolean_mask one_hot shape size rank zeros ones zeros_like ones_like
        fill eye range linspace cumsum cumprod nn.top_k math.top_k reverse diag
        matrix_diag matrix_inverse matrix_determinant cholesky matrix_solve
        self_adjoint_eig svd trace einsum tensordot unsorted_segment_sum
        segment_sum segment_mean segment_max segment_min segment_prod
        dynamic_partition dynamic_stitch cond case while_loop map_fn scan foldl
        foldr TensorArray
    """,
    "Training": """
        train.GradientDescentOptimizer train.AdamOptimizer
        train.RMSPropOptimizer train.MomentumOptimizer train.AdagradOptimizer
        train.AdadeltaOptimizer train.FtrlOptimizer train.Optimizer.GATE_NONE
        train.Optimizer.GATE_OP train.Optimizer.GATE_GRAPH train.Saver
        train.get_checkpoint_state train.latest_checkpoint
        train.checkpoint_exists train.exponential_decay train.piecewise_constant
        train.polynomial_decay train.get_or_create_global_step
        train.get_global_step train.global_step train.ExponentialMovingAverage
        train.Coordinator train.start_queue_runners train.write_graph
        train.import_meta_graph
    """,
    "Variables and initializers": """
        variable_scope get_variable_scope AUTO_REUSE trainable_variables
        global_variables local_variables_initializer variables_initializer
        report_uninitialized_variables is_variable_initialized assign assign_add
        assign_sub GraphKeys get_collection constant_initializer
        zeros_initializer ones_initializer random_normal_initializer
        truncated_normal_initializer random_uniform_initializer
        glorot_uniform_initializer glorot_normal_initializer
        variance_scaling_initializer contrib.layers.xavier_initializer
        contrib.layers.l1_regularizer contrib.layers.l2_regularizer
        initializers.constant initializers.glorot_uniform
        initializers.variance_scaling
    """,
    "Random numbers": """
        random_normal random_uniform truncated_normal set_random_seed
        random_shuffle multinomial random.normal random.uniform
        random.truncated_normal random.shuffle random.categorical
        random.set_random_seed
    """,
    "Neural networks": """
        nn.relu nn.softmax nn.sigmoid nn.tanh nn.elu nn.leaky_relu nn.relu6
        nn.selu nn.softplus nn.softsign nn.log_softmax nn.bias_add nn.conv2d
        nn.conv2d_transpose nn.depthwise_conv2d nn.max_pool nn.avg_pool
        nn.dropout nn.lrn nn.local_response_normalization nn.l2_loss
        nn.l2_normalize nn.moments nn.batch_normalization nn.fused_batch_norm
        nn.softmax_cross_entropy_with_logits
        nn.softmax_cross_entropy_with_logits_v2
        nn.sparse_softmax_cross_entropy_with_logits
        nn.sigmoid_cross_entropy_with_logits
        nn.weighted_cross_entropy_with_logits nn.embedding_lookup nn.nce_loss
        nn.sampled_softmax_loss nn.xw_plus_b nn.in_top_k nn.dynamic_rnn
        nn.static_rnn nn.bidirectional_dynamic_rnn nn.static_bidirectional_rnn
        nn.rnn_cell.RNNCell nn.rnn_cell.BasicRNNCell nn.rnn_cell.BasicLSTMCell
        nn.rnn_cell.LSTMCell nn.rnn_cell.GRUCell nn.rnn_cell.MultiRNNCell
        nn.rnn_cell.DropoutWrapper nn.rnn_cell.ResidualWrapper
        nn.rnn_cell.LSTMStateTuple contrib.rnn.BasicRNNCell
        contrib.rnn.BasicLSTMCell contrib.rnn.LSTMCell contrib.rnn.GRUCell
        contrib.rnn.MultiRNNCell contrib.rnn.DropoutWrapper
        contrib.rnn.static_rnn contrib.rnn.static_bidirectional_rnn
        nn.rnn_cell.BasicLSTMCell.zero_state
    """,
    "Layers, losses, metrics": """
        layers.dense layers.conv1d layers.conv2d layers.conv3d
        layers.conv2d_transpose layers.separable_conv2d layers.max_pooling1d
        layers.max_pooling2d layers.average_pooling1d layers.average_pooling2d
        layers.dropout layers.batch_normalization layers.flatten layers.Dense
        layers.Conv2D layers.MaxPooling2D layers.Dropout
        layers.BatchNormalization layers.Flatten layers.Conv2DTranspose
        contrib.layers.flatten contrib.layers.fully_connected
        losses.mean_squared_error losses.softmax_cross_entropy
        losses.sparse_softmax_cross_entropy losses.get_total_loss
        losses.sigmoid_cross_entropy losses.absolute_difference
        losses.huber_loss metrics.accuracy metrics.mean
        metrics.mean_squared_error metrics.precision metrics.recall metrics.auc
    """,
    "Summaries": """
        summary.scalar summary.histogram summary.image summary.merge_all
        summary.merge summary.FileWriter summary.FileWriter.add_summary
        summary.FileWriter.add_graph scalar_summary histogram_summary
        image_summary merge_summary merge_all_summaries train.SummaryWriter
    """,
    "Data": """
        data.Dataset.from_tensor_slices data.Dataset.from_generator
        data.Dataset.batch data.Dataset.shuffle data.Dataset.repeat
        data.Dataset.map data.Dataset.make_one_shot_iterator
        data.Dataset.make_initializable_iterator data.Iterator.get_next
    """,
    "Scripts and old aliases": """
        Print Assert py_func logging.set_verbosity logging.info logging.INFO
        logging.DEBUG logging.WARN logging.ERROR app.run app.flags
        flags.DEFINE_string flags.DEFINE_integer flags.DEFINE_float
        flags.DEFINE_bool flags.DEFINE_boolean flags.DEFINE_enum
        flags.DEFINE_list flags.FLAGS app.flags.FLAGS gfile.Exists gfile.GFile
        gfile.FastGFile gfile.Open gfile.MakeDirs gfile.MkDir
        gfile.DeleteRecursively gfile.Remove gfile.Glob gfile.ListDirectory
        gfile.IsDirectory gfile.Copy gfile.Rename gfile.Walk gfile.Stat
        test.TestCase test.main mul sub neg pack unpack all_variables arg_max
        arg_min batch_matmul select
    """,
    "Others": """
        make_template GPUOptions
    """,
}  # fmt: skip

# Not there yet. A name that comes has to leave this list.
MISSING = """
"""


def found(module: Any, name: str) -> bool:
    """Whether a dotted name leads somewhere."""
    for part in name.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True


@pytest.mark.parametrize("group", NAMES)
def test_names(group: str) -> None:
    names = NAMES[group].split()
    assert len(names) == len(set(names))
    absent = [name for name in names if not found(tf, name)]
    assert absent == [name for name in names if name in MISSING.split()]


def test_missing_names_are_among_the_names() -> None:
    every = {name for words in NAMES.values() for name in words.split()}
    assert set(MISSING.split()) <= every


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tf.placeholdr, "has no attribute 'placeholdr'.*placeholder"),
        (lambda: tf.layers.densee, "layers' has no attribute 'densee'.*dense"),
        (lambda: tf.nn.rnn_cell.LSTMCel, "rnn_cell' has no.*LSTMCell"),
        (lambda: tf.contrib.layers.flaten, "contrib.layers' has no.*flatten"),
        (lambda: tf.contrib.slim, "compat.v1.contrib' has no attribute 'slim'"),
        (lambda: tf.train.AdamOptimiser, "has no attribute.*AdamOptimizer"),
        (lambda: tf.metrics.acuracy, "metrics' has no.*accuracy"),
        (lambda: tf.flags.DEFINE_strings, "flags' has no.*DEFINE_string"),
        (lambda: gg.reduce_meen, "has no attribute 'reduce_meen'.*reduce_mean"),
        (lambda: gg.nn.sofmax, "has no attribute 'sofmax'.*softmax"),
    ],
)
def test_a_missing_name_says_what_is_near(call: Any, text: str) -> None:
    with pytest.raises(AttributeError, match=text):
        call()


def test_ways_to_import() -> None:
    """All of them are one module, in a fresh Python."""
    code = """
import gpugrad.compat.v1 as tf
from gpugrad.compat import v1
import gpugrad as gg
assert tf is v1 is gg.compat.v1
from gpugrad.compat.v1 import nn, layers
assert nn.rnn_cell is tf.nn.rnn_cell and layers.Dense is tf.layers.Dense
assert gg.layers.dense is tf.layers.dense and gg.rnn.GRUCell is nn.rnn_cell.GRUCell
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["layers", "rnn", "losses", "compat"])
def test_packages_come_when_asked_for(name: str) -> None:
    assert getattr(gg, name) is importlib.import_module(f"gpugrad.{name}")
    code = f"import sys, gpugrad; assert 'gpugrad.{name}' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_gradient_tape_says_what_to_use_instead() -> None:
    for module in (gg, tf):
        with pytest.raises(RuntimeError, match=r"gradients\(y, x\)"):
            module.GradientTape()
