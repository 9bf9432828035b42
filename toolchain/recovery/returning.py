"""Filters that an earlier recovery took out and this one keeps, and the other way round."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from toolchain.train.masks import Masks, apply_masks


def give_back(teacher: nn.Module, student: nn.Module, masks: Masks) -> dict[str, int]:
    """Let filters that are all zero in ``student``, and are not to be, begin as the teacher's.

    Both have the same layers; statistics of normalisations come back as well. Returns how many
    filters came back, by layer: of normalisations none is told.
    """
    back = {}
    theirs = dict(teacher.named_modules())
    for name, layer in student.named_modules():
        own = _by_filter(layer)
        if not own:
            continue
        given = _by_filter(theirs[name])
        wanted = _filled(given.values()) & ~_filled(own.values())
        for key in own:
            if f"{name}.{key}" in masks:
                mask = {key: masks[f"{name}.{key}"]}
                wanted &= _filled(_turned(layer, mask).values())
        with torch.no_grad():
            for key, parameter in own.items():
                parameter[wanted] = given[key][wanted].to(parameter.device)
            for key, buffer in layer.named_buffers(recurse=False):
                if buffer.shape == wanted.shape:
                    buffer[wanted] = theirs[name].get_buffer(key)[wanted].to(buffer.device)
        if wanted.any() and own["weight"].ndim > 1:
            back[name] = int(wanted.sum())
    return back


def take_out(student: nn.Module, masks: Masks) -> dict[str, int]:
    """Zero what is masked; return how many filters that were filled went, by layer."""
    gone = {}
    for name, layer in student.named_modules():
        own = _by_filter(layer)
        key = f"{name}.weight"
        if not own or own["weight"].ndim < 2 or key not in masks:
            continue
        stays = _filled(_turned(layer, {"weight": masks[key]}).values())
        if count := int((_filled([own["weight"]]) & ~stays).sum()):
            gone[name] = count
    apply_masks(student, masks)
    return gone


def _by_filter(layer: nn.Module) -> dict[str, Tensor]:
    """Return a layer's own parameters with its filters first; none where they share no axis."""
    found: dict[str, Tensor] = dict(layer.named_parameters(recurse=False))
    if "weight" not in found or (isinstance(layer, _ConvTransposeNd) and layer.groups > 1):
        return {}
    turned = _turned(layer, found)
    return turned if len({len(each) for each in turned.values()}) == 1 else {}


def _turned(layer: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(layer, _ConvTransposeNd):
        return tensors
    return {key: each.transpose(0, 1) if each.ndim > 1 else each for key, each in tensors.items()}


def _filled(tensors: Iterable[Tensor]) -> Tensor:
    """Return which filters of tensors (N, ...) have anything but zeros, (N,) on the CPU."""
    rows = [each.detach().cpu().reshape(len(each), -1).any(dim=1) for each in tensors]
    return torch.stack(rows).any(dim=0)
