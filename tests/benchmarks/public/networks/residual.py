"""Networks with residual streams: ResNet, RegNet, RepVGG and DLA."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.benchmarks.public.networks.parts import SqueezeExcite, conv_bn


class Residual(nn.Module):
    """A body beside a shortcut, added and rectified."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body, self.downsample, self.relu = body, shortcut, nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.body(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, depths: tuple[int, ...], bottleneck: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
        blocks, inp, wider = [], 64, 4 if bottleneck else 1
        for stage, depth in enumerate(depths):
            for at in range(depth):
                width, s = 64 << stage, 2 if stage and not at else 1
                out = width * wider
                body = [conv_bn(inp, width, 3, s), conv_bn(width, out, 3, act=None)]
                if bottleneck:
                    body = [conv_bn(inp, width, 1), conv_bn(width, width, 3, s)]
                    body.append(conv_bn(width, out, 1, act=None))
                short = conv_bn(inp, out, 1, s, None) if s > 1 or inp != out else None
                blocks.append(Residual(nn.Sequential(*body), short))
                inp = out
        self.blocks = nn.Sequential(*blocks)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(inp, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.blocks(self.stem(x)))
        return self.fc(torch.flatten(x, 1))


def resnet18() -> nn.Module:
    return ResNet((2, 2, 2, 2), bottleneck=False)


def resnet50() -> nn.Module:
    return ResNet((3, 4, 6, 3), bottleneck=True)


def regnet_y_200mf() -> nn.Module:
    """Grouped convolutions, eight channels a group, with squeeze and excitation."""
    layers: list[nn.Module] = [conv_bn(3, 32, 3, 2)]
    inp = 32
    for width, depth in zip((24, 56, 152, 368), (1, 1, 4, 7), strict=True):
        for at in range(depth):
            s = 1 if at else 2
            body = nn.Sequential(
                conv_bn(inp, width, 1),
                conv_bn(width, width, 3, s, groups=width // 8),
                SqueezeExcite(width, round(0.25 * inp)),
                conv_bn(width, width, 1, act=None),
            )
            short = conv_bn(inp, width, 1, s, None) if s > 1 or inp != width else None
            layers.append(Residual(body, short))
            inp = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inp, 1000))


class RepVggBlock(nn.Module):
    """Three branches, as it is trained."""

    def __init__(self, inp: int, out: int, s: int) -> None:
        super().__init__()
        self.rbr_identity = nn.BatchNorm2d(inp) if inp == out and s == 1 else None
        self.rbr_dense, self.rbr_1x1 = conv_bn(inp, out, 3, s, None), conv_bn(inp, out, 1, s, None)
        self.nonlinearity = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        id_out = 0 if self.rbr_identity is None else self.rbr_identity(x)
        return self.nonlinearity(self.rbr_dense(x) + self.rbr_1x1(x) + id_out)


class RepVgg(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks, inp = [RepVggBlock(3, 48, 2)], 48
        for out, depth in ((48, 2), (96, 4), (192, 14), (1280, 1)):
            for at in range(depth):
                blocks.append(RepVggBlock(inp, out, 1 if at else 2))
                inp = out
        self.stages = nn.Sequential(*blocks)
        self.gap, self.linear = nn.AdaptiveAvgPool2d(1), nn.Linear(inp, 1000)

    def forward(self, x: Tensor) -> Tensor:
        out = self.gap(self.stages(x))
        return self.linear(out.view(out.size(0), -1))


class DlaBottleneck(nn.Module):
    def __init__(self, inp: int, out: int, s: int = 1) -> None:
        super().__init__()
        mid = out // 2
        self.body = nn.Sequential(
            conv_bn(inp, mid, 1), conv_bn(mid, mid, 3, s), conv_bn(mid, out, 1, act=None)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, shortcut: Tensor | None = None, children: object = None) -> Tensor:
        out = self.body(x)
        out += x if shortcut is None else shortcut
        return self.relu(out)


class DlaRoot(nn.Module):
    def __init__(self, inp: int, out: int) -> None:
        super().__init__()
        self.conv = conv_bn(inp, out, 1)

    def forward(self, children: list[Tensor]) -> Tensor:
        return self.conv(torch.cat(children, 1))


class DlaTree(nn.Module):
    def __init__(
        self,
        levels: int,
        inp: int,
        out: int,
        s: int = 1,
        level_root: bool = False,
        root_dim: int = 0,
    ) -> None:
        super().__init__()
        root_dim = root_dim or 2 * out
        root_dim += inp if level_root else 0
        self.levels, self.level_root = levels, level_root
        self.downsample = nn.MaxPool2d(s, s) if s > 1 else nn.Identity()
        self.project: nn.Module = nn.Identity()
        if levels == 1:
            self.tree1, self.tree2 = DlaBottleneck(inp, out, s), DlaBottleneck(out, out)
            if inp != out:
                self.project = conv_bn(inp, out, 1, act=None)
            self.root = DlaRoot(root_dim, out)
        else:
            self.tree1 = DlaTree(levels - 1, inp, out, s)
            self.tree2 = DlaTree(levels - 1, out, out, root_dim=root_dim + out)

    def forward(
        self, x: Tensor, shortcut: Tensor | None = None, children: list[Tensor] | None = None
    ) -> Tensor:
        children = [] if children is None else children
        bottom = self.downsample(x)
        shortcut = self.project(bottom)
        if self.level_root:
            children.append(bottom)
        x1 = self.tree1(x, shortcut)
        if self.levels == 1:
            return self.root([self.tree2(x1), x1, *children])
        children.append(x1)
        return self.tree2(x1, None, children)


class Dla46c(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base_layer, self.level0 = conv_bn(3, 16, 7), conv_bn(16, 16, 3)
        self.level1, self.level2 = conv_bn(16, 32, 3, 2), DlaTree(1, 32, 64, 2)
        self.level3, self.level4 = DlaTree(2, 64, 64, 2, True), DlaTree(2, 64, 128, 2, True)
        self.level5 = DlaTree(1, 128, 256, 2, True)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Conv2d(256, 1000, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.level1(self.level0(self.base_layer(x)))
        x = self.level5(self.level4(self.level3(self.level2(x))))
        return self.fc(self.avgpool(x)).flatten(1)
