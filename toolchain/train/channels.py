"""What a student starts from and is asked for: the teacher's channels, but for what is pruned."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from toolchain.train.teacher_outputs import Call, Seen, Value, hearing, tensors

VARIANCE_FLOOR, SQUARE_FLOOR = 0.01, 1e-3
"""Of a tensor's mean variance and mean square: what hardly varies must not weigh beyond measure."""


@dataclass(frozen=True)
class Channels:
    """What is known beforehand of the channels of what a block is given and gives in one call."""

    given_alive: tuple[Tensor, ...]
    """For each tensor that it is given (1, C, 1, 1): 0 for channels that the student lacks."""
    gave_alive: tuple[Tensor, ...]
    """The same for each tensor that it gives."""
    variance: tuple[Tensor, ...]
    """For each tensor that the teacher's block gives (C,): its variance over many crops."""

    @cached_property
    def asked(self) -> tuple[Tensor, ...]:
        """Return for each tensor that it gives the numbers of the channels that the student has."""
        return tuple(torch.nonzero(alive.flatten()).flatten() for alive in self.gave_alive)


def channels_of(
    teacher: nn.Module, pruned: nn.Module, images: Tensor, names: Sequence[str]
) -> dict[Call, Channels]:
    """Look at the blocks' channels on many crops (N, 3, H, W).

    ``pruned`` has zeros where the student has them: a channel that nothing writes in it is one that
    the student lacks. A block that is called more than once has a channel if any call has it.
    """
    given: dict[str, list[Tensor]] = {}
    gave: dict[str, list[Tensor]] = {}
    variances: dict[Call, list[Tensor]] = {}

    def find_alive(seen: Seen) -> None:
        name, _ = seen.call
        for found, value in ((given, seen.given), (gave, seen.gave)):
            alive = _alive(value)
            found[name] = _either(found.get(name, alive), alive)

    def find_variance(seen: Seen) -> None:
        variances[seen.call] = [_variance(tensor) for tensor in tensors(seen.gave)]

    opened = _opened(pruned)
    with torch.no_grad(), hearing(opened, names, find_alive):
        opened(torch.ones_like(images[:1]))
    with torch.no_grad(), hearing(teacher, names, find_variance):
        teacher(images)
    return {
        call: Channels(tuple(given[call[0]]), tuple(gave[call[0]]), tuple(variance))
        for call, variance in variances.items()
    }


def _opened(network: nn.Module) -> nn.Module:
    """Return a copy in which every weight that is not zero is positive, so that no ReLU closes.

    A teacher that lost filters is damaged: channels that it still has may never be positive again,
    and would seem to be lost too. Filters average, so that nothing grows out of bounds.
    """
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            there = (parameter != 0).to(parameter.dtype)
            if parameter.dim() > 1:
                there /= there.flatten(1).sum(dim=1).clamp(min=1).view(-1, *[1] * (there.dim() - 1))
            parameter.copy_(there)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
    return network


def _alive(value: Value) -> list[Tensor]:
    return [
        (tensor.abs().amax(dim=(0, 2, 3), keepdim=True) > 0).to(tensor.dtype)
        for tensor in tensors(value)
    ]


def _either(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    return [torch.maximum(a, b) for a, b in zip(one, other, strict=True)]


def _variance(tensor: Tensor) -> Tensor:
    return floored(tensor.var(dim=(0, 2, 3)), tensor.square().mean())


def floored(variance: Tensor, square: Tensor) -> Tensor:
    """Return variances of channels (C,), none far below the others'; ``square`` is the mean square
    of all values.
    """
    floor = VARIANCE_FLOOR * variance.mean() + SQUARE_FLOOR * square + 1e-8
    return variance.clamp(min=float(floor))


def start_like(student: nn.Module, teacher: nn.Module, names: Sequence[str]) -> None:
    """Give each block's last batch norm the teacher's scale (its size) and shift, in place.

    Batch norm's shift and scale are the mean and spread of what it gives, so deep blocks start
    near the teacher's; the filters stay random. Heads take over the teacher's biases.
    """
    ours, theirs = dict(student.named_modules()), dict(teacher.named_modules())
    for name in names:
        for inner, module in _last_norms(ours[name]):
            other = theirs[f"{name}.{inner}" if inner else name]
            with torch.no_grad():
                module.weight.copy_(other.weight.abs())
                module.bias.copy_(other.bias)
        if isinstance(ours[name], nn.Conv2d) and ours[name].bias is not None:
            with torch.no_grad():
                ours[name].bias.copy_(theirs[name].bias)


def spread_like(
    layers: Mapping[str, nn.Module], teacher: nn.Module, batches: Sequence[Tensor]
) -> None:
    """Give batch norms the mean and spread of what the teacher's layers give, in place.

    ``layers`` are the student's, by name: those that are pairs of a convolution and its batch norm
    count. The teacher's batch norms are folded; ``batches`` are crops (N, 3, H, W). What never
    varies in the teacher gets a small spread all the same: a scale of nought would never learn.
    """
    pairs = {name: layer[1] for name, layer in layers.items() if isinstance(layer, nn.Sequential)}
    means: dict[str, list[Tensor]] = {name: [] for name in pairs}
    variances: dict[str, list[Tensor]] = {name: [] for name in pairs}

    def note(seen: Seen) -> None:
        (gave,) = tensors(seen.gave)
        means[seen.call[0]].append(gave.mean(dim=(0, 2, 3)))
        variances[seen.call[0]].append(_variance(gave))

    for images in batches:
        with torch.no_grad(), hearing(teacher, list(pairs), note):
            teacher(images)
    for name, norm in pairs.items():
        assert isinstance(norm, nn.BatchNorm2d)
        with torch.no_grad():
            norm.weight.copy_(torch.stack(variances[name]).mean(dim=0).sqrt())
            norm.bias.copy_(torch.stack(means[name]).mean(dim=0))


def _last_norms(block: nn.Module) -> list[tuple[str, nn.BatchNorm2d]]:
    """Return the last batch norm of each chain of layers in a block."""
    last: dict[str, tuple[str, nn.BatchNorm2d]] = {}
    for name, module in block.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            last[name.rpartition(".")[0]] = (name, module)
    return list(last.values())
