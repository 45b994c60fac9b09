"""PyTorch, eager and through torch.compile, with its own fused optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from bench.peers import Step, on_gpu
from bench.workloads import RATE, Workload


class Ops:
    """The functions of a workload; images are NCHW inside, as PyTorch likes them."""

    tanh, exp, sigmoid, relu = torch.tanh, torch.exp, torch.sigmoid, torch.relu
    matmul, reshape, sum = torch.matmul, torch.reshape, torch.sum

    @staticmethod
    def concat(parts: Any, axis: int) -> Any:
        """Joined along an axis."""
        return torch.cat(parts, dim=axis)

    @staticmethod
    def split(x: Any, parts: int, axis: int) -> Any:
        """Equal parts."""
        return torch.chunk(x, parts, dim=axis)

    @staticmethod
    def transpose(x: Any, perm: Any) -> Any:
        """Axes in another order."""
        return x.permute(perm)

    @staticmethod
    def softmax(x: Any) -> Any:
        """Over the last axis."""
        return torch.softmax(x, -1)

    @staticmethod
    def gelu(x: Any) -> Any:
        """The tanh form."""
        return F.gelu(x, approximate="tanh")

    @staticmethod
    def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
        """Over the last axis."""
        return F.layer_norm(x, x.shape[-1:], scale, shift, 1e-5)

    @staticmethod
    def cross_entropy(logits: Any, labels: Any) -> Any:
        """Mean softmax cross entropy."""
        return F.cross_entropy(logits, labels)

    @staticmethod
    def conv2d(x: Any, kernel: Any) -> Any:
        """SAME, NHWC outside: channels-last memory, so that permute copies nothing."""
        y = F.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), padding="same")
        return y.permute(0, 2, 3, 1)

    @staticmethod
    def max_pool(x: Any) -> Any:
        """2 x 2."""
        return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def _device() -> tuple[str, Callable[[], None]]:
    """Where tensors are, and what waits until the work there is done."""
    if not on_gpu():
        return "cpu", lambda: None
    if not torch.cuda.is_available():
        raise LookupError(f"PyTorch {torch.__version__} sees no GPU")
    return "cuda", torch.cuda.synchronize


def make(compiled: bool, workload: Workload) -> Step:
    """One forward and backward pass, and the optimizer's step."""
    place, wait = _device()
    params = {k: torch.tensor(a, device=place) for k, a in workload.params().items()}
    data = {k: torch.tensor(a, device=place) for k, a in workload.data().items()}
    sparse = workload.sparse

    def loss_of(params: Any, data: Any) -> Any:
        return workload.loss(Ops, params, data)

    if compiled:
        loss_of = torch.compile(loss_of)
    leaves = {k: p.requires_grad_() for k, p in params.items()}
    if workload.update == "none":

        def gradients() -> list[Any]:
            loss = loss_of(leaves, data)
            grads = torch.autograd.grad(loss, list(leaves.values()))
            wait()
            return [loss.detach(), *grads]

        return gradients

    dense = [p for k, p in leaves.items() if not sparse or k != sparse[0]]
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.update]
    optimizer = kind(dense, lr=RATE, fused=True)

    def train() -> list[Any]:
        seen = leaves
        if sparse:
            table, ids = leaves[sparse[0]], data[sparse[1]]
            rows = table.detach()[ids].requires_grad_()
            seen = {**leaves, "rows": rows}
            del seen[sparse[0]]
        loss = loss_of(seen, data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if sparse:
            with torch.no_grad():
                table.index_add_(0, ids, rows.grad, alpha=-RATE)
        wait()
        return [loss.detach()]

    return train
