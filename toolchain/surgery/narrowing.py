"""Cutting layers, and tensors with one entry per channel; giving a network its own types back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from toolchain.models.numbers import CHANGED, take_changes
from toolchain.surgery.running import fresh

WIDTHS = frozenset(
    "groups in_channels out_channels in_features out_features num_features num_parameters "
    "num_channels num_groups input_size hidden_size".split()
)
"""Attributes that say how wide a module is."""


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
    if isinstance(module, nn.GroupNorm):  # whole groups go
        module.num_groups = module.num_groups * width // module.num_channels
        module.num_channels = width
    for attribute in ("num_features", "num_parameters"):
        if hasattr(module, attribute):
            setattr(module, attribute, width)


def in_own_types(cut: nn.Module, whole: nn.Module) -> nn.Module:
    """Return a copy of ``whole`` with the tensors and widths of ``cut``, in the types of ``whole``.

    A bias that the surgery added has the type of its layer's weight.
    """
    network = fresh(whole)
    made: dict[int, Tensor] = {}
    for target, source in zip(network.modules(), cut.modules(), strict=True):
        for name, parameter in source._parameters.items():
            if parameter is not None:
                old = target._parameters.get(name)
                like = old if old is not None else target._parameters["weight"]
                assert like is not None
                target._parameters[name] = _parameter(made, parameter, like.dtype)
        for name, buffer in source._buffers.items():
            before = target._buffers.get(name)
            if buffer is not None and before is not None:
                new = made.setdefault(id(buffer), buffer.to(before.dtype, copy=True))
                target._buffers[name] = new
        for name in WIDTHS & vars(source).keys():
            setattr(target, name, vars(source)[name])
        if CHANGED in vars(source):
            take_changes(target, vars(source)[CHANGED])
    return network


def _parameter(made: dict[int, Tensor], source: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
    if id(source) not in made:
        data = source.detach().to(dtype, copy=True)
        made[id(source)] = nn.Parameter(data, requires_grad=source.requires_grad)
    new = made[id(source)]
    assert isinstance(new, nn.Parameter)
    return new


def narrow_layer(module: nn.Module, weight: Tensor, kept_out: Sequence[int]) -> None:
    """Give ``module`` a new ``weight`` and the kept part of its bias."""
    old = cast(nn.Parameter, module.weight)
    requires_grad = old.requires_grad
    if old.ndim == 4 and not old.is_contiguous():  # channels last, of a network that is so
        weight = weight.contiguous(memory_format=torch.channels_last)
    module.weight = nn.Parameter(weight.clone(), requires_grad=requires_grad)
    if module.bias is not None:
        bias = cast(Tensor, module.bias).detach()[torch.as_tensor(kept_out)]
        module.bias = nn.Parameter(bias.clone(), requires_grad=requires_grad)


def set_widths(module: nn.Module, out_width: int, in_width: int) -> None:
    """Set the width attributes of a convolution or linear layer."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = out_width, in_width
    else:
        convolution = cast(_ConvNd, module)
        convolution.out_channels, convolution.in_channels = out_width, in_width
