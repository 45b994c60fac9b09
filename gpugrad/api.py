"""Where each public name stands: one table, in TensorFlow's words.

A row is a module of ours, the public modules that show names of it, and the names.
"." is the top level of gpugrad and of gpugrad.compat.v1, "gg" and "v1" the top level
of one of them alone; "nn" is gpugrad.nn and compat.v1.nn, "v1.nn" only the latter.
``mul=multiply`` gives a function another public name. Where a module has ``name_v2``
besides ``name``, gpugrad shows the former under the plain name, compat.v1 the latter.

To make a function public, add its name here; nothing else keeps a list.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import Any, Final

from gpugrad.graph import build
from gpugrad.nearest import missing

TABLE: Final = (
    ("graph.build", ".", """
        colocate_with control_dependencies convert_to_tensor device
        disable_eager_execution enable_eager_execution executing_eagerly
        get_default_graph is_tensor name_scope reset_default_graph
    """),
    ("graph.graph", ".", "Graph"),
    ("graph.graphdef.importing", ".", "import_graph_def"),
    ("graph.tensor", ".", "Operation Tensor"),
    ("graph.indexed_slices", ".", "IndexedSlices IndexedSlicesValue"),
    ("graph.variable", ".", "GraphKeys Variable"),
    ("shapes", ".", "Dimension TensorShape"),
    ("dtypes", ".", """
        DType as_dtype bfloat16 bool=bool_ complex128 complex64 double=float64 float16
        float32 float64 half=float16 int16 int32 int64 int8 resource string uint16
        uint32 uint64 uint8 variant
    """),
    ("autodiff.options", ".", "AggregationMethod UnconnectedGradients"),
    ("autodiff.registration", ".", "RegisterGradient no_gradient"),
    ("autodiff.registration", "v1",
     "NoGradient=no_gradient NotDifferentiable=no_gradient"),
    ("autodiff.gradients", "gg", "gradients"),
    ("autodiff.gradients", "v1", "gradients=gradients_v1"),
    ("autodiff.tape", ".", "GradientTape"),
    ("autodiff.why", "gg", "why_none"),
    ("gradient_report", "gg", "check_gradients"),
    ("control.hessian", ".", "hessians"),
    ("ops.arg", ". math", "argmax argmin"),
    ("ops.arg", "v1", "arg_max=argmax arg_min=argmin"),
    ("ops.arithmetic", ". math", """
        abs accumulate_n add add_n maximum minimum multiply negative pow round
        scalar_mul sign square squared_difference subtract
    """),
    ("ops.arithmetic", ". math", "ceil floor rint"),
    ("ops.arithmetic", "v1", "mul=multiply sub=subtract neg=negative"),
    ("ops.basic", ".", """
        convert_to_tensor_or_indexed_slices
        ensure_shape group identity identity_n no_op placeholder
        placeholder_with_default stop_gradient tuple
    """),
    ("ops.basic", ". debugging", "check_numerics"),
    ("ops.bessel", "math math.special",
     "bessel_i0 bessel_i0e bessel_i1 bessel_i1e"),
    ("ops.bessel", "math.special", """
        bessel_j0 bessel_j1 bessel_k0 bessel_k0e bessel_k1 bessel_k1e bessel_y0
        bessel_y1
    """),
    ("ops.bitcast", ".", "bitcast"),
    ("ops.sampled_losses", "nn", "nce_loss sampled_softmax_loss"),
    ("ops.candidates", "nn random", """
        all_candidate_sampler fixed_unigram_candidate_sampler
        log_uniform_candidate_sampler uniform_candidate_sampler
    """),
    ("ops.candidates", "nn", "compute_accidental_hits"),
    ("ops.cast", ".", """
        cast saturate_cast to_bfloat16 to_complex128 to_complex64 to_double to_float
        to_int32 to_int64
    """),
    ("ops.cast", "dtypes", "cast saturate_cast"),
    ("ops.check", ". debugging", """
        Assert assert_equal assert_greater assert_greater_equal assert_less
        assert_less_equal assert_negative assert_non_negative assert_non_positive
        assert_none_equal assert_positive
    """),
    ("ops.check_static", ". debugging", """
        assert_integer assert_near assert_proper_iterable assert_rank
        assert_rank_at_least assert_rank_in assert_same_float_dtype assert_scalar
        assert_type is_numeric_tensor
    """),
    ("ops.check_static", "debugging", "assert_all_finite assert_shapes"),
    ("ops.check_static", ".", "verify_tensor_all_finite"),
    ("ops.clip", ".", """
        clip_by_average_norm clip_by_global_norm clip_by_norm clip_by_value global_norm
    """),
    ("ops.clip", "linalg", "global_norm"),
    ("ops.compare", ". math", """
        equal greater greater_equal is_finite is_inf is_nan less less_equal logical_and
        logical_not logical_or logical_xor not_equal
    """),
    ("ops.compare", "math", "approximate_equal"),
    ("ops.compare", "bitwise",
     "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift"),
    ("ops.complex", ". math", "angle conj imag real"),
    ("ops.complex", ". dtypes", "complex"),
    ("ops.complex", "math", "nextafter"),
    ("ops.composed_math", ". math debugging",
     "is_non_decreasing is_strictly_increasing"),
    ("ops.composed_math", ". math", "lbeta"),
    ("ops.composed_math", "math", "polyval"),
    ("ops.concat", ".", "concat"),
    ("ops.conv_functions", "nn", """
        atrous_conv2d conv1d conv2d conv2d_transpose conv3d conv3d_transpose convolution
        depthwise_conv2d depthwise_conv2d_native separable_conv2d
    """),
    ("ops.conv_names", "nn", """
        atrous_conv2d_transpose batch_norm_with_global_normalization conv1d_transpose
        conv_transpose depthwise_conv2d_backprop_filter depthwise_conv2d_backprop_input
    """),
    ("ops.conv_names", "v1.nn", """
        conv2d_backprop_filter conv2d_backprop_input conv3d_backprop_filter
        conv3d_backprop_filter_v2=conv3d_backprop_filter
        depthwise_conv2d_native_backprop_filter=depthwise_conv2d_backprop_filter
        depthwise_conv2d_native_backprop_input=depthwise_conv2d_backprop_input
    """),
    ("ops.counting", ". math", "confusion_matrix"),
    ("ops.counting", "gg math", "bincount"),
    ("ops.counting", "v1", "bincount=bincount_v1"),
    ("ops.counting", ".", "histogram_fixed_width histogram_fixed_width_bins"),
    ("ops.diagonal", ".", "eye"),
    ("ops.diagonal", "linalg", """
        band_part=matrix_band_part diag=matrix_diag diag_part=matrix_diag_part eye
        set_diag=matrix_set_diag tensor_diag=diag tensor_diag_part=diag_part
    """),
    ("ops.diagonal", "v1", """
        diag diag_part matrix_band_part matrix_diag matrix_diag_part matrix_set_diag
    """),
    ("ops.division", ". math", "div_no_nan floordiv multiply_no_nan truediv"),
    ("ops.division", ".", "div floor_div realdiv truncatediv truncatemod"),
    ("ops.division", ". math",
     "divide=truediv floormod mod=floormod reciprocal_no_nan"),
    ("ops.einsum", ". linalg", "einsum"),
    ("ops.division", "math", "divide_no_nan=div_no_nan"),
    ("ops.elementary", ". math nn", "sigmoid tanh"),
    ("ops.elementary", ". math", """
        acos acosh asin asinh atan atan2 atanh cos cosh exp expm1 log log1p reciprocal
        rsqrt sin sinh sqrt tan
    """),
    ("ops.factor", ". linalg", "qr svd"),
    ("ops.factor", ".", "self_adjoint_eig self_adjoint_eigvals"),
    ("ops.factor", "linalg", "eigh=self_adjoint_eig eigvalsh=self_adjoint_eigvals"),
    ("ops.fft", ". signal spectral", "fft fft2d fft3d ifft ifft2d ifft3d"),
    ("ops.fft", "signal spectral", "irfft irfft2d irfft3d rfft rfft2d rfft3d"),
    ("ops.fill", ".", "constant fill ones ones_like zeros zeros_like"),
    ("ops.gather", ".", "batch_gather gather gather_nd"),
    ("ops.host_function", ".", "numpy_function py_func"),
    ("ops.initializers", "v1", """
        glorot_normal_initializer=glorot_normal
        glorot_uniform_initializer=glorot_uniform
        truncated_normal_initializer=TruncatedNormal
        variance_scaling_initializer=VarianceScaling
    """),
    ("ops.initializers", ".", """
        constant_initializer=Constant ones_initializer=Ones
        random_normal_initializer=RandomNormal
        random_uniform_initializer=RandomUniform zeros_initializer=Zeros
    """),
    ("ops.initializers", "initializers", """
        constant=Constant glorot_normal glorot_uniform he_normal he_uniform
        identity=Identity lecun_normal lecun_uniform ones=Ones
        random_normal=RandomNormal random_uniform=RandomUniform
        truncated_normal=TruncatedNormal variance_scaling=VarianceScaling zeros=Zeros
    """),
    ("ops.integrals", "math.special",
     "dawsn expint fresnel_cos fresnel_sin spence"),
    ("ops.layers", "nn", "dropout embedding_lookup relu_layer xw_plus_b"),
    ("ops.layout", ".", """
        expand_dims invert_permutation matrix_transpose reshape squeeze transpose
    """),
    ("ops.layout", "math", "invert_permutation"),
    ("ops.layout", "linalg", "matrix_transpose transpose=matrix_transpose"),
    ("ops.linalg", ". linalg", "cholesky cholesky_solve"),
    ("ops.linalg", ".",
     "matrix_determinant matrix_inverse matrix_solve matrix_triangular_solve"),
    ("ops.linalg", "linalg", """
        adjoint det=matrix_determinant inv=matrix_inverse logdet slogdet
        solve=matrix_solve triangular_solve=matrix_triangular_solve
    """),
    ("ops.least_squares", "linalg", "lstsq matrix_rank pinv"),
    ("ops.least_squares", "v1", "matrix_solve_ls=lstsq"),
    ("ops.matrix_functions", "linalg", """
        logm lu lu_matrix_inverse lu_reconstruct lu_solve sqrtm
    """),
    ("ops.matrix_functions", ".", "matrix_square_root=sqrtm"),
    ("ops.local_response", "nn", "local_response_normalization lrn"),
    ("ops.mask", ".", "boolean_mask setdiff1d unique unique_with_counts"),
    ("ops.matmul", ". linalg", "matmul tensordot"),
    ("ops.matmul", ". linalg", "matvec"),
    ("ops.matrix", ". linalg", "cross trace"),
    ("ops.matrix", "linalg", "expm"),
    ("ops.nn", "nn", """
        bias_add crelu elu gelu leaky_relu relu relu6 selu softplus softsign swish
        silu=swish
    """),
    ("ops.nn", "math", "log_sigmoid softplus softsign"),
    ("ops.softmax", "math nn", "log_softmax softmax"),
    ("ops.nn", "v1", "log_sigmoid"),
    ("ops.nn_loss", "nn", """
        log_poisson_loss sigmoid_cross_entropy_with_logits
        softmax_cross_entropy_with_logits softmax_cross_entropy_with_logits_v2
        sparse_softmax_cross_entropy_with_logits weighted_cross_entropy_with_logits
    """),
    ("ops.losses", "losses", """
        Reduction absolute_difference add_loss compute_weighted_loss cosine_distance
        get_losses get_regularization_loss get_regularization_losses get_total_loss
        hinge_loss huber_loss log_loss mean_pairwise_squared_error mean_squared_error
        sigmoid_cross_entropy softmax_cross_entropy sparse_softmax_cross_entropy
    """),
    ("ops.normalization", "nn", "batch_normalization fused_batch_norm"),
    ("ops.pad", ".", "pad"),
    ("ops.partition", ".", "dynamic_partition dynamic_stitch"),
    ("ops.pool_functions", "nn", """
        avg_pool avg_pool1d avg_pool2d avg_pool3d max_pool max_pool1d max_pool2d
        max_pool3d pool
    """),
    ("ops.patches", "nn", "dilation2d erosion2d max_pool_with_argmax"),
    ("ops.patches", "v1", "extract_image_patches"),
    ("ops.patches", "image", "extract_patches"),
    ("ops.patches", "v1.image", "extract_image_patches"),
    ("ops.printing", ".", "Print print=print_v2"),
    ("ops.random", ".",
     "random_normal random_uniform set_random_seed truncated_normal"),
    ("ops.random", "v1", "get_seed"),
    ("ops.random", "v1.random", "set_random_seed"),
    ("ops.random", "random", """
        normal=random_normal set_seed=set_random_seed truncated_normal
        uniform=random_uniform
    """),
    ("ops.reduce", ". math", """
        reduce_all reduce_any reduce_max reduce_mean reduce_min reduce_prod reduce_sum
    """),
    ("ops.reduce", "math", "reduce_euclidean_norm"),
    ("ops.repeat", ".", "broadcast_to repeat tile"),
    ("ops.resize", "image", "resize"),
    ("ops.resize", "v1.image",
     "resize_bilinear resize_images=resize resize_nearest_neighbor"),
    ("ops.reverse", ".", "reverse reverse_sequence roll"),
    ("ops.reverse", "v1", "reverse_v2=reverse"),
    ("ops.sampling", ".", "random_shuffle"),
    ("ops.sampling", "v1", "multinomial"),
    ("ops.sampling", "random", "categorical shuffle=random_shuffle"),
    ("ops.scan", ". math", "cumprod cumsum"),
    ("ops.scan", "math", "cumulative_logsumexp"),
    ("ops.sequence", ".", "one_hot range sequence_mask"),
    ("ops.sequence", ". math", "linspace"),
    ("ops.sequence", ".", "lin_space"),
    ("ops.shape", ".", """
        broadcast_dynamic_shape broadcast_static_shape rank shape shape_n size
    """),
    ("ops.scatter", ".", """
        scatter_nd tensor_scatter_add tensor_scatter_max tensor_scatter_min
        tensor_scatter_sub tensor_scatter_update
        tensor_scatter_nd_add=tensor_scatter_add
        tensor_scatter_nd_max=tensor_scatter_max
        tensor_scatter_nd_min=tensor_scatter_min
        tensor_scatter_nd_sub=tensor_scatter_sub
        tensor_scatter_nd_update=tensor_scatter_update
    """),
    ("ops.search", "math nn", "in_top_k"),
    ("ops.search", ".", "searchsorted unravel_index"),
    ("ops.segment", ". math", """
        segment_max segment_mean segment_min segment_prod segment_sum
        unsorted_segment_max unsorted_segment_mean unsorted_segment_min
        unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum
    """),
    ("ops.select", ".", "where"),
    ("ops.select", "v1", "select=where where_v2"),
    ("ops.slicing", ".", "newaxis slice"),
    ("ops.strided_slice", ".", "strided_slice"),
    ("ops.sort", ".", "argsort sort"),
    ("ops.sort", "nn math", "top_k"),
    ("ops.space", ". nn", """
        batch_to_space depth_to_space space_to_batch space_to_depth
    """),
    ("ops.space", ".", """
        batch_to_space_nd required_space_to_batch_paddings space_to_batch_nd
    """),
    ("ops.special", ". math", """
        betainc digamma erf erfc igamma igammac lgamma polygamma zeta
    """),
    ("ops.special", "math", "erfcinv erfinv ndtri xdivy xlog1py xlogy"),
    ("ops.sparse_segment", "v1",
     "sparse_segment_mean sparse_segment_sqrt_n sparse_segment_sum"),
    ("ops.sparse_segment", "sparse", """
        segment_mean=sparse_segment_mean segment_sqrt_n=sparse_segment_sqrt_n
        segment_sum=sparse_segment_sum
    """),
    ("ops.split", ".", "split"),
    ("ops.stateless", "random", """
        stateless_categorical stateless_normal stateless_truncated_normal
        stateless_uniform
    """),
    ("ops.stack", ".", "meshgrid stack unstack"),
    ("ops.stack", "v1", "pack=stack unpack=unstack"),
    ("ops.state", ".", """
        assign assign_add assign_sub count_up_to scatter_add scatter_div scatter_max
        scatter_min scatter_mul scatter_nd_add scatter_nd_sub scatter_nd_update
        scatter_sub scatter_update
    """),
    ("ops.variable_lists", ".", """
        add_to_collection add_to_collections all_variables get_collection
        get_collection_ref global_variables global_variables_initializer
        initialize_all_variables initialize_local_variables initialize_variables
        is_variable_initialized local_variables local_variables_initializer
        model_variables moving_average_variables report_uninitialized_variables
        trainable_variables variables_initializer
    """),
    ("ops.statistics", ". math", "count_nonzero reduce_logsumexp"),
    ("ops.statistics", "math", "reduce_std reduce_variance"),
    ("ops.statistics", "math nn", "l2_normalize zero_fraction"),
    ("ops.statistics", "linalg", "l2_normalize norm normalize"),
    ("ops.statistics", ".", "norm"),
    ("ops.statistics", "nn", """
        l2_loss moments normalize_moments sufficient_statistics weighted_moments
    """),
    ("ops.summary", "summary",
     "histogram image merge merge_all scalar tensor_summary text"),
    ("ops.summary", "v1", """
        histogram_summary image_summary merge_all_summaries=merge_all
        merge_summary=merge scalar_summary
    """),
    ("train.events", "summary", "FileWriter FileWriterCache"),
    ("ops.template", ".", "make_template"),
    ("ops.metrics", "metrics", """
        accuracy auc false_negatives false_positives mean mean_absolute_error
        mean_squared_error precision recall root_mean_squared_error true_negatives
        true_positives
    """),
    ("ops.variable_scope", ".", """
        AUTO_REUSE VariableScope get_local_variable get_variable get_variable_scope
        variable_scope
    """),
    ("layers", "layers", """
        AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Conv1D
        Conv2D Conv2DTranspose Conv3D Conv3DTranspose Dense Dropout Flatten Layer
        MaxPooling1D MaxPooling2D MaxPooling3D SeparableConv2D average_pooling1d
        average_pooling2d average_pooling3d batch_normalization conv1d conv2d
        conv2d_transpose conv3d conv3d_transpose dense dropout flatten max_pooling1d
        max_pooling2d max_pooling3d separable_conv2d
    """),
    ("layers.contrib", "contrib.layers", """
        batch_norm conv2d convolution2d=conv2d dropout flatten fully_connected
        max_pool2d variance_scaling_initializer xavier_initializer
        xavier_initializer_conv2d=xavier_initializer
    """),
    ("layers.regularizers", "contrib.layers", """
        apply_regularization l1_l2_regularizer l1_regularizer l2_regularizer
        sum_regularizer
    """),
    ("rnn", "nn.rnn_cell contrib.rnn", """
        BasicLSTMCell BasicRNNCell DropoutWrapper GRUCell LSTMCell LSTMStateTuple
        MultiRNNCell RNNCell ResidualWrapper
    """),
    ("rnn", "v1.nn", """
        bidirectional_dynamic_rnn dynamic_rnn static_bidirectional_rnn static_rnn
    """),
    ("rnn", "contrib.rnn", "static_bidirectional_rnn static_rnn"),
    ("rnn", "contrib.seq2seq", "sequence_loss"),
    ("compat.aliases", "v1", """
        batch_matmul disable_resource_variables disable_v2_behavior
        enable_resource_variables init_scope
    """),
    ("compat.app", "app", "run"),
    ("compat.flags", "flags app.flags", """
        DEFINE_bool DEFINE_boolean DEFINE_enum DEFINE_float DEFINE_integer DEFINE_list
        DEFINE_multi_float DEFINE_multi_integer DEFINE_multi_string DEFINE_string
        DuplicateFlagError Error FLAGS FlagValues IllegalFlagValueError
        mark_flag_as_required mark_flags_as_required
    """),
    ("compat.gfile", "gfile", """
        Copy DeleteRecursively Exists FastGFile GFile Glob IsDirectory ListDirectory
        MakeDirs MkDir Open Remove Rename Stat Walk
    """),
    ("compat.logging", "logging", """
        DEBUG ERROR FATAL INFO WARN debug error fatal flush get_logger get_verbosity
        info log log_every_n log_first_n log_if set_verbosity warn warning
    """),
    ("compat.testing", "v1.test", "TestCase get_temp_dir is_gpu_available main"),
    ("gradient_checker", "test", "compute_gradient compute_gradient_error max_error"),
    ("control.choice", ".", "case cond switch_case"),
    ("control.functional", ".", "foldl foldr map_fn scan"),
    ("control.loop", ".", "while_loop"),
    ("control.tensor_array", ".", "TensorArray"),
    ("control.custom_gradient", ".",
     "custom_gradient grad_pass_through recompute_grad"),
    ("runtime.session", ".", "ConfigProto GPUOptions InteractiveSession Session"),
    ("runtime.function", ".", "TensorSpec function"),
    ("runtime.eager", ".", "EagerTensor"),
    ("runtime.explain", "gg", "explain"),
    ("graph.sessions", ".", "get_default_session=default"),
    ("config", "gg", "set_backend"),
    ("errors", "errors", """
        AbortedError AlreadyExistsError CancelledError DataLossError
        DeadlineExceededError FailedPreconditionError InternalError InvalidArgumentError
        NotFoundError OpError OperatorNotAllowedInGraphError OutOfRangeError
        PermissionDeniedError ResourceExhaustedError UnauthenticatedError
        UnavailableError UnimplementedError UnknownError
    """),
)  # fmt: skip

# Functions of these say what a graph holds; they never work on values.
_GRAPH_ONLY: Final = {
    "ops.basic", "ops.check", "ops.check_static", "ops.host_function",
    "ops.initializers", "ops.metrics", "ops.state", "ops.summary", "ops.template",
    "ops.variable_lists", "ops.variable_scope",
}  # fmt: skip

# Which rows show at the top level of which flavour.
_TOPS: Final = {"gg": {".", "gg"}, "v1": {".", "v1"}}


def names(flavour: str, place: str = "") -> dict[str, Any]:
    """The public names of a module: ``flavour`` "gg" or "v1", ``place`` such as "nn",
    or "" for the top level.
    """
    wanted = {place, f"{flavour}.{place}"} if place else _TOPS[flavour]
    found: dict[str, Any] = {}
    for source, places, words in TABLE:
        if wanted.isdisjoint(places.split()):
            continue
        module = importlib.import_module(f"gpugrad.{source}")
        for word in words.split():
            public, _, own = word.partition("=")
            own = own or public
            if flavour == "gg" and hasattr(module, f"{own}_v2"):
                own = f"{own}_v2"
            value = getattr(module, own)
            if source.startswith("ops.") and source not in _GRAPH_ONLY:
                value = _also_on_values(value)
            found[public] = value
    return found


@functools.cache
def _also_on_values(function: Any) -> Any:
    """An op function that also runs at once, where its arguments are values."""
    return build.at_once(function) if inspect.isfunction(function) else function


def places() -> list[str]:
    """The public modules below the top level, with dots where they nest."""
    every = {place for _, where, _ in TABLE for place in where.split()}
    return sorted({place.removeprefix("v1.") for place in every - {".", "gg", "v1"}})


def tree(flavour: str, root: str) -> dict[str, Any]:
    """All public names: those of the top level, and a Namespace for each module.

    ``root`` is the name that the modules' names begin with.
    """
    found = names(flavour)
    for place in places():
        here, path = found, root
        for part in place.split("."):
            path = f"{path}.{part}"
            here = here.setdefault(part, Namespace(path, {})).__dict__
        here.update(names(flavour, place))
    return found


class Namespace:
    """Public names under a dot, such as compat.v1's ``nn``."""

    def __init__(self, name: str, found: dict[str, Any]) -> None:
        self.__name__ = name
        self.__dict__.update(found)

    def __getattr__(self, name: str) -> Any:
        return missing(self.__name__, self.__dict__)(name)

    def __repr__(self) -> str:
        return f"<namespace {self.__name__!r}>"
