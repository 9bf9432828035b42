"""What of a network may be zeroed: found once, by one run of it; chosen among as often as needed.

In scope ``layer`` each layer loses its own filters, so that in a residual stream hardly a
channel is zero in all of its writers, and the constants of batch norm stay. In scope ``group`` a
channel is scored by all filters that write it, and is zeroed in all of them together with its
batch norm's scale and shift: then everything that is zero can be removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from toolchain.models.sizes import Example
from toolchain.pruning.criteria import Scoring, choose_count
from toolchain.pruning.groups import ChannelGroup, groups_of, layers_apart
from toolchain.recipe import Criterion, Scope
from toolchain.surgery.balance import surplus_of
from toolchain.surgery.channels import Flow
from toolchain.surgery.flow import trace_flow
from toolchain.surgery.following import counted
from toolchain.surgery.layers import Layer, layers_of
from toolchain.system.steps import step

Chosen = Mapping[str, Sequence[int]]
"""By group, which of its filters go."""

Masks = Mapping[str, Tensor]
"""By parameter's name, bool: True for what may live, False for what is zeroed."""

Shifts = Mapping[int, Sequence[tuple[str, int]]]
"""Class of channels -> the batch norms (and instance and group norms) that they pass, by name, and
the channel there."""


@dataclass(frozen=True)
class Prunable:
    """A network's groups of filters, and what is zeroed with each; true while its layers stay.

    The weights may change, and copies of the network have the same.
    """

    flow: Flow
    scope: Scope
    groups: tuple[ChannelGroup, ...]
    shifts: Shifts = field(default_factory=dict)

    @classmethod
    def of(
        cls, network: nn.Module, example: Tensor | Example, scope: Scope, protected: Sequence[str]
    ) -> Prunable:
        """Run a copy of ``network``, in eval mode, on ``example`` and return what may be zeroed.

        ``protected`` are shell patterns of layers that stay whole. Raises :class:`AnalysisError`
        where the network does what cannot be followed.
        """
        flow = trace_flow(network, example)
        if scope == "layer":
            return cls(flow, scope, layers_apart(network, flow, protected))
        groups = groups_of(network, flow, protected)
        return cls(flow, scope, groups, shifts_of(network, flow))

    def choose(
        self,
        network: nn.Module,
        counts: Mapping[str, int],
        criterion: Criterion | Scoring,
        *,
        zeros_first: bool = False,
    ) -> dict[str, list[int]]:
        """Return which ``counts`` filters of each group go, by ``network``'s weights as they are.

        Groups that lose none are left out. With ``zeros_first`` filters that are zero already are
        chosen before all others. In scope ``group``, fewer are chosen where the code divides
        channels into parts of one width that would not lose as many, or picks only what would go.
        """
        layers = layers_of(network)
        chosen: dict[str, list[int]] = {}
        for group in self.groups:
            if count := counts.get(group.name):
                step(f"filters of {group.name}")
                filters = group.filters(layers)
                chosen[group.name] = choose_count(
                    filters, count, criterion, zeros_first=zeros_first
                )
        return self._evenly(chosen) if self.scope == "group" else chosen

    def _evenly(self, chosen: Chosen) -> dict[str, list[int]]:
        """Leave out of what is chosen what could not go: parts must lose equally many."""
        class_of = {
            (group.name, index): self._class_of(group, index)
            for group in self._chosen(chosen)
            for index in chosen[group.name]
        }
        going = set(class_of.values())
        while staying := surplus_of(self.flow, going).keys() | self._last(going):
            going -= staying
        left = {
            name: [index for index in indices if class_of[name, index] in going]
            for name, indices in chosen.items()
        }
        return {name: indices for name, indices in left.items() if indices}

    def _last(self, going: Collection[int]) -> set[int]:
        """Return one class of each part that would be empty: code picks or cuts it."""
        find = self.flow.classes.find
        parts = [[find(node) for node in nodes] for _, nodes in counted(self.flow)]
        return {owners[0] for owners in parts if all(owner in going for owner in owners)}

    def _class_of(self, group: ChannelGroup, index: int) -> int:
        name, channel = group.channels[index][0]
        return self.flow.classes.find(self.flow.out_nodes[name][channel])

    def zero(self, network: nn.Module, chosen: Chosen) -> None:
        """Zero what is chosen in ``network``, in place."""
        layers = layers_of(network)
        for group in self._chosen(chosen):
            touched_by(self.flow, group, chosen[group.name], self.shifts).zero(network, layers)

    def masks(self, network: nn.Module, chosen: Chosen) -> dict[str, Tensor]:
        """Return the masks of what is chosen, for all parameters of ``network``."""
        layers = layers_of(network)
        masks = {
            name: torch.ones_like(parameter, dtype=torch.bool)
            for name, parameter in network.named_parameters()
        }
        for group in self._chosen(chosen):
            touched_by(self.flow, group, chosen[group.name], self.shifts).mask(masks, layers)
        return masks

    def _chosen(self, chosen: Chosen) -> Iterator[ChannelGroup]:
        return (group for group in self.groups if chosen.get(group.name))


