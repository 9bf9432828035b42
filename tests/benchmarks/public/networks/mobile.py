"""Networks for phones: MobileNetV2 and V3, PP-LCNet, EfficientNet-Lite0, GhostNet."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tests.benchmarks.public.networks.parts import Act, SqueezeExcite, conv_bn, divisible


class Inverted(nn.Module):
    """A wide depthwise convolution between two narrow layers."""

    def __init__(
        self,
        inp: int,
        wide: int,
        out: int,
        k: int,
        s: int,
        act: Act = nn.ReLU6,
        squeezed: int = 0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(inp, wide, 1, act=act, eps=eps)] if wide != inp else []
        layers.append(conv_bn(wide, wide, k, s, act, groups=wide, eps=eps))
        if squeezed:
            layers.append(SqueezeExcite(wide, squeezed, gate=nn.Hardsigmoid))
        self.block = nn.Sequential(*layers, conv_bn(wide, out, 1, act=None, eps=eps))
        self.use_res_connect = s == 1 and inp == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.use_res_connect else self.block(x)


class Classifier(nn.Module):
    """Features, their means, and what makes classes of these."""

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def inverted_stack(
    stem: int, last: int, rows: tuple[tuple[int, int, int, int, int], ...]
) -> nn.Module:
    """Rows: how much wider, channels, repeats, stride, kernel."""
    layers: list[nn.Module] = [conv_bn(3, stem, 3, 2, nn.ReLU6)]
    inp = stem
    for wider, out, repeats, stride, k in rows:
        for at in range(repeats):
            layers.append(Inverted(inp, inp * wider, out, k, 1 if at else stride))
            inp = out
    features = nn.Sequential(*layers, conv_bn(inp, last, 1, act=nn.ReLU6))
    return Classifier(features, nn.Sequential(nn.Dropout(0.2), nn.Linear(last, 1000)))


def mobilenet_v2() -> nn.Module:
    rows = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3))
    return inverted_stack(32, 1280, (*rows, (6, 96, 3, 1, 3), (6, 160, 3, 2, 3), (6, 320, 1, 1, 3)))


def efficientnet_lite0() -> nn.Module:
    rows = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3))
    return inverted_stack(
        32, 1280, (*rows, (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))
    )


def mobilenet_v3_small() -> nn.Module:
    relu, swish = nn.ReLU, nn.Hardswish
    rows: list[tuple[int, int, int, int, bool, Act, int]] = [
        (16, 3, 16, 16, True, relu, 2),
        (16, 3, 72, 24, False, relu, 2),
        (24, 3, 88, 24, False, relu, 1),
        (24, 5, 96, 40, True, swish, 2),
        (40, 5, 240, 40, True, swish, 1),
        (40, 5, 240, 40, True, swish, 1),
        (40, 5, 120, 48, True, swish, 1),
        (48, 5, 144, 48, True, swish, 1),
        (48, 5, 288, 96, True, swish, 2),
        (96, 5, 576, 96, True, swish, 1),
        (96, 5, 576, 96, True, swish, 1),
    ]
    blocks = [
        Inverted(inp, wide, out, k, s, act, divisible(wide // 4) if squeezed else 0, 1e-3)
        for inp, k, wide, out, squeezed, act, s in rows
    ]
    ends = conv_bn(3, 16, 3, 2, swish, eps=1e-3), conv_bn(96, 576, 1, act=swish, eps=1e-3)
    last = nn.Sequential(nn.Linear(576, 1024), swish(), nn.Dropout(0.2), nn.Linear(1024, 1000))
    return Classifier(nn.Sequential(ends[0], *blocks, ends[1]), last)


class LcBlock(nn.Module):
    def __init__(self, inp: int, out: int, k: int, s: int, squeezed: bool) -> None:
        super().__init__()
        self.use_se = squeezed
        self.dw_conv = conv_bn(inp, inp, k, s, nn.Hardswish, groups=inp)
        if squeezed:
            self.se = SqueezeExcite(inp, inp // 4, gate=nn.Hardsigmoid)
        self.pw_conv = conv_bn(inp, out, 1, act=nn.Hardswish)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dw_conv(x)
        if self.use_se:
            x = self.se(x)
        return self.pw_conv(x)


class PPLCNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rows = [(3, 16, 32, 1), (3, 32, 64, 2), (3, 64, 64, 1), (3, 64, 128, 2), (3, 128, 128, 1)]
        rows += [(5, 128, 256, 2), *[(5, 256, 256, 1)] * 5, (5, 256, 512, 2), (5, 512, 512, 1)]
        self.conv1 = conv_bn(3, 16, 3, 2, nn.Hardswish)
        self.blocks = nn.Sequential(
            *(LcBlock(inp, out, k, s, out == 512) for k, inp, out, s in rows)
        )
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.last_conv = nn.Conv2d(512, 1280, 1, bias=False)
        self.hardswish, self.dropout, self.flatten = nn.Hardswish(), nn.Dropout(0.2), nn.Flatten()
        self.fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avg_pool(self.blocks(self.conv1(x)))
        x = self.dropout(self.hardswish(self.last_conv(x)))
        return self.fc(self.flatten(x))


class GhostModule(nn.Module):
    def __init__(self, inp: int, oup: int, relu: bool = True) -> None:
        super().__init__()
        self.oup, init = oup, math.ceil(oup / 2)
        act = nn.ReLU if relu else None
        self.primary_conv = conv_bn(inp, init, 1, act=act)
        self.cheap_operation = conv_bn(init, init, 3, act=act, groups=init)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.primary_conv(x)
        x2 = self.cheap_operation(x1)
        out = torch.cat([x1, x2], dim=1)
        return out[:, : self.oup, :, :]


class GhostBottleneck(nn.Module):
    def __init__(self, inp: int, mid: int, out: int, k: int, s: int, squeezed: bool) -> None:
        super().__init__()
        self.stride = s
        self.ghost1 = GhostModule(inp, mid)
        if s > 1:
            self.dw = conv_bn(mid, mid, k, s, None, groups=mid)
        gate = nn.Hardsigmoid
        self.se = SqueezeExcite(mid, divisible(mid / 4, 4), gate=gate) if squeezed else None
        self.ghost2 = GhostModule(mid, out, relu=False)
        self.shortcut = nn.Sequential()
        if s > 1 or inp != out:
            ends = conv_bn(inp, inp, k, s, None, groups=inp), conv_bn(inp, out, 1, act=None)
            self.shortcut = nn.Sequential(*ends[0], *ends[1])

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        x = self.ghost1(x)
        if self.stride > 1:
            x = self.dw(x)
        if self.se is not None:
            x = self.se(x)
        x = self.ghost2(x)
        x += self.shortcut(residual)
        return x


class GhostNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rows = [(3, 16, 16, 0, 1), (3, 48, 24, 0, 2), (3, 72, 24, 0, 1), (5, 72, 40, 1, 2)]
        rows += [
            (5, 120, 40, 1, 1),
            (3, 240, 80, 0, 2),
            (3, 200, 80, 0, 1),
            *[(3, 184, 80, 0, 1)] * 2,
        ]
        rows += [(3, 480, 112, 1, 1), (3, 672, 112, 1, 1), (5, 672, 160, 1, 2)]
        rows += [(5, 960, 160, 0, 1), (5, 960, 160, 1, 1)] * 2
        blocks, inp = [], 16
        for k, mid, out, squeezed, s in rows:
            blocks.append(GhostBottleneck(inp, mid, out, k, s, bool(squeezed)))
            inp = out
        self.stem = conv_bn(3, 16, 3, 2)
        self.blocks = nn.Sequential(*blocks, conv_bn(inp, 960, 1))
        self.global_pool, self.act2 = nn.AdaptiveAvgPool2d((1, 1)), nn.ReLU()
        self.conv_head = nn.Conv2d(960, 1280, 1)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.global_pool(self.blocks(self.stem(x)))
        x = self.act2(self.conv_head(x))
        return self.classifier(x.view(x.size(0), -1))
