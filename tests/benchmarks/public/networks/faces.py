"""Face detectors: FaceBoxes, RetinaFace with MobileNet 0.25, YuNet-n."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.benchmarks.public.networks.parts import conv_bn


class CRelu(nn.Module):
    def __init__(self, inp: int, out: int, k: int, s: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, out, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return F.relu(torch.cat([x, -x], 1), inplace=True)


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch1x1, self.branch1x1_2 = conv_bn(128, 32, 1), conv_bn(128, 32, 1)
        self.branch3x3 = nn.Sequential(conv_bn(128, 24, 1), conv_bn(24, 32, 3))
        self.branch3x3_2 = nn.Sequential(
            conv_bn(128, 24, 1), conv_bn(24, 32, 3), conv_bn(32, 32, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        outputs = [
            self.branch1x1(x),
            self.branch1x1_2(pooled),
            self.branch3x3(x),
            self.branch3x3_2(x),
        ]
        return torch.cat(outputs, 1)


class FaceBoxes(nn.Module):
    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv1, self.conv2 = CRelu(3, 24, 7, 4), CRelu(48, 64, 5, 2)
        self.inception = nn.Sequential(Inception(), Inception(), Inception())
        self.conv3 = nn.Sequential(conv_bn(128, 128, 1), conv_bn(128, 256, 3, 2))
        self.conv4 = nn.Sequential(conv_bn(256, 128, 1), conv_bn(128, 256, 3, 2))
        levels = ((128, 21), (256, 1), (256, 1))
        self.loc = nn.ModuleList(nn.Conv2d(inp, n * 4, 3, padding=1) for inp, n in levels)
        self.conf = nn.ModuleList(
            nn.Conv2d(inp, n * num_classes, 3, padding=1) for inp, n in levels
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.max_pool2d(self.conv1(x), kernel_size=3, stride=2, padding=1)
        x = F.max_pool2d(self.conv2(x), kernel_size=3, stride=2, padding=1)
        sources = [self.inception(x)]
        sources.append(self.conv3(sources[-1]))
        sources.append(self.conv4(sources[-1]))
        locs, confs = [], []
        for x, l, c in zip(sources, self.loc, self.conf, strict=True):  # noqa: E741
            locs.append(l(x).permute(0, 2, 3, 1).contiguous())
            confs.append(c(x).permute(0, 2, 3, 1).contiguous())
        loc = torch.cat([o.view(o.size(0), -1) for o in locs], 1)
        conf = torch.cat([o.view(o.size(0), -1) for o in confs], 1)
        scores = F.softmax(conf.view(conf.size(0), -1, self.num_classes), dim=-1)
        return loc.view(loc.size(0), -1, 4), scores


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.1)


def conv_dw(inp: int, out: int, s: int) -> nn.Sequential:
    return nn.Sequential(
        *conv_bn(inp, inp, 3, s, leaky, groups=inp), *conv_bn(inp, out, 1, act=leaky)
    )


class Ssh(nn.Module):
    def __init__(self, out: int = 64) -> None:
        super().__init__()
        self.conv3X3 = conv_bn(out, out // 2, 3, act=None)
        self.conv5X5_1 = conv_bn(out, out // 4, 3, act=leaky)
        self.conv5X5_2 = conv_bn(out // 4, out // 4, 3, act=None)
        self.conv7X7_2 = conv_bn(out // 4, out // 4, 3, act=leaky)
        self.conv7x7_3 = conv_bn(out // 4, out // 4, 3, act=None)

    def forward(self, x: Tensor) -> Tensor:
        five = self.conv5X5_1(x)
        seven = self.conv7x7_3(self.conv7X7_2(five))
        return F.relu(torch.cat([self.conv3X3(x), self.conv5X5_2(five), seven], dim=1))


class Head(nn.Module):
    """Two anchors of each place, so many numbers of each."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers, self.conv1x1 = numbers, nn.Conv2d(64, 2 * numbers, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1x1(x).permute(0, 2, 3, 1).contiguous()
        return out.view(out.shape[0], -1, self.numbers)


