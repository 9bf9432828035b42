"""Layers whose code does otherwise than the module's attributes say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Misleading(nn.Conv2d):
    """A convolution that is called with another geometry than its attributes claim."""

    def __init__(self, told: nn.Conv2d, real: dict[str, Any]) -> None:
        super().__init__(
            *(told.in_channels, told.out_channels, told.kernel_size),
            stride=told.stride,
            padding=told.padding,
            dilation=told.dilation,
            groups=told.groups,
            bias=told.bias is not None,
        )
        self.load_state_dict(told.state_dict())
        self.real = real

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, groups=self.groups, **self.real)


def geometry_of(convolution: nn.Conv2d) -> dict[str, Any]:
    return {name: getattr(convolution, name) for name in ("stride", "padding", "dilation")}


def claiming(**claims: Any) -> Callable[[nn.Conv2d], nn.Module]:
    """Call the layer as it is, with other attributes."""

    def wrap(convolution: nn.Conv2d) -> nn.Module:
        real = geometry_of(convolution)
        for name, value in claims.items():
            setattr(convolution, name, value)
        return Misleading(convolution, real)

    return wrap


class CallsTwice(nn.Module):
    """Calls a layer, and its weights by function with zeros around and without."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        layer = self.convolution
        out = layer(x)
        wide = F.conv2d(
            x, layer.weight, layer.bias, layer.stride, layer.padding[0] + 1, 1, layer.groups
        )
        return out + 0.5 * F.adaptive_avg_pool2d(wide, 1)


class FunctionalBatchNorm(nn.Module):
    """Batch norm by function, with tensors of its own under other names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(1 + 0.3 * torch.randn(channels))
        self.shift = nn.Parameter(0.5 * torch.randn(channels))
        self.register_buffer("middle", 0.5 * torch.randn(channels))
        self.register_buffer("spread", 0.5 + torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.middle, self.spread, self.gain, self.shift, False, 0.0, 1e-3)


class FrozenBatchNorm(nn.Module):
    """Batch norm of buffers, as detectors freeze it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", 1 + 0.3 * torch.randn(channels))
        self.register_buffer("bias", 0.5 * torch.randn(channels))
        self.register_buffer("running_mean", 0.5 * torch.randn(channels))
        self.register_buffer("running_var", 0.5 + torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


class OtherEpsilon(nn.BatchNorm2d):
    """A batch norm that ignores its own scale, shift and eps."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, eps=0.1)


class LayerNorm2d(nn.Module):
    """Layer norm over channels, written out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(1 + 0.3 * torch.randn(channels))
        self.bias = nn.Parameter(0.5 * torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(spread + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


MISLEADING: dict[str, Callable[[nn.Conv2d], nn.Module]] = {
    "pads_in_call": claiming(padding=(0, 0)),
    "claims_padding": claiming(padding=(2, 2)),
    "strides_in_call": claiming(stride=(1, 1)),
    "claims_stride": claiming(stride=(2, 2)),
    "claims_dilation": claiming(dilation=(2, 2)),
    "called_twice": CallsTwice,
}

FUNCTIONAL_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch_by_function": FunctionalBatchNorm,
    "batch_frozen": FrozenBatchNorm,
    "layer_by_hand": LayerNorm2d,
}
