"""What widths lose of a network: how much its outputs on photos still go with those of before."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolchain.checking.parity import run_network
from toolchain.pruning.criteria import ranked
from toolchain.pruning.groups import ChannelGroup
from toolchain.pruning.prunable import zero_channels
from toolchain.recipe import AnchorSection, Criterion
from toolchain.surgery.channels import Flow
from toolchain.surgery.layers import layers_of
from toolchain.widths.ranking import Part, order_by_outputs

IMAGES = 8
"""That are enough to see what widths lose."""
FACE = 1
"""Of the two scores of an anchor, that of a face."""
LEAST_EXPLAINED = 1e-3
"""Stands for less: what is destroyed is destroyed."""


Ranking = Criterion | Literal["outputs"]
"""How filters of a group are ranked: by their weights, or by what the outputs lose."""


@dataclass(frozen=True)
class Levels:
    """How outputs are cut into the levels of their anchors, and what each of these weighs."""

    cells: tuple[int, ...] = ()
    """Anchors of each level; none: outputs stay in one piece."""
    weights: tuple[float, ...] = ()
    """Of each level, adding up to 1."""

    def of(self, output: NDArray[np.float64]) -> list[tuple[float, NDArray[np.float64]]]:
        """Return the levels of (N, anchors, ...) with their weights; any other is one piece."""
        if output.ndim < 3 or output.shape[1] != sum(self.cells):
            return [(1.0, output)]
        return list(zip(self.weights, self.cut(output, axis=1), strict=True))

    def cut(self, values: NDArray[Any], axis: int) -> list[NDArray[Any]]:
        """Return the levels along an axis of anchors."""
        return np.split(values, np.cumsum(self.cells)[:-1], axis=axis)


@dataclass(frozen=True)
class Importance:
    """What widths lose, by group and width, as far as it was looked at."""

    sensitivity_by: Mapping[str, Mapping[int, float]]
    """-log(share of the outputs' variance that is explained) with this group alone narrowed."""
    orders: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The filters of each group, the first to go first."""

    def pruned_channels(self, group: str, width: int) -> list[int]:
        """Return which filters of a group go at a width, in rising order."""
        order = self.orders[group]
        return sorted(order[: len(order) - width])

    def sensitivity(self, group: str, width: int) -> float:
        """Return what a group loses; between two widths, what the narrower one does."""
        losses = self.sensitivity_by[group]
        return losses[max((each for each in losses if each <= width), default=min(losses))]

    def loss(self, widths: Mapping[str, int]) -> float:
        """Return the sum over groups: what is in series multiplies. Those not named are whole."""
        return sum(self.sensitivity(group, width) for group, width in widths.items())

    def kept(self, group: str, width: int) -> float:
        """Return the share that is explained."""
        return math.exp(-self.sensitivity(group, width))


def measure_importance(
    network: nn.Module,
    flow: Flow,
    groups: Sequence[ChannelGroup],
    ranking: Ranking,
    images: Sequence[Tensor],
    levels: Levels,
    widths: Mapping[str, Sequence[int]],
    on_stage: Callable[[str], None],
) -> Importance:
    """Zero each group's filters down to each width, as pruning would, and compare the outputs.

    ``network`` has its raw weights; ``images`` are (1, C, H, W); each of ``levels`` is compared on
    its own. A narrower width never loses less. What is zero already goes first.
    """
    whole = _outputs(network, images, levels)
    found: dict[str, dict[int, float]] = {}
    orders: dict[str, Sequence[int]] = {}
    for number, group in enumerate(groups):
        on_stage(f"look at what widths lose, {number} of {len(groups)} groups")

        def without(index: int, group: ChannelGroup = group) -> list[Part]:
            return _outputs(_zeroed(network, flow, group, [index]), images, levels)

        if ranking == "outputs":
            order = order_by_outputs(whole, without, group.width)
        else:
            order = ranked(group.filters(layers_of(network)), ranking, zeros_first=True)
        losses: dict[int, float] = {}
        for width, narrowed in _narrowed(network, flow, group, order, widths[group.name]):
            sensitivity = _sensitivity(_outputs(narrowed, images, levels), whole)
            losses[width] = max([sensitivity, *losses.values()])
        found[group.name] = {group.width: 0.0, **losses}
        orders[group.name] = order
    return Importance(found, orders)


def _zeroed(
    network: nn.Module, flow: Flow, group: ChannelGroup, indices: Sequence[int]
) -> nn.Module:
    """Return a copy without some filters of a group."""
    narrowed = copy.deepcopy(network).eval()
    zero_channels(narrowed, flow, group, indices)
    return narrowed


def _narrowed(
    network: nn.Module,
    flow: Flow,
    group: ChannelGroup,
    order: Sequence[int],
    widths: Sequence[int],
) -> Iterator[tuple[int, nn.Module]]:
    """Yield the network with so many filters of a group left, the widest first."""
    narrowed = copy.deepcopy(network).eval()
    gone = 0
    for width in sorted(set(widths) - {group.width}, reverse=True):
        zero_channels(narrowed, flow, group, order[gone : group.width - width])
        gone = group.width - width
        yield width, narrowed


def levels_of(anchors: AnchorSection | None, height: int, width: int) -> Levels:
    """Return the levels that anchors have at an input's size, of equal weight."""
    strides = anchors.strides if anchors else ()
    cells = [math.ceil(height / stride) * math.ceil(width / stride) for stride in strides]
    return Levels(tuple(cells), tuple(1 / len(cells) for _ in cells))


def weighed(levels: Levels, network: nn.Module, images: Sequence[Tensor]) -> Levels:
    """Weigh each level half by its share of the anchors that ``network`` takes for a face.

    Every image (1, C, H, W) counts alike, however many faces it shows; the other half is shared
    evenly, so no level is given up. Where nothing is found, all of it is.
    """
    shares = []
    with torch.no_grad():
        for image in images:
            for output in run_network(network)(image):
                if output.shape[1:] == (sum(levels.cells), FACE + 1):
                    face = output[0, :, FACE] > output[0, :, 1 - FACE]
                    found = [int(part.sum()) for part in levels.cut(face, axis=0)]
                    shares += [np.array(found) / sum(found)] if sum(found) else []
    if not shares:
        return levels
    mean = np.mean(shares, axis=0)
    mixed = [(share + even) / 2 for share, even in zip(mean, levels.weights, strict=True)]
    return Levels(levels.cells, tuple(float(weight) for weight in mixed))


def _outputs(network: nn.Module, images: Sequence[Tensor], levels: Levels) -> list[Part]:
    """Return the parts of all outputs over all images.

    Channels are along the last axis of what anchors predict, else along the second.
    """
    with torch.no_grad():
        ran = [run_network(network)(image) for image in images]
    found = []
    for outputs in zip(*ran, strict=True):
        for weight, part in levels.of(np.concatenate(outputs).astype(np.float64)):
            rows = part if part.ndim <= 3 else np.moveaxis(part, 1, -1)
            flat = rows.reshape(-1, rows.shape[-1])
            found.append((weight, flat - flat.mean(axis=0)))
    return found


def _sensitivity(found: Sequence[Part], whole: Sequence[Part]) -> float:
    """Return what parts lose, each -log(squared correlation); what goes against it explains none.

    Their mean by weight. A part that does not vary has nothing to lose.
    """
    losses, weights = [], []
    for (weight, before), (_, part) in zip(whole, found, strict=True):
        spread = float((before**2).sum())
        if spread > 0:
            together, own = max(0.0, float((part * before).sum())), float((part**2).sum())
            explained = together**2 / (own * spread) if own > 0 else 0.0
            losses.append(-math.log(min(1.0, max(explained, LEAST_EXPLAINED))))
            weights.append(weight)
    return float(np.average(losses, weights=weights)) if losses else 0.0


def spread(images: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return at most :data:`IMAGES` of them, evenly."""
    indices = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().astype(int)
    return tuple(images[index] for index in indices)