class RetinaFace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            conv_bn(3, 8, 3, 2, leaky), conv_dw(8, 16, 1), conv_dw(16, 32, 2), conv_dw(32, 32, 1),
            conv_dw(32, 64, 2), conv_dw(64, 64, 1),
        )  # fmt: skip
        self.stage2 = nn.Sequential(conv_dw(64, 128, 2), *(conv_dw(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(conv_dw(128, 256, 2), conv_dw(256, 256, 1))
        self.outputs = nn.ModuleList(conv_bn(inp, 64, 1, act=leaky) for inp in (64, 128, 256))
        self.merge1, self.merge2 = conv_bn(64, 64, 3, act=leaky), conv_bn(64, 64, 3, act=leaky)
        self.ssh = nn.ModuleList(Ssh() for _ in range(3))
        self.heads = nn.ModuleList(nn.ModuleList(Head(n) for _ in range(3)) for n in (4, 2, 10))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c1 = self.stage1(x)
        c2 = self.stage2(c1)
        c3 = self.stage3(c2)
        p1, p2, p3 = (layer(c) for layer, c in zip(self.outputs, (c1, c2, c3), strict=True))
        p2 = self.merge2(p2 + F.interpolate(p3, size=[p2.size(2), p2.size(3)], mode="nearest"))
        p1 = self.merge1(p1 + F.interpolate(p2, size=[p1.size(2), p1.size(3)], mode="nearest"))
        features = [ssh(p) for ssh, p in zip(self.ssh, (p1, p2, p3), strict=True)]
        boxes, classes, landmarks = (
            torch.cat([head(f) for head, f in zip(heads, features, strict=True)], dim=1)
            for heads in self.heads
        )
        return boxes, F.softmax(classes, dim=-1), landmarks


class DpUnit(nn.Module):
    def __init__(self, inp: int, out: int, bn_relu: bool = True) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(inp, out, 1), nn.Conv2d(out, out, 3, 1, 1, groups=out)
        self.bn = nn.BatchNorm2d(out) if bn_relu else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x))
        return x if self.bn is None else F.relu(self.bn(x))


class YuNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        widths = ((16, 64), (64, 64), (64, 64), (64, 64), (64, 64))
        self.backbone = nn.ModuleList(
            [
                nn.Sequential(*stem, DpUnit(16, 16)),
                *(nn.Sequential(DpUnit(inp, inp), DpUnit(inp, out)) for inp, out in widths),
            ]
        )
        self.lateral_convs = nn.ModuleList(DpUnit(64, 64) for _ in range(3))
        self.share_convs = nn.ModuleList(DpUnit(64, 64) for _ in range(3))
        self.heads = nn.ModuleList(
            nn.ModuleList(DpUnit(64, n, bn_relu=False) for _ in range(3)) for n in (1, 4, 1, 10)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        feats = []
        for at, block in enumerate(self.backbone):
            x = block(x)
            if at in (3, 4, 5):
                feats.append(x)
            if at in (0, 2, 3, 4):
                x = F.max_pool2d(x, 2)
        for at in (2, 1):
            feats[at] = self.lateral_convs[at](feats[at])
            up = F.interpolate(feats[at], scale_factor=2.0, mode="nearest")
            feats[at - 1] = feats[at - 1] + up
        feats[0] = self.lateral_convs[0](feats[0])
        feats = [conv(feat) for conv, feat in zip(self.share_convs, feats, strict=True)]
        outputs = []
        for n, heads in zip((1, 4, 1, 10), self.heads, strict=True):
            for head, feat in zip(heads, feats, strict=True):
                out = head(feat).permute(0, 2, 3, 1).view(feat.shape[0], -1, n)
                outputs.append(out.sigmoid() if n == 1 else out)
        return outputs
