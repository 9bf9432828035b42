"""EResFD, from "Rediscovery of the Effectiveness of Standard Convolution" (WACV 2024).

Jeong et al., arXiv 2204.01209, width 1x: 92,208 parameters. Module names are
those of the published checkpoints, so their state dicts load as they are.

The way of the data, for an image of H x W (all streams have 16 channels)::

    conv1 5x5/4 -> conv2 -> conv3 -> conv4            c0   H/4
    b2_1 ... b2_5, each halving the resolution        c1 ... c5   H/8 ... H/128
    fpn: a separated feature pyramid                  p0 ... p5
    FEM_0 ... FEM_5: context by cascaded 3x3          16 = 8 + 4 + 4 channels
    loc.i, conf.i: 1x1 heads, one anchor per cell
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.models.detector import Detector
from toolchain.models.heads import flatten_levels

LEVELS = 6
"""Detection levels, at strides 4, 8, 16, 32, 64 and 128."""


def _conv_bn(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> list[nn.Module]:
    """A convolution without bias, padded to keep the size, and its batch norm."""
    return [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
    ]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; no activation after the sum."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        same = in_channels == out_channels and stride == 1
        self.shortcut_layer = (
            None if same else nn.Sequential(*_conv_bn(in_channels, out_channels, 1, stride))
        )
        self.res_layer = nn.Sequential(
            *_conv_bn(in_channels, out_channels, 3, stride),
            nn.ReLU(),
            *_conv_bn(out_channels, out_channels, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        shortcut = x if self.shortcut_layer is None else self.shortcut_layer(x)
        out: Tensor = self.res_layer(x) + shortcut
        return out


class FeatureEnhancement(nn.Module):
    """Cascaded 3x3 convolutions whose outputs are laid side by side (the paper's CPM)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.res_branch1 = nn.Sequential(*_conv_bn(channels, half, 3), nn.ReLU())
        self.res_branch2 = self._two_convolutions(half, quarter)
        self.res_branch3 = self._two_convolutions(quarter, quarter)

    @staticmethod
    def _two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
        return nn.Sequential(
            *_conv_bn(in_channels, out_channels, 3),
            nn.ReLU(),
            *_conv_bn(out_channels, out_channels, 3),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C/2 + C/4 + C/4, H, W), not negative."""
        first = self.res_branch1(x)
        second = self.res_branch2(first)
        return torch.cat([first, second, self.res_branch3(second)], dim=1)


class ConvUnit(nn.Module):
    """Convolution, batch norm and ReLU under the name ``conv``, as the checkpoints have it."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*_conv_bn(in_channels, out_channels, kernel_size), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        out: Tensor = self.conv(x)
        return out


class SeparatedFeaturePyramid(nn.Module):
    """A feature pyramid in two separate top-down paths: levels 5-4, and 3-0 starting from c4.

    Every sum is weighted by two learned scalars, normalised to add up to (nearly) one: column i
    of ``w1`` (2, 9) belongs to sum i.
    """

    EPSILON = 1e-4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(ConvUnit(channels, channels, 1) for _ in range(LEVELS - 1))
        self.itm = nn.ModuleList(ConvUnit(channels, channels, 3) for _ in range(4))
        self.w1 = nn.Parameter(torch.full((2, 9), 0.5))

    def _sum(self, a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        return (weight[0] * a + weight[1] * b) / (weight[0] + weight[1] + self.EPSILON)

    def _top_down(self, lateral: Tensor, above: Tensor, weight: Tensor) -> Tensor:
        size = [lateral.shape[2], lateral.shape[3]]
        return self._sum(lateral, F.interpolate(above, size=size, mode="nearest"), weight)

    def forward(self, c: list[Tensor]) -> list[Tensor]:
        """Six features (N, C, H_i, W_i), finest first -> six of the same shapes."""
        weight = F.relu(self.w1)
        weight = weight / (weight.sum(dim=0) + self.EPSILON)
        lateral = [unit(feature) for unit, feature in zip(self.laterals, c, strict=False)]

        high = self._top_down(lateral[4], c[5], weight[:, 4])
        low: list[Tensor] = [self._top_down(lateral[3], c[4], weight[:, 3])]
        for level in (2, 1, 0):
            low.insert(0, self._top_down(lateral[level], low[0], weight[:, level]))

        out = [low[0]]
        for level in (1, 2, 3):
            out.append(self._sum(self.itm[level - 1](low[level]), c[level], weight[:, level + 4]))
        out.append(self._sum(self.itm[3](high), c[4], weight[:, 8]))
        return [*out, c[5]]


class Encoder(nn.Module):
    """Five halving stages, the pyramid, and one feature enhancement per level."""

    BLOCKS_PER_STAGE = (3, 3, 3, 2, 2)

    def __init__(self, channels: int) -> None:
        super().__init__()
        for stage, blocks in enumerate(self.BLOCKS_PER_STAGE, start=1):
            strides = [2] + [1] * (blocks - 1)
            self.add_module(
                f"b2_{stage}",
                nn.Sequential(*(ResidualBlock(channels, channels, stride) for stride in strides)),
            )
        self.fpn = SeparatedFeaturePyramid(channels)
        for level in range(LEVELS):
            self.add_module(f"FEM_{level}", FeatureEnhancement(channels))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H/4, W/4) -> six features, finest first."""
        features = [x]
        for stage in range(1, LEVELS):
            features.append(self.get_submodule(f"b2_{stage}")(features[-1]))
        return [
            self.get_submodule(f"FEM_{level}")(feature)
            for level, feature in enumerate(self.fpn(features))
        ]


class Backbone(nn.Module):
    """Stem at stride 4, then the encoder."""

    def __init__(self, stem: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*_conv_bn(3, stem, 5, stride=4))
        self.conv2 = nn.Sequential(*_conv_bn(stem, stem, 3), nn.ReLU())
        self.conv3 = nn.Sequential(*_conv_bn(stem, channels, 3), nn.ReLU())
        self.conv4 = ResidualBlock(channels, channels)
        self.m0 = Encoder(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> six features (N, C, ceil(H / stride), ceil(W / stride))."""
        features: list[Tensor] = self.m0(self.conv4(self.conv3(self.conv2(self.conv1(x)))))
        return features


class EResFD(nn.Module):
    """The detector. The published code has a ReLU before each head; its input is never negative."""

    BACKGROUND_CLASSES = 3
    """Level 0 has three background scores, of which the largest counts (max-out, S3FD)."""

    def __init__(self, stem: int = 8, channels: int = 16) -> None:
        super().__init__()
        self.base = Backbone(stem, channels)
        self.loc = nn.ModuleList(nn.Conv2d(channels, 4, 1) for _ in range(LEVELS))
        self.conf = nn.ModuleList(
            nn.Conv2d(channels, self.BACKGROUND_CLASSES + 1 if level == 0 else 2, 1)
            for level in range(LEVELS)
        )
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 0.5)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Raw predictions, one anchor per cell, levels from fine to coarse, cells row by row.

        ``image`` (N, 3, H, W), RGB minus its mean -> ``loc`` (N, P, 4) and ``logits`` (N, P, 2),
        (background, face); P is the sum of ceil(H / s) * ceil(W / s) over the strides s.
        """
        features = self.base(image)
        loc = [head(feature) for head, feature in zip(self.loc, features, strict=True)]
        conf = [head(feature) for head, feature in zip(self.conf, features, strict=True)]
        return flatten_levels(loc, conf, self.BACKGROUND_CLASSES)


DETECTOR = Detector(
    name="eresfd",
    factory=EResFD,
    blocks=(
        "base.conv1",
        "base.conv2",
        "base.conv3",
        "base.conv4",
        "base.m0.b2_*.[0-9]",
        "base.m0.fpn.laterals.*",
        "base.m0.fpn.itm.*",
        "base.m0.fpn",
        "base.m0.FEM_*",
        "loc.*",
        "conf.*",
    ),
    scores=tuple(f"conf.{level}" for level in range(LEVELS)),
    features=("base.m0.FEM_*",),
    sums=("base.conv4", "base.m0.b2_*.[0-9]"),
    marks=("base.m0.fpn.w1",),
)
"""What training and checkpoints need to know of it."""
