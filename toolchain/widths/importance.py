"""What widths lose of a network: how much its outputs on photos still go with those of before."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolchain.check.parity import run_network
from toolchain.prune.criteria import ranked
from toolchain.prune.groups import ChannelGroup
from toolchain.prune.zeroing import zero_channels
from toolchain.recipe import AnchorSection, Criterion
from toolchain.shrink.channels import Flow
from toolchain.shrink.layers import layers_of

IMAGES = 8
"""That are enough to see what widths lose."""
LEAST_EXPLAINED = 1e-3
"""Stands for less: what is destroyed is destroyed."""


@dataclass(frozen=True)
class Importance:
    """What widths lose, by group and width, as far as it was looked at."""

    lost_by: Mapping[str, Mapping[int, float]]
    """-log(share of the outputs' variance that is explained) with this group alone narrowed."""

    def lost(self, group: str, width: int) -> float:
        """Return what a group loses; between two widths, what the narrower one does."""
        losses = self.lost_by[group]
        return losses[max((each for each in losses if each <= width), default=min(losses))]

    def loss(self, widths: Mapping[str, int]) -> float:
        """Return the sum over groups: what is in series multiplies. Those not named are whole."""
        return sum(self.lost(group, width) for group, width in widths.items())

    def kept(self, group: str, width: int) -> float:
        """Return the share that is explained."""
        return math.exp(-self.lost(group, width))


def measure_importance(
    network: nn.Module,
    flow: Flow,
    groups: Sequence[ChannelGroup],
    criterion: Criterion,
    images: Sequence[Tensor],
    parts: Callable[[NDArray[np.floating]], Sequence[NDArray[np.floating]]],
    widths: Mapping[str, Sequence[int]],
    on_stage: Callable[[str], None],
) -> Importance:
    """Zero each group's filters down to each width, as pruning would, and compare the outputs.

    ``network`` has its raw weights; ``images`` are (1, C, H, W); ``parts`` cuts an output (N, ...)
    into what is compared on its own, see :func:`by_level`. A narrower width never loses less.
    """
    whole = _outputs(network, images, parts)
    found: dict[str, dict[int, float]] = {}
    for number, group in enumerate(groups):
        on_stage(f"look at what widths lose, {number} of {len(groups)} groups")
        losses: dict[int, float] = {}
        for width, narrowed in _narrowed(network, flow, group, criterion, widths[group.name]):
            lost = _lost(_outputs(narrowed, images, parts), whole)
            losses[width] = max([lost, *losses.values()])
        found[group.name] = {group.width: 0.0, **losses}
    return Importance(found)


def _narrowed(
    network: nn.Module,
    flow: Flow,
    group: ChannelGroup,
    criterion: Criterion,
    widths: Sequence[int],
) -> Iterator[tuple[int, nn.Module]]:
    """Yield the network with so many filters of a group left, the widest first."""
    narrowed = copy.deepcopy(network).eval()
    order, gone = ranked(group.filters(layers_of(network)), criterion), 0
    for width in sorted(set(widths) - {group.width}, reverse=True):
        zero_channels(narrowed, flow, group, order[gone : group.width - width])
        gone = group.width - width
        yield width, narrowed


def by_level(
    anchors: AnchorSection | None, height: int, width: int
) -> Callable[[NDArray[np.floating]], Sequence[NDArray[np.floating]]]:
    """Return what cuts an output (N, anchors, ...) into levels; any other stays in one piece."""
    strides = anchors.strides if anchors else ()
    cells = [math.ceil(height / stride) * math.ceil(width / stride) for stride in strides]

    def cut(output: NDArray[np.floating]) -> Sequence[NDArray[np.floating]]:
        if output.ndim < 3 or output.shape[1] != sum(cells):
            return [output]
        return np.split(output, np.cumsum(cells)[:-1], axis=1)

    return cut


def _outputs(
    network: nn.Module,
    images: Sequence[Tensor],
    parts: Callable[[NDArray[np.floating]], Sequence[NDArray[np.floating]]],
) -> list[NDArray[np.float64]]:
    """Return the parts of all outputs over all images, as (positions, channels), means taken off.

    Channels are along the last axis of what anchors predict, else along the second.
    """
    with torch.no_grad():
        ran = [run_network(network)(image) for image in images]
    found = []
    for outputs in zip(*ran, strict=True):
        for part in parts(np.concatenate(outputs).astype(np.float64)):
            rows = part if part.ndim <= 3 else np.moveaxis(part, 1, -1)
            flat = rows.reshape(-1, rows.shape[-1])
            found.append(flat - flat.mean(axis=0))
    return found


def _lost(found: Sequence[NDArray[np.float64]], whole: Sequence[NDArray[np.float64]]) -> float:
    """Return what parts lose, each -log(squared correlation); what goes against it explains none.

    Their quadratic mean: no level is given up for the others. A part that does not vary has nothing
    to lose.
    """
    losses = []
    for part, before in zip(found, whole, strict=True):
        spread = float((before**2).sum())
        if spread > 0:
            together, own = max(0.0, float((part * before).sum())), float((part**2).sum())
            explained = together**2 / (own * spread) if own > 0 else 0.0
            losses.append(-math.log(min(1.0, max(explained, LEAST_EXPLAINED))))
    return math.sqrt(sum(lost**2 for lost in losses) / len(losses)) if losses else 0.0


def spread(images: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return at most :data:`IMAGES` of them, evenly."""
    indices = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().astype(int)
    return tuple(images[index] for index in indices)
