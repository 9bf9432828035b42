"""What is known beforehand of the channels of what blocks are given and give."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.errors import AnalysisError
from toolchain.recovery.block import Block
from toolchain.recovery.hearing import Arguments, Call, Heard, hearing, maps, run, with_maps
from toolchain.surgery.running import Example, as_inputs
from toolchain.surgery.taint import trace_taint
from toolchain.train.channels import floored


@dataclass(frozen=True)
class Alive:
    """Which channels of a tensor depend on the image in the student."""

    mask: Tensor
    """bool (C,)."""
    constant: Tensor
    """(C,): what the others hold; 0 where the mask is True."""
    dim: int
    """Along which dimension of the tensor they lie."""

    def feed(self, tensor: Tensor) -> Tensor:
        """Return the teacher's tensor with what the student holds where it lacks a channel."""
        if bool(self.mask.all()):
            return tensor
        shape = [-1 if place == self.dim else 1 for place in range(tensor.ndim)]
        mask, constant = (each.to(tensor.device).view(shape) for each in (self.mask, self.constant))
        return torch.where(mask, tensor, constant.to(tensor.dtype))


Lying = tuple[Tensor, int]
"""A tensor, and along which dimension its channels lie."""


@dataclass(frozen=True)
class Known:
    """What is known of one call of a block, for each map that it is given, and that it gives."""

    given: tuple[Alive, ...]
    asked: tuple[Tensor, ...]
    """Numbers of the channels that the student has."""
    variance: tuple[Tensor, ...]
    """(C,): the teacher's, over many inputs; of each map that it gives."""
    dims: tuple[int, ...]
    """Along which dimension of each of these channels lie."""

    def feed(self, given: Arguments) -> Arguments:
        """Return the teacher's arguments as the student's block is given them."""
        return with_maps(given, lambda index, tensor: self.given[index].feed(tensor))

    def errors(self, found: object, wanted: object) -> list[Tensor]:
        """Return the squared error over the teacher's variance, by map and channel (C,)."""
        return [
            ((ours.float() - theirs.float()) ** 2).mean(dim=_but(dim, ours))[asked]
            / variance[asked]
            for ours, theirs, asked, variance, dim in zip(
                maps(found), maps(wanted), self.asked, self.variance, self.dims, strict=True
            )
        ]


def known_of(
    student: nn.Module,
    example: Example,
    teacher: nn.Module,
    inputs: Sequence[Arguments],
    blocks: Sequence[Block],
) -> dict[Call, Known]:
    """Look at the channels of blocks.

    ``student`` is a plain copy of the pruned network on the CPU that ``example`` runs on,
    ``teacher`` the live one that ``inputs`` run on.
    """
    alive = _alive(student, example, blocks)
    variances = _variances(teacher, inputs, blocks)
    found = {}
    for call, variance in variances.items():
        given, gave = alive[call]
        dims = tuple(each.dim for each in gave)
        found[call] = Known(given, _asked(gave, variance), variance, dims)
    return found


def _asked(gave: tuple[Alive, ...], variance: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(
        each.mask.nonzero().flatten().to(like.device)
        for each, like in zip(gave, variance, strict=True)
    )


def _alive(
    student: nn.Module, example: Example, blocks: Sequence[Block]
) -> Mapping[Call, tuple[tuple[Alive, ...], tuple[Alive, ...]]]:
    """Let NaN flow through the student: what is none depends on no image.

    Of a network that cannot be followed so, all channels count.
    """
    found: dict[Call, tuple[list[Lying], list[Lying]]] = {}

    def note(heard: Heard) -> None:
        given, gave = maps(heard.given), maps(heard.gave)
        found[heard.call] = (
            [(x.clone(), dim) for x, dim in zip(given, heard.dims_given, strict=True)],
            [(x.clone(), dim) for x, dim in zip(gave, heard.dims_gave, strict=True)],
        )

    network = copy.deepcopy(student).eval()
    with hearing(network, blocks, note):
        try:
            trace_taint(network, example)
        except (AnalysisError, RuntimeError, ValueError):
            found.clear()
            run(network, (as_inputs(example), {}))
            look = _whole
        else:
            look = _alive_of
    return {
        call: (tuple(look(*each) for each in given), tuple(look(*each) for each in gave))
        for call, (given, gave) in found.items()
    }


def _alive_of(tensor: Tensor, dim: int) -> Alive:
    cells = tensor.movedim(dim, 0).flatten(1)
    mask = cells.isnan().any(dim=1)
    if not mask.any():  # nothing depends on the image, or NaN was lost: ask for all
        return _whole(tensor, dim)
    return Alive(mask, torch.where(mask, 0.0, cells.median(dim=1).values.nan_to_num()), dim)


def _whole(tensor: Tensor, dim: int) -> Alive:
    channels = tensor.shape[dim]
    return Alive(torch.ones(channels, dtype=torch.bool), torch.zeros(channels), dim)


def _variances(
    teacher: nn.Module, inputs: Iterable[Arguments], blocks: Sequence[Block]
) -> dict[Call, tuple[Tensor, ...]]:
    """Return each channel's variance over all inputs (C,), by call and map."""
    found: dict[Call, list[Moments]] = {}

    def note(heard: Heard) -> None:
        tensors = maps(heard.gave)
        moments = found.setdefault(heard.call, [Moments() for _ in tensors])
        for each, tensor, dim in zip(moments, tensors, heard.dims_gave, strict=True):
            each.add(tensor, dim)

    for arguments in inputs:
        with hearing(teacher, blocks, note):
            run(teacher, arguments)
    return {call: tuple(each.variance() for each in several) for call, several in found.items()}


class Moments:
    """Mean and spread of the channels of many tensors."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._square: Tensor | float = 0.0

    def add(self, tensor: Tensor, dim: int = 1) -> None:
        """Take in a tensor, whose channels lie along ``dim``.

        The spread about its own mean is taken in float32; tensors are added up in float64.
        """
        values, others = tensor.detach().float(), _but(dim, tensor)
        count = tensor.numel() // tensor.shape[dim]
        middle = values.mean(dim=others, keepdim=True)
        around = (values - middle).square().mean(dim=others).double()
        mean = middle.flatten().double()
        self._count += count
        self._sum = self._sum + mean * count
        self._square = self._square + (around + mean.square()) * count

    def mean(self) -> Tensor:
        """Return the mean of each channel (C,), in float64."""
        assert isinstance(self._sum, Tensor)
        return self._sum / self._count

    def spread(self) -> Tensor:
        """Return the standard deviation of each channel (C,), in float64."""
        assert isinstance(self._square, Tensor)
        return (self._square / self._count - self.mean() ** 2).clamp(min=0).sqrt()

    def variance(self) -> Tensor:
        """Return the variance of each channel (C,), none far below the others'."""
        assert isinstance(self._square, Tensor)
        square = self._square / self._count
        return floored(self.spread() ** 2, square.mean()).float()


def _but(dim: int, tensor: Tensor) -> list[int]:
    return [place for place in range(tensor.ndim) if place != dim]
