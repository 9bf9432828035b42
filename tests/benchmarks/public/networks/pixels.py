"""An image in, an image out: ESPCN, Fast-SCNN, a U-Net."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.benchmarks.public.networks.parts import conv_bn


def espcn(scale: int = 3) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh()),
        *(nn.Conv2d(32, scale**2, 3, padding=1), nn.PixelShuffle(scale)),
    )


def ds_conv(inp: int, out: int, s: int = 1) -> nn.Sequential:
    return nn.Sequential(*conv_bn(inp, inp, 3, s, groups=inp), *conv_bn(inp, out, 1))


class LinearBottleneck(nn.Module):
    def __init__(self, inp: int, out: int, s: int) -> None:
        super().__init__()
        self.use_shortcut = s == 1 and inp == out
        wide = 6 * inp
        self.block = nn.Sequential(
            conv_bn(inp, wide, 1),
            conv_bn(wide, wide, 3, s, groups=wide),
            conv_bn(wide, out, 1, act=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.block(x)
        return x + out if self.use_shortcut else out


class PyramidPooling(nn.Module):
    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv_bn(width, width // 4, 1) for _ in range(4))
        self.out = conv_bn(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        size, found = x.size()[2:], [x]
        for side, conv in zip((1, 2, 3, 6), self.convs, strict=True):
            feat = conv(F.adaptive_avg_pool2d(x, side))
            found.append(F.interpolate(feat, size, mode="bilinear", align_corners=True))
        return self.out(torch.cat(found, dim=1))


class FastScnn(nn.Module):
    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        first = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        self.down = nn.Sequential(*first, ds_conv(32, 48, 2), ds_conv(48, 64, 2))
        rows = [(64, 64, 2), (64, 64, 1), (64, 64, 1), (64, 96, 2), (96, 96, 1), (96, 96, 1)]
        rows += [(96, 128, 1), (128, 128, 1), (128, 128, 1)]
        self.features = nn.Sequential(*(LinearBottleneck(*row) for row in rows), PyramidPooling())
        self.dwconv = conv_bn(128, 128, 3, groups=128)
        self.conv_lower = nn.Sequential(nn.Conv2d(128, 128, 1), nn.BatchNorm2d(128))
        self.conv_higher = nn.Sequential(nn.Conv2d(64, 128, 1), nn.BatchNorm2d(128))
        self.classifier = nn.Sequential(
            ds_conv(128, 128), ds_conv(128, 128), nn.Dropout(0.1), nn.Conv2d(128, classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.size()[2:]
        higher = self.down(x)
        lower = self.features(higher)
        lower = F.interpolate(lower, higher.size()[2:], mode="bilinear", align_corners=True)
        x = F.relu(self.conv_higher(higher) + self.conv_lower(self.dwconv(lower)))
        return F.interpolate(self.classifier(x), size, mode="bilinear", align_corners=True)


class UNet(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [width << level for level in range(5)]
        self.encoders = nn.ModuleList(
            nn.Sequential(*conv_bn(inp, out, 3), *conv_bn(out, out, 3))
            for inp, out in zip([3, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2, 2)
        self.upconvs = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[-2::-1])
        self.decoders = nn.ModuleList(
            nn.Sequential(*conv_bn(2 * w, w, 3), *conv_bn(w, w, 3)) for w in widths[-2::-1]
        )
        self.conv = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = []
        for encoder in self.encoders:
            x = encoder(self.pool(x) if seen else x)
            seen.append(x)
        for up, decoder, other in zip(self.upconvs, self.decoders, seen[-2::-1], strict=True):
            x = decoder(torch.cat((up(x), other), dim=1))
        return torch.sigmoid(self.conv(x))
