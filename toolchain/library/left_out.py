"""Which layers stay whole, and why, in words."""

from __future__ import annotations

import fnmatch

from torch import nn
from torch.nn.modules.conv import _ConvNd

from toolchain.library.pruner_arguments import PrunerArguments
from toolchain.library.taking import Taken
from toolchain.pruning.prunable import Prunable
from toolchain.report.run.reasons import held_words
from toolchain.surgery.channels import Flow
from toolchain.surgery.layers import layers_of


def left_out(taken: Taken, prunable: Prunable, wanted: PrunerArguments) -> dict[str, str]:
    """Return, by name, why convolutions and linear layers of a network are in no group."""
    grouped = {layer for group in prunable.groups for layer in group.layers}
    own = layers_of(taken.network)
    found = {}
    for name, module in taken.network.named_modules():
        if isinstance(module, _ConvNd | nn.Linear) and name not in grouped:
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted.ignored):
                found[name] = "it is ignored"
            elif name in taken.computed:
                found[name] = "its weight is computed (weight norm or another parametrisation)"
            elif name not in own:
                found[name] = "another layer has its weight too"
            else:
                found[name] = _reason(name, prunable.flow)
    return found


def _reason(name: str, flow: Flow) -> str:
    if name not in flow.calls:
        return "it is not called"
    reasons = filter(None, map(flow.classes.protection, flow.out_nodes[name]))
    reason = next(reasons, None)
    if reason is not None:
        return held_words(reason).removeprefix("must stay: ")
    if name in flow.output_layers:
        return "it makes the output"
    return "it shares its channels with layers that stay"
