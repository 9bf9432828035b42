"""Several processes that train one network: each takes its crops of a batch.

Every loss is a sum over the crops of one process, divided by a figure of the whole batch; so the
sum over processes of losses, and of gradients, is that of one process with the whole batch.
``torchrun`` starts the processes; without it there is one, and everything here costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.nn import functional as across
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from toolchain.errors import InputError


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, if it did."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    try:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the processes do not find each other "
            f"({' '.join(str(error).split())[:160]}); start them by torchrun"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def total(figure: Tensor) -> Tensor:
    """Return the sum over processes of ``figure``, through which no gradient flows."""
    summed = figure.detach()
    if ranks() > 1:
        summed = summed.clone()
        dist.all_reduce(summed)
    return summed


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Let every process have the sum of all processes' gradients, in place."""
    if ranks() == 1:
        return
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in learning]
    summed = parameters_to_vector(gradients)
    dist.all_reduce(summed)
    vector_to_parameters(summed, gradients)
    for parameter, gradient in zip(learning, gradients, strict=True):
        parameter.grad = gradient


def share_batch_norm(network: nn.Module) -> None:
    """Let batch norm go by the batch of all processes, in place; names and tensors stay."""
    if ranks() > 1:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = _SharedBatchNorm2d


class _SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over all processes; PyTorch's own (SyncBatchNorm) runs on GPUs only."""

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (N, C, H, W) by mean and variance over all processes' N, and H and W."""
        if not self.training:
            return super().forward(images)
        count = float(total(images.new_tensor(images.numel() / images.shape[1])))
        mean = across.all_reduce(images.sum(dim=(0, 2, 3))) / count
        centred = images - mean.view(1, -1, 1, 1)
        variance = across.all_reduce(centred.square().sum(dim=(0, 2, 3))) / count
        self._follow(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = self.weight / torch.sqrt(variance + self.eps)
        normalised: Tensor = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normalised

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum or 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
