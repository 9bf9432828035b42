"""Which layers have a bias that their calls use, or would use one that they were given."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from toolchain.errors import AnalysisError
from toolchain.surgery.flow import watch
from toolchain.surgery.layers import Layer, RecurrentLayer, layers_of
from toolchain.surgery.running import Inputs, fresh

_OWN_FORWARD = {
    kind.forward
    for kind in (
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
    )
}


def layers_with_bias(network: nn.Module, inputs: Inputs) -> frozenset[str]:
    """Return the layers into whose bias something can be added.

    A layer without a bias is given one of zeros, in a copy, and the network runs: only if every
    call passes it on, and nothing else reads it, would it do its work. (Code that calls the
    operator itself often does not.)
    """
    layers = layers_of(network)
    have = {name for name, layer in layers.items() if layer.bias is not None}
    recurrent = {name for name, layer in layers.items() if isinstance(layer, RecurrentLayer)}
    without = layers.keys() - have - recurrent
    ordinary = {name for name in without if type(layers[name].module).forward in _OWN_FORWARD}
    for tried in (without, ordinary):
        used = _would_use(network, inputs, tried)
        if used is not None:
            return frozenset(have | used)
    return frozenset(have)


def _would_use(network: nn.Module, inputs: Inputs, names: Iterable[str]) -> set[str] | None:
    """Return the layers that would use a new bias; None if the network does not run with them."""
    given = fresh(network)
    layers = layers_of(given)
    for name in names:
        layers[name].module.bias = nn.Parameter(_zeros(layers[name]))
    try:
        flow = watch(given, inputs)
    except AnalysisError:
        raise
    except Exception:  # a user's code may raise anything where it meets a bias
        return None
    return {
        name
        for name in names
        if name in flow.calls and not flow.peeked & {f"{name}.weight", f"{name}.bias"}
    }


def _zeros(layer: Layer) -> torch.Tensor:
    return layer.weight.detach().new_zeros(layer.out_channels)