@dataclass(frozen=True)
class Touched:
    """What is zeroed with some channels of a group."""

    filters: Mapping[str, Sequence[int]]
    """Layer -> its filters that are zeroed."""
    norms: Mapping[str, Sequence[int]]
    """By batch norm, the channels of its scale and shift."""

    def zero(self, network: nn.Module, layers: Mapping[str, Layer]) -> None:
        """Zero it in ``network``, in place; ``layers`` are those of it."""
        for name, channels in self.filters.items():
            layers[name].zero(channels)
        with torch.no_grad():
            for norm, places in self.norms.items():
                for parameter in network.get_submodule(norm).parameters(recurse=False):
                    parameter[list(places)] = 0.0

    def mask(self, masks: Masks, layers: Mapping[str, Layer]) -> None:
        """Say in ``masks``, in place, that it is zeroed."""
        for name, channels in self.filters.items():
            prefix = f"{name}." if name else ""
            layers[name].fill(masks[f"{prefix}weight"], channels, False)
            if f"{prefix}bias" in masks:
                masks[f"{prefix}bias"][list(channels)] = False
        for norm, places in self.norms.items():
            for key in (f"{norm}.weight", f"{norm}.bias"):
                if key in masks:
                    masks[key][list(places)] = False


def touched_by(flow: Flow, group: ChannelGroup, indices: Iterable[int], shifts: Shifts) -> Touched:
    """Return what is zeroed with some channels of a group: all that writes them, and ``shifts``."""
    filters: dict[str, list[int]] = {}
    norms: dict[str, list[int]] = {}
    for index in indices:
        for name, channel in group.channels[index]:
            filters.setdefault(name, []).append(channel)
        name, channel = group.channels[index][0]
        for norm, place in shifts.get(flow.classes.find(flow.out_nodes[name][channel]), ()):
            norms.setdefault(norm, []).append(place)
    return Touched(filters, norms)


def shifts_of(network: nn.Module, flow: Flow) -> Shifts:
    """Return which norms each class of channels passes that scale and shift channel by channel.

    Of a group norm the group of a channel goes whole: its channels are one class.
    """
    found: dict[int, dict[tuple[str, int], None]] = {}
    for name, nodes in flow.tensor_nodes.items():
        owner = name.rpartition(".")[0]
        if isinstance(network.get_submodule(owner), _NormBase | nn.GroupNorm):
            for channel, node in enumerate(nodes):
                found.setdefault(flow.classes.find(node), {})[owner, channel] = None
    return {index: tuple(places) for index, places in found.items()}


def zero_channels(
    network: nn.Module, flow: Flow, group: ChannelGroup, indices: Iterable[int]
) -> None:
    """Zero channels of one group in all that writes them, batch norm's scale and shift too."""
    shifts = shifts_of(network, flow)
    touched_by(flow, group, indices, shifts).zero(network, layers_of(network))


def zeroed_share(masks: Masks) -> float:
    """Return the share of all parameters that is masked."""
    total = sum(mask.numel() for mask in masks.values())
    return sum(int((~mask).sum()) for mask in masks.values()) / total


def apply_masks(network: nn.Module, masks: Masks) -> None:
    """Zero what is masked, in place; parameters without a mask stay as they are."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in masks:
                parameter.masked_fill_(~masks[name], 0.0)
