"""The smaller network as the caller's own was: its class, mode, types and device."""

from __future__ import annotations

import torch
from torch import nn

from toolchain.library.taking import copied, live_modules, unwrapped
from toolchain.models.rewriting import is_rewritten
from toolchain.surgery.running import fresh


def handed_back(small: nn.Module, network: nn.Module) -> nn.Module:
    """Return a copy of ``small`` that is called as ``network`` is, and is where ``network`` is."""
    back = fresh(small)
    own = back.__dict__.pop("_own_forward", None)
    plain = copied(network)
    originals = dict(plain.named_modules())
    live = dict(live_modules(network))
    for name, module in back.named_modules():
        original = originals.get(name)
        if original is None:
            continue
        # Not where computed weights became plain ones, nor where its forward is another one.
        if isinstance(module, type(original)) and not is_rewritten(module):
            module.__class__ = type(original)
        module.training = live[name].training if name in live else network.training
        _take_types(module, original)
    if own is not None:
        back.__dict__["forward"] = own
    device = next((each.device for each in unwrapped(network).parameters()), torch.device("cpu"))
    return back.to(device)


def _take_types(module: nn.Module, original: nn.Module) -> None:
    """Give tensors the types, and parameters the ``requires_grad``, that they had."""
    weight = original._parameters.get("weight")
    for name, parameter in module._parameters.items():
        before = original._parameters.get(name)
        like = before if before is not None else weight
        if parameter is not None and like is not None:
            parameter.data = parameter.data.to(like.dtype)
            parameter.requires_grad_(like.requires_grad)
    for name, buffer in module._buffers.items():
        before_buffer = original._buffers.get(name)
        if buffer is not None and before_buffer is not None:
            module._buffers[name] = buffer.to(before_buffer.dtype)
