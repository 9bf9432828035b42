"""EXTD: "Extremely Tiny Face Detector via Iterative Filter Reuse".

Yoo et al., 2019 (arXiv 1906.06579), 64 channels: 162,352 parameters. Module names are those
of the published checkpoints.

The backbone's blocks 2 to 5 are used six times over, each pass halving the resolution::

    base.0 3x3/2, base.1                      H/2
    base.2-5, first pass                      s1   H/4
    base.2-5, five passes more                s2 ... s6   H/8 ... H/128
    upfeat: bilinear upsampling, depthwise 3x3, 1x1, added to the finer feature
    loc.i, conf.i: 3x3 heads, one anchor per cell
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.models.detector import Detector
from toolchain.models.heads import flatten_levels

LEVELS = 6
"""Detection levels, at strides 4, 8, 16, 32, 64 and 128."""


class InvertedResidual(nn.Module):
    """MobileNet-v2's block with PReLU; the expansion is left out where it would be one."""

    def __init__(self, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        widen: list[nn.Module] = []
        if expansion != 1:
            widen = [
                nn.Conv2d(channels, hidden, 1, bias=False),
                nn.BatchNorm2d(hidden),
                nn.PReLU(),
            ]
        self.conv = nn.Sequential(
            *widen,
            nn.Conv2d(hidden, hidden, 3, stride=stride, padding=1, groups=hidden),
            nn.BatchNorm2d(hidden),
            nn.PReLU(),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.adds_input = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))."""
        out: Tensor = self.conv(x)
        return x + out if self.adds_input else out


def _stem(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.PReLU(),
    )


def _upsampling_unit(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class EXTD(nn.Module):
    """EXTD: one block, called over and over, makes all levels."""

    BACKGROUND_CLASSES = 3
    """Level 0 has three background scores, of which the largest counts (max-out, S3FD)."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.base = nn.ModuleList(
            [
                _stem(channels),
                InvertedResidual(channels, stride=1, expansion=1),
                InvertedResidual(channels, stride=1, expansion=2),
                InvertedResidual(channels, stride=1, expansion=2),
                InvertedResidual(channels, stride=1, expansion=4),
                InvertedResidual(channels, stride=2, expansion=4),
            ]
        )
        self.upfeat = nn.ModuleList(_upsampling_unit(channels) for _ in range(LEVELS - 1))
        self.loc = nn.ModuleList(nn.Conv2d(channels, 4, 3, padding=1) for _ in range(LEVELS))
        self.conf = nn.ModuleList(
            nn.Conv2d(channels, self.BACKGROUND_CLASSES + 1 if level == 0 else 2, 3, padding=1)
            for level in range(LEVELS)
        )
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 * module.groups / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, InvertedResidual):
                # 24 passes through blocks add up along the reused stream: start each one small.
                nn.init.constant_(cast(nn.BatchNorm2d, module.conv[-1]).weight, 0.2)

    def _features(self, image: Tensor) -> list[Tensor]:
        """Six features (N, C, ceil(H / stride), ceil(W / stride)), finest first."""
        x = self.base[1](self.base[0](image))
        features: list[Tensor] = []
        for _ in range(LEVELS):
            for block in list(self.base)[2:]:
                x = block(x)
            features.append(x)
        return features

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Raw predictions, one anchor per cell, levels from fine to coarse, cells row by row.

        ``image`` (N, 3, H, W), RGB minus its mean -> ``loc`` (N, P, 4) and ``logits`` (N, P, 2),
        (background, face); P is the sum of ceil(H / s) * ceil(W / s) over the strides s.
        """
        pyramid = self._features(image)
        for unit, level in zip(self.upfeat, reversed(range(LEVELS - 1)), strict=True):
            finer = pyramid[level]
            size = [finer.shape[2], finer.shape[3]]
            above = F.interpolate(pyramid[level + 1], size=size, mode="bilinear")
            pyramid[level] = unit(above) + finer
        loc = [head(feature) for head, feature in zip(self.loc, pyramid, strict=True)]
        conf = [head(feature) for head, feature in zip(self.conf, pyramid, strict=True)]
        return flatten_levels(loc, conf, self.BACKGROUND_CLASSES)


DETECTOR = Detector(
    name="extd",
    factory=EXTD,
    blocks=("base.*", "upfeat.*", "loc.*", "conf.*"),
    scores=tuple(f"conf.{level}" for level in range(LEVELS)),
    features=("base.5", "upfeat.*"),
    sums=("base.[1-5]",),
    marks=("upfeat.0.0.weight", "base.2.conv.0.weight"),
    layouts=("flat", "epoch-weight"),
)
"""What training and checkpoints need to know of it."""
