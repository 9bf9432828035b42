"""The surgery: remove every channel that does not depend on the image, and lose nothing.

Each round looks at the network (:mod:`~toolchain.shrink.observation`), decides what can go
(:mod:`~toolchain.shrink.decision`), lets the readers' weights take over the constants, and slices
channels away, until a round finds nothing more. The result is proved by the caller, by
:func:`toolchain.check.parity.compare_networks`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from toolchain.errors import AnalysisError
from toolchain.records import Surgery
from toolchain.shrink.constants import Combination
from toolchain.shrink.decision import Decision, decide, reason_to_keep, verdict_of
from toolchain.shrink.layers import Layer, layers_of
from toolchain.shrink.observation import Observation, observe
from toolchain.shrink.verdicts import Ledger, Origins

MAX_ROUNDS = 50


def shrink(network: nn.Module, example: Tensor) -> tuple[nn.Module, Surgery]:
    """Return a smaller network of the same outputs, and what was done.

    ``network`` is not changed; ``example`` is an input (N, C, H, W), used for its shape. Raises
    :class:`AnalysisError` where the network does what the analysis cannot follow.
    """
    network = copy.deepcopy(network).eval()
    layers = layers_of(network)
    ledger = Ledger.open(layers)
    for rounds in range(1, MAX_ROUNDS + 1):
        seen = observe(network, example)
        decision = decide(seen)
        if not decision.removed:
            _enter_kept(ledger, seen, decision)
            return network, Surgery(
                rounds=rounds,
                filters=ledger.filters(),
                layers=ledger.layers(layers_of(network)),
                removed_live_filters=ledger.removed_live,
                without_torch_pruning=seen.flow.second_opinion,
            )
        seen.check()
        _enter_removed(ledger, decision)
        _take_over_constants(seen, decision)
        _slice(network, seen, decision, ledger.origins)
    raise AnalysisError(f"the surgery found more to remove after {MAX_ROUNDS} rounds")


def _enter_removed(ledger: Ledger, decision: Decision) -> None:
    for index in sorted(decision.removed):
        members = decision.classes[index]
        verdict, reason = verdict_of(decision, members, ledger.origins)
        for name, channel in members.writes:
            ledger.remove(name, ledger.origins.output(name, channel), verdict, reason)


def _enter_kept(ledger: Ledger, seen: Observation, decision: Decision) -> None:
    for name, zeroed in ledger.zeroed.items():
        for original in zeroed:
            if (name, original) not in ledger.verdicts:
                channel = ledger.origins.now(name, original)
                ledger.keep(name, original, reason_to_keep(seen, decision, name, channel))


def _take_over_constants(seen: Observation, decision: Decision) -> None:
    """Let every reader's bias and weights take over the channels that go."""
    for name, combinations in decision.plan.combinations.items():
        node_of = seen.flow.in_nodes[name]
        going = {
            channel: combination
            for channel, combination in combinations.items()
            if seen.flow.classes.find(node_of[channel]) in decision.removed
        }
        if going:
            _rewrite(seen.layers[name], going)


def _rewrite(layer: Layer, going: dict[int, Combination]) -> None:
    """``bias += beta * sum of W[:, j]`` and ``W[:, b] += alpha_b * W[:, j]``, in float64."""
    with torch.no_grad():
        columns = layer.columns().double()  # (in, out, kernel...)
        added = torch.zeros_like(columns)
        shift = torch.zeros(layer.out_channels, dtype=torch.float64)
        for channel, combination in going.items():
            column = columns[channel]
            shift += combination.beta * column.reshape(len(column), -1).sum(dim=1)
            for carrier, alpha in combination.alphas.items():
                added[carrier] += alpha * column
        layer.columns().copy_(columns + added)
        if bool((shift != 0).any()):
            _add_to_bias(layer, shift)


def _add_to_bias(layer: Layer, shift: Tensor) -> None:
    if layer.bias is None:
        layer.module.bias = nn.Parameter(
            shift.to(layer.weight), requires_grad=layer.weight.requires_grad
        )
    else:
        layer.bias.copy_(layer.bias.double() + shift)


def _slice(network: nn.Module, seen: Observation, decision: Decision, origins: Origins) -> None:
    """Cut the channels of all removed classes out of every layer and tensor."""

    def kept(nodes: list[int]) -> list[int]:
        find, removed = seen.flow.classes.find, decision.removed
        return [channel for channel, node in enumerate(nodes) if find(node) not in removed]

    for name, layer in seen.layers.items():
        left = kept(seen.flow.out_nodes[name]), kept(seen.flow.in_nodes[name])
        layer.narrow(*left)
        origins.narrow(name, *left)
    for name, nodes in seen.flow.tensor_nodes.items():
        narrow_tensor(network, name, kept(nodes))


def narrow_tensor(network: nn.Module, name: str, kept: list[int]) -> None:
    """Keep some entries of a parameter or buffer that has one entry per channel.

    ``name`` is its dotted name; every module that shares it gets the new one, and width
    attributes (``num_features``, ``num_parameters``) follow.
    """
    owner_name, _, attribute = name.rpartition(".")
    old = getattr(network.get_submodule(owner_name), attribute)
    axis = max(range(old.ndim), key=lambda dim: old.shape[dim])
    data = old.detach().index_select(axis, torch.as_tensor(kept))
    new = (
        nn.Parameter(data, requires_grad=old.requires_grad)
        if isinstance(old, nn.Parameter)
        else data
    )
    for module in network.modules():
        for store in (module._parameters, module._buffers):
            for key, value in store.items():
                if value is old:
                    store[key] = new
                    _set_width(module, len(kept))


def _set_width(module: nn.Module, width: int) -> None:
    for attribute in ("num_features", "num_parameters"):
        if hasattr(module, attribute):
            setattr(module, attribute, width)
