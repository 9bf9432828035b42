"""Several processes that train one network: each takes its crops of a batch.

Every loss is a sum over the crops of one process, divided by a figure of the whole batch; so the
sum over processes of losses, and of gradients, is that of one process with the whole batch.
``torchrun`` starts the processes; without it there is one, and everything here costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from toolchain.errors import InputError

PATIENCE = timedelta(hours=2)
"""How long processes wait for the first one, which alone looks at precision and writes files."""


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
        if device == "cuda":
            _take_own_gpu()
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)
        dist.all_reduce(torch.zeros(1))  # none may leave, refused, while another still connects
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the processes do not find each other "
            f"({' '.join(str(error).split())[:160]}); start them by torchrun"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def _take_own_gpu() -> None:
    """Let each process of this machine have a GPU of its own."""
    wanted, there = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if 0 < there < wanted:  # none at all is told to a single process too
        raise InputError(
            f"--device cuda: {wanted} processes need a GPU each, and there are {there}; give "
            f"torchrun --nproc-per-node {there}"
        )
    if there:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def total(figure: Tensor) -> Tensor:
    """Return the sum over processes of ``figure``, through which no gradient flows."""
    summed = figure.detach()
    if ranks() > 1:
        summed = summed.clone()
        dist.all_reduce(summed)
    return summed


def mean_of_all(figure: Tensor) -> Tensor:
    """Return the mean over processes of ``figure``, through which no gradient flows."""
    return total(figure) / ranks()


def agreed(figure: float) -> float:
    """Return one figure for all, the mean, where each process has measured its own."""
    return float(mean_of_all(torch.tensor(figure, dtype=torch.float64)))


def demand_even(batch: int) -> None:
    """Raise :class:`InputError` for a batch that processes cannot share evenly."""
    if batch % ranks():
        raise InputError(
            f"a batch of {batch} crops cannot be shared evenly by {ranks()} processes; choose a "
            f"multiple of {ranks()} by --batch"
        )


@torch.no_grad()
def follow_first(network: nn.Module) -> None:
    """Give every process the parameters and buffers that the first has, in place.

    For what each computes of the same images on its own: a GPU may round otherwise.
    """
    if ranks() > 1:
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, 0)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Let every process have the sum of all processes' gradients, in place.

    What has no gradient has none in any process, and keeps none: an optimiser passes it over.
    """
    if ranks() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    summed = parameters_to_vector(gradients)
    dist.all_reduce(summed)
    vector_to_parameters(summed, gradients)


def share_batch_norm(network: nn.Module) -> None:
    """Let batch norm go by the batch of all processes, in place; names and tensors stay."""
    if ranks() > 1:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = _SharedBatchNorm2d


def unshare_batch_norm(network: nn.Module) -> None:
    """Undo :func:`share_batch_norm`, in place: for a copy that one process uses on its own."""
    for module in network.modules():
        if isinstance(module, _SharedBatchNorm2d):
            module.__class__ = nn.BatchNorm2d  # type: ignore[assignment]


class _Sum(torch.autograd.Function):
    """The sum over processes; each one's share gets the sum of their gradients."""

    @staticmethod
    def forward(ctx: object, share: Tensor) -> Tensor:  # noqa: ARG004
        return total(share)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return total(gradient)


def _sum(share: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(share)  # type: ignore[no-untyped-call]
    return summed


class _SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over all processes; PyTorch's own (SyncBatchNorm) runs on GPUs only."""

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (N, C, H, W) by mean and variance over all processes' N, and H and W.

        Every process must have the same N. Without gradients nothing is learnt from the images,
        and each process has all of them.
        """
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(images)
        # Sums of many bfloat16 numbers would lose most of them.
        precise = images.to(torch.promote_types(images.dtype, torch.float32))
        count = float(images.numel() // images.shape[1] * ranks())
        mean = _sum(precise.sum(dim=(0, 2, 3))) / count
        centred = precise - mean.view(1, -1, 1, 1)
        variance = _sum(centred.square().sum(dim=(0, 2, 3))) / count
        self._follow(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = self.weight / torch.sqrt(variance + self.eps)
        normalised: Tensor = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normalised.to(images.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum or 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
