"""The libraries that are measured. A peer's ``make(workload)`` gives a function.

Each call of it does one step, waits until it is done, and returns what came out: the
loss and every gradient, or the loss alone where the step updates the parameters.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from functools import partial
from typing import Any

Step = Callable[[], list[Any]]

# Name: (package that has to be there, module here, first argument of its make).
PEERS: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "gpugrad": ("gpugrad", "bench.peers.graph", ("gpugrad",)),
    "numpy": ("numpy", "bench.peers.by_hand", ()),
    "tensorflow": ("tensorflow", "bench.peers.graph", ("tensorflow",)),
    "xla": ("tensorflow", "bench.peers.xla", ()),
    "jax": ("jax", "bench.peers.jax", ()),
    "torch": ("torch", "bench.peers.torch", (False,)),
    "torch-compile": ("torch", "bench.peers.torch", (True,)),
    "autograd": ("autograd", "bench.peers.autograd", ()),
}

# What a worker's environment has on each device. A GPU's memory is shared by the peers,
# and none of them rounds the factors of a float32 product to TF32.
ENVIRONMENT: dict[str, dict[str, str]] = {
    "cpu": {"BENCH_DEVICE": "cpu", "GPUGRAD_BACKEND": "numpy", "JAX_PLATFORMS": "cpu"},
    "gpu": {
        "BENCH_DEVICE": "gpu",
        "GPUGRAD_BACKEND": "cupy",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    },
}


def on_gpu() -> bool:
    """Is this a worker that measures the GPU?"""
    return os.environ.get("BENCH_DEVICE") == "gpu"


def installed(name: str) -> bool:
    """True when the peer can be imported."""
    return importlib.util.find_spec(PEERS[name][0]) is not None


def maker(name: str) -> Callable[[Any], Step]:
    """The peer's ``make``."""
    _, module, arguments = PEERS[name]
    return partial(importlib.import_module(module).make, *arguments)
