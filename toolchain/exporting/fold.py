"""Batch norm folded into the convolution before it, once for all calls of a shared block.

An exporter that folds per call writes a shared convolution's weights once per call; EXTD calls
the same blocks six times. So the fold is done on the modules, where a pair belongs together in
every call: the batch norm reads nothing but that convolution, and nothing else reads the
convolution.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from toolchain.models.sizes import Example, as_example
from toolchain.models.watching import OperatorMode
from toolchain.operators import find, operator_name
from toolchain.surgery.layers import Layer, layers_of, storage_key


def fold_batch_norm(network: nn.Module, example: Tensor | Example) -> nn.Module:
    """Return a copy of ``network`` with its batch norms folded where that is exact.

    ``example`` is an input (N, C, H, W), or all tensors that the network is called with. The
    arithmetic is done in float64.
    """
    network = copy.deepcopy(network).eval()
    for layer, norm in paired_norms(network, example):
        _fold(layer, norm)
        _replace(network, norm, nn.Identity())
    return network


def paired_norms(network: nn.Module, example: Tensor | Example) -> list[tuple[Layer, _BatchNorm]]:
    """Return every convolution and batch norm of ``network``, in eval mode, that belong together.

    ``example`` is as in :func:`fold_batch_norm`. A copy is run, for it may change while it runs.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return []  # spares the run
    copied = copy.deepcopy(network)
    watcher = _PairWatcher(copied)
    with watcher, torch.no_grad():
        outputs = copied(*as_example(example))
    watcher.close(outputs)
    layers, modules = layers_of(network), dict(network.named_modules())
    names = {module: name for name, module in copied.named_modules()}
    found = [(layers[layer.name], modules[names[norm]]) for layer, norm in watcher.pairs()]
    return [(layer, norm) for layer, norm in found if isinstance(norm, _BatchNorm)]


class _PairWatcher(OperatorMode):
    """Notes which operators read each convolution's output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.layers = {
            storage_key(layer.weight): layer
            for layer in layers_of(network).values()
            if layer.is_convolution
        }
        self.norms = {
            storage_key(module.running_mean): module
            for module in network.modules()
            if isinstance(module, _BatchNorm)
            and module.running_mean is not None
            and type(module).forward is _BatchNorm.forward  # some subclasses activate as well
        }
        self.calls: Counter[nn.Module] = Counter()
        self.hooks = [
            module.register_forward_hook(lambda module, *_: self.calls.update([module]))
            for module in [*self.norms.values(), *(layer.module for layer in self.layers.values())]
        ]
        self.outputs: dict[int, tuple[Tensor, Layer]] = {}
        self.readers: dict[str, list[_BatchNorm | None]] = {}
        self.sources: dict[_BatchNorm, list[Layer | None]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        kind = find(operator_name(func)).layer
        norm = None
        if kind == "batch_norm":
            norm = self.norms.get(storage_key(args[3])) if isinstance(args[3], Tensor) else None
            if norm is not None:
                self.calls.subtract([norm])
                _, source = self.outputs.get(id(args[0]), (None, None))
                self.sources.setdefault(norm, []).append(source)
        convolves = kind == "convolution" and storage_key(args[1]) in self.layers
        for leaf in tree_leaves((args, kwargs)):
            self._read(leaf, norm, weights=not convolves or leaf is not args[1])
        if convolves:
            layer = self.layers[storage_key(args[1])]
            self.calls.subtract([layer.module])
            self.outputs[id(out)] = (out, layer)
        return out

    def _read(self, leaf: object, norm: _BatchNorm | None, *, weights: bool = False) -> None:
        if id(leaf) in self.outputs:
            self.readers.setdefault(self.outputs[id(leaf)][1].name, []).append(norm)
        elif weights and isinstance(leaf, Tensor) and storage_key(leaf) in self.layers:
            self.readers.setdefault(self.layers[storage_key(leaf)].name, []).append(None)

    def close(self, outputs: object) -> None:
        """End the run: what the network returns is read by its caller."""
        for leaf in tree_leaves(outputs):
            self._read(leaf, None)
        for hook in self.hooks:
            hook.remove()

    def pairs(self) -> list[tuple[Layer, _BatchNorm]]:
        """Return every convolution and batch norm that belong together in all calls."""
        found = []
        for norm, sources in self.sources.items():
            layer = sources[0]
            if layer is None or any(source is not layer for source in sources):
                continue
            as_modules = self.calls[norm] == 0 and self.calls[layer.module] == 0
            if as_modules and all(reader is norm for reader in self.readers[layer.name]):
                found.append((layer, norm))
        return found


def _fold(layer: Layer, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution = layer.module
    assert isinstance(convolution, _ConvNd)
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    bias = -norm.running_mean.double() * scale
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    if convolution.bias is not None:
        bias = bias + convolution.bias.double() * scale
    weight = convolution.weight.double() * _along_filters(layer, scale)
    dtype = convolution.weight.dtype
    convolution.weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    convolution.bias = nn.Parameter(bias.detach().to(dtype), requires_grad=False)


def _along_filters(layer: Layer, scale: Tensor) -> Tensor:
    """Shape one value per filter so that it multiplies the layer's weight."""
    kernel = [1] * (layer.weight.ndim - 2)
    if not layer.is_transposed:
        return scale.reshape(-1, 1, *kernel)
    per_group = scale.reshape(layer.groups, -1)  # the weight is (in, out / groups, kernel...)
    return per_group.repeat_interleave(layer.in_channels // layer.groups, 0).reshape(
        layer.in_channels, -1, *kernel
    )


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is, under every name."""
    for module in network.modules():
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new
