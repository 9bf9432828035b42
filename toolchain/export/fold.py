"""Batch norm folded into the convolution before it, once for all calls of a shared block.

An exporter that folds per call writes a shared convolution's weights once per call; EXTD calls
the same blocks six times. So the fold is done on the modules, where a pair belongs together in
every call: the batch norm reads nothing but that convolution, and nothing else reads the
convolution.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from toolchain.shrink.layers import Layer, layers_of, storage_key


def fold_batch_norm(network: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of ``network`` with its batch norms folded where that is exact.

    ``example`` is an input (N, C, H, W). The arithmetic is done in float64.
    """
    network = copy.deepcopy(network).eval()
    watcher = _PairWatcher(network)
    with torch.no_grad(), watcher:
        network(example)
    for layer, norm in watcher.pairs():
        _fold(layer, norm)
        _replace(network, norm, nn.Identity())
    return network


class _PairWatcher(TorchDispatchMode):
    """Notes which operators read each convolution's output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers = {
            storage_key(layer.weight): layer
            for layer in layers_of(network).values()
            if layer.is_convolution
        }
        self.norms = {
            storage_key(module.running_mean): module
            for module in network.modules()
            if isinstance(module, _BatchNorm) and module.running_mean is not None
        }
        self.outputs: dict[int, tuple[Tensor, Layer]] = {}
        self.readers: dict[str, list[_BatchNorm | None]] = {}
        self.sources: dict[_BatchNorm, list[Layer | None]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        norm = None
        if name in ("native_batch_norm", "_native_batch_norm_legit_no_training"):
            norm = self.norms.get(storage_key(args[3])) if isinstance(args[3], Tensor) else None
            if norm is not None:
                _, source = self.outputs.get(id(args[0]), (None, None))
                self.sources.setdefault(norm, []).append(source)
        for leaf in tree_leaves((args, kwargs)):
            if id(leaf) in self.outputs:
                self.readers.setdefault(self.outputs[id(leaf)][1].name, []).append(norm)
        if name == "convolution" and storage_key(args[1]) in self.layers:
            self.outputs[id(out)] = (out, self.layers[storage_key(args[1])])
        return out

    def pairs(self) -> list[tuple[Layer, _BatchNorm]]:
        """Return every convolution and batch norm that belong together in all calls."""
        found = []
        for norm, sources in self.sources.items():
            layer = sources[0]
            if layer is None or any(source is not layer for source in sources):
                continue
            if all(reader is norm for reader in self.readers[layer.name]):
                found.append((layer, norm))
        return found


def _fold(layer: Layer, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution = layer.module
    assert isinstance(convolution, _ConvNd)
    ones = torch.ones_like(norm.running_mean)
    weight, bias = fuse_conv_bn_weights(
        convolution.weight.double(),
        None if convolution.bias is None else convolution.bias.double(),
        norm.running_mean.double(),
        norm.running_var.double(),
        norm.eps,
        (ones if norm.weight is None else norm.weight).double(),
        (torch.zeros_like(ones) if norm.bias is None else norm.bias).double(),
        transpose=convolution.transposed,
    )
    dtype = convolution.weight.dtype
    convolution.weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    convolution.bias = nn.Parameter(bias.detach().to(dtype), requires_grad=False)


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is, under every name."""
    for module in network.modules():
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new
