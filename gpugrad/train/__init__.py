"""Optimizers and what goes with them, under TensorFlow's names."""

from typing import Any

from gpugrad.checkpoint.archive import CheckpointReader, checkpoint_exists
from gpugrad.checkpoint.archive import CheckpointReader as NewCheckpointReader
from gpugrad.checkpoint.state import (
    CheckpointState,
    get_checkpoint_mtimes,
    get_checkpoint_state,
    latest_checkpoint,
    remove_checkpoint,
    update_checkpoint_state,
)
from gpugrad.graph.graphdef.export import write_graph
from gpugrad.nearest import missing
from gpugrad.train.averages import ExponentialMovingAverage
from gpugrad.train.coordinator import Coordinator, start_queue_runners
from gpugrad.train.events import FileWriter as SummaryWriter
from gpugrad.train.global_step import (
    assert_global_step,
    create_global_step,
    get_global_step,
    get_or_create_global_step,
    global_step,
)
from gpugrad.train.optimizer import Optimizer
from gpugrad.train.optimizers import (
    AdadeltaOptimizer,
    AdagradDAOptimizer,
    AdagradOptimizer,
    AdamOptimizer,
    FtrlOptimizer,
    GradientDescentOptimizer,
    MomentumOptimizer,
    ProximalAdagradOptimizer,
    ProximalGradientDescentOptimizer,
    RMSPropOptimizer,
)
from gpugrad.train.saver import (
    Saver,
    export_meta_graph,
    import_meta_graph,
    list_variables,
    load_checkpoint,
    load_variable,
)
from gpugrad.train.schedules import (
    cosine_decay,
    cosine_decay_restarts,
    exponential_decay,
    inverse_time_decay,
    linear_cosine_decay,
    natural_exp_decay,
    noisy_linear_cosine_decay,
    piecewise_constant,
    polynomial_decay,
)
from gpugrad.train.schedules import piecewise_constant as piecewise_constant_decay

__all__ = [
    "AdadeltaOptimizer",
    "AdagradDAOptimizer",
    "AdagradOptimizer",
    "AdamOptimizer",
    "CheckpointReader",
    "CheckpointState",
    "Coordinator",
    "ExponentialMovingAverage",
    "FtrlOptimizer",
    "GradientDescentOptimizer",
    "MomentumOptimizer",
    "NewCheckpointReader",
    "Optimizer",
    "ProximalAdagradOptimizer",
    "ProximalGradientDescentOptimizer",
    "RMSPropOptimizer",
    "Saver",
    "SummaryWriter",
    "assert_global_step",
    "checkpoint_exists",
    "cosine_decay",
    "cosine_decay_restarts",
    "create_global_step",
    "exponential_decay",
    "export_meta_graph",
    "get_checkpoint_mtimes",
    "get_checkpoint_state",
    "get_global_step",
    "get_or_create_global_step",
    "global_step",
    "import_meta_graph",
    "inverse_time_decay",
    "latest_checkpoint",
    "linear_cosine_decay",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "natural_exp_decay",
    "noisy_linear_cosine_decay",
    "piecewise_constant",
    "piecewise_constant_decay",
    "polynomial_decay",
    "remove_checkpoint",
    "start_queue_runners",
    "update_checkpoint_state",
    "write_graph",
]


def __getattr__(name: str) -> Any:
    return missing(__name__, globals())(name)
