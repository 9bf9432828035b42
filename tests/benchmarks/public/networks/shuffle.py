"""ShuffleNetV2 (torchvision's layout), and NanoDet-Plus-m, whose backbone it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tests.benchmarks.public.networks.parts import Act, conv_bn


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    batchsize, num_channels, height, width = x.size()
    channels_per_group = num_channels // groups
    x = x.view(batchsize, groups, channels_per_group, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(batchsize, num_channels, height, width)


class ShuffleUnit(nn.Module):
    def __init__(self, inp: int, out: int, stride: int, act: Act) -> None:
        super().__init__()
        self.stride, half = stride, out // 2
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                *conv_bn(inp, inp, 3, stride, None, groups=inp), *conv_bn(inp, half, 1, act=act)
            )
        self.branch2 = nn.Sequential(
            *conv_bn(inp if stride > 1 else half, half, 1, act=act),
            *conv_bn(half, half, 3, stride, None, groups=half),
            *conv_bn(half, half, 1, act=act),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(out, 2)


def stages(act: Act) -> list[nn.Sequential]:
    found, inp = [], 24
    for repeats, out in zip((4, 8, 4), (116, 232, 464), strict=True):
        units = [ShuffleUnit(inp, out, 2, act)]
        units += [ShuffleUnit(out, out, 1, act) for _ in range(repeats - 1)]
        found.append(nn.Sequential(*units))
        inp = out
    return found


class ShuffleNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv_bn(3, 24, 3, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stage2, self.stage3, self.stage4 = stages(nn.ReLU)
        self.conv5 = conv_bn(464, 1024, 1)
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return self.fc(x.mean([2, 3]))


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.1)


class GhostModule(nn.Module):
    def __init__(self, inp: int, out: int, act: Act | None) -> None:
        super().__init__()
        init = math.ceil(out / 2)
        self.primary_conv = conv_bn(inp, init, 1, act=act)
        self.cheap_operation = conv_bn(init, init, 3, act=act, groups=init)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.primary_conv(x)
        return torch.cat([x1, self.cheap_operation(x1)], dim=1)


class GhostBottleneck(nn.Module):
    def __init__(self, inp: int, out: int, k: int) -> None:
        super().__init__()
        self.ghost1, self.ghost2 = GhostModule(inp, out, leaky), GhostModule(out, out, None)
        self.shortcut = nn.Sequential(
            *conv_bn(inp, inp, k, act=None, groups=inp), *conv_bn(inp, out, 1, act=None)
        )

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        x = self.ghost2(self.ghost1(x))
        x += self.shortcut(residual)
        return x


def separable(inp: int, out: int, k: int, s: int = 1) -> nn.Sequential:
    return nn.Sequential(
        *conv_bn(inp, inp, k, s, leaky, groups=inp), *conv_bn(inp, out, 1, act=leaky)
    )


class GhostPan(nn.Module):
    def __init__(self, inputs: tuple[int, ...] = (116, 232, 464), out: int = 96) -> None:
        super().__init__()
        self.reduce_layers = nn.ModuleList(conv_bn(inp, out, 1, act=leaky) for inp in inputs)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.top_down = nn.ModuleList(GhostBottleneck(2 * out, out, 5) for _ in range(2))
        self.downsamples = nn.ModuleList(separable(out, out, 5, 2) for _ in range(2))
        self.bottom_up = nn.ModuleList(GhostBottleneck(2 * out, out, 5) for _ in range(2))
        self.extra_in, self.extra_out = separable(out, out, 5, 2), separable(out, out, 5, 2)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        inputs = [reduce(x) for x, reduce in zip(features, self.reduce_layers, strict=True)]
        inner = [inputs[-1]]
        for at, block in zip((1, 0), self.top_down, strict=True):
            inner.insert(0, block(torch.cat([self.upsample(inner[0]), inputs[at]], 1)))
        outs = [inner[0]]
        for at in range(2):
            low = self.downsamples[at](outs[-1])
            outs.append(self.bottom_up[at](torch.cat([low, inner[at + 1]], 1)))
        return [*outs, self.extra_in(inputs[-1]) + self.extra_out(outs[-1])]


class NanoDetPlus(nn.Module):
    """Without the head that helps in training."""

    def __init__(self, classes: int = 80, reg_max: int = 7, width: int = 96) -> None:
        super().__init__()
        self.conv1 = conv_bn(3, 24, 3, 2, leaky)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList(stages(leaky))
        self.fpn = GhostPan(out=width)
        outputs = classes + 4 * (reg_max + 1)
        self.cls_convs = nn.ModuleList(
            nn.ModuleList(separable(width, width, 5) for _ in range(2)) for _ in range(4)
        )
        self.gfl_cls = nn.ModuleList(nn.Conv2d(width, outputs, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        outputs = []
        for feat, convs, gfl_cls in zip(
            self.fpn(features), self.cls_convs, self.gfl_cls, strict=True
        ):
            for conv in convs:
                feat = conv(feat)
            outputs.append(gfl_cls(feat).flatten(start_dim=2))
        return torch.cat(outputs, dim=2).permute(0, 2, 1)
