"""What a layer did in one call, read from the operator's own arguments.

A module's attributes say how it would be called by its own ``forward``. Other code may call the
operator with the module's weight and another padding, bias, layout or number of groups; what
counts is what the operator was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from toolchain.operators import find
from toolchain.surgery.layers import Layer, storage_key


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer: its own weight, whole and as it lies, with its own bias or with none."""

    layer: Layer
    x: Tensor
    """What it reads; dimension 1 is its channels."""
    keeps_uniform: bool
    """True if an input channel of one value everywhere gives one value everywhere.

    So for a linear layer, and for a convolution that pads not at all. There a constant can go into
    the bias; zero padding makes the border differ. (Padding of other modes is an operator of its
    own, before the convolution.)
    """
    lacks_bias: bool = False
    """True if the layer has a bias that this call leaves to an addition that follows (``mm`` and
    ``add``, as linear layers do on more than two dimensions)."""


class LayerCalls:
    """Recognises the calls of some layers."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self._layers = {storage_key(layer.weight): layer for layer in layers}

    def find(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> LayerCall | None:
        """Return the layer whose own call the operator ``name`` (``aten``) is, or None.

        A call with a part of the weight, another layout, another bias than the module's (or none
        though it has one) or another number of groups is not the layer's own.
        """
        kind = find(name).layer
        if kind == "convolution":
            return self._convolution(args)
        if kind == "product":
            return self._product(args, kwargs)
        return None

    def _convolution(self, args: tuple[Any, ...]) -> LayerCall | None:
        x, weight, bias = args[:3]
        padding, transposed, groups = args[4], bool(args[6]), int(args[8])
        layer = self._layers.get(storage_key(weight))
        if layer is None or not layer.is_convolution:
            return None
        same = (transposed, groups) == (layer.is_transposed, layer.groups)
        if not same or not _is_same(weight, layer.weight) or not _is_own(bias, layer):
            return None
        unpadded = not transposed and all(int(side) == 0 for side in padding)
        return _reading(layer, x, keeps_uniform=unpadded)

    def _product(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> LayerCall | None:
        bias, x, weight = args if len(args) == 3 else (None, *args)
        layer = self._layers.get(storage_key(weight))
        if layer is None or layer.is_convolution:
            return None
        plain = all(kwargs.get(factor, 1) == 1 for factor in ("alpha", "beta"))
        later = len(args) == 2 and layer.bias is not None
        if not plain or not _is_same(weight, layer.weight.t()):
            return None
        if not later and not _is_own(bias, layer):
            return None
        return _reading(layer, x, keeps_uniform=True, lacks_bias=later)


def _reading(
    layer: Layer, x: Tensor, *, keeps_uniform: bool, lacks_bias: bool = False
) -> LayerCall | None:
    reads_channels = x.ndim >= 2 and x.shape[1] == layer.in_channels
    return LayerCall(layer, x, keeps_uniform, lacks_bias) if reads_channels else None


def _is_own(bias: Tensor | None, layer: Layer) -> bool:
    if bias is None or layer.bias is None:
        return bias is None and layer.bias is None
    return _is_same(bias, layer.bias)


def _is_same(a: Tensor, b: Tensor) -> bool:
    """Return True if both look at the same memory in the same way."""
    return (
        a.data_ptr() == b.data_ptr()
        and a.dtype == b.dtype
        and a.shape == b.shape
        and a.stride() == b.stride()
    )
