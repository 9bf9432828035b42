"""Small networks to recover, each in the style of a well-known kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def unit(
    given: int, gives: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution with batch norm and an activation."""
    convolution = nn.Conv2d(given, gives, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(gives), nn.ReLU(inplace=True))


class Basic(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, given: int, gives: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, gives, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(gives)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(gives, gives, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(gives)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or given != gives:
            self.shortcut = nn.Sequential(
                nn.Conv2d(given, gives, 1, stride, bias=False), nn.BatchNorm2d(gives)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return self.relu(out)


class Residual(nn.Module):
    """ResNet in small: a stem, two stages, a linear layer."""

    def __init__(self, width: int = 8, classes: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(Basic(width, width), Basic(width, width))
        self.layer2 = nn.Sequential(Basic(width, 2 * width, 2), Basic(2 * width, 2 * width))
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Excitation(nn.Module):
    """Channels weighed by what all pixels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 4, 1)
        self.fc2 = nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(self.fc1(x.mean(dim=(2, 3), keepdim=True)).relu()).sigmoid()


class Inverted(nn.Module):
    """MobileNet's block: wide, depthwise, narrow; with a shortcut where the shape stays."""

    def __init__(self, given: int, gives: int, stride: int = 1) -> None:
        super().__init__()
        wide = 2 * given
        self.conv = nn.Sequential(
            *unit(given, wide, 1),
            *unit(wide, wide, 3, stride, wide),
            Excitation(wide),
            nn.Conv2d(wide, gives, 1, bias=False),
            nn.BatchNorm2d(gives),
        )
        self.is_residual = stride == 1 and given == gives

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.is_residual else self.conv(x)


class Mobile(nn.Module):
    """MobileNet in small."""

    def __init__(self, classes: int = 4, width: int = 8) -> None:
        super().__init__()
        more = 3 * width // 2
        self.features = nn.Sequential(
            unit(3, width, 3, 2),
            Inverted(width, width),
            Inverted(width, more, 2),
            Inverted(more, more),
            unit(more, 2 * more, 1),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * more, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean(dim=(2, 3)))


class Bottleneck(nn.Module):
    """Two convolutions and a shortcut, within a :class:`Split`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = unit(channels, channels), unit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class Split(nn.Module):
    """YOLO's C2f: halves, of which one goes on, and all of it side by side."""

    def __init__(self, given: int, gives: int, times: int = 1) -> None:
        super().__init__()
        self.half = gives // 2
        self.cv1, self.cv2 = unit(given, gives, 1), unit((2 + times) * self.half, gives, 1)
        self.m = nn.ModuleList(Bottleneck(self.half) for _ in range(times))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, dim=1))
        for module in self.m:
            parts.append(module(parts[-1]))
        return self.cv2(torch.cat(parts, dim=1))


class Detector(nn.Module):
    """A backbone, a way up and two heads, whose outputs lie one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(3, 8, 3, 2)
        self.down1, self.c1 = unit(8, 8, 3, 2), Split(8, 8)
        self.down2, self.c2 = unit(8, 16, 3, 2), Split(16, 16)
        self.up = nn.Upsample(scale_factor=2)
        self.c3 = Split(24, 8)
        self.scores = nn.ModuleList([nn.Conv2d(8, 3, 1), nn.Conv2d(16, 3, 1)])
        self.boxes = nn.ModuleList([nn.Conv2d(8, 4, 1), nn.Conv2d(16, 4, 1)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.c1(self.down1(self.stem(x)))
        second = self.c2(self.down2(first))
        levels = self.c3(torch.cat([self.up(second), first], dim=1)), second
        scores, boxes = (
            torch.cat(
                [head(level).flatten(2) for head, level in zip(heads, levels, strict=True)], 2
            )
            for heads in (self.scores, self.boxes)
        )
        return scores.sigmoid(), boxes


def plain(classes: int = 4) -> nn.Sequential:
    """Convolutions one after the other, depthwise ones among them, and a linear layer."""
    return nn.Sequential(
        *unit(3, 8),
        nn.MaxPool2d(2),
        *unit(8, 8, groups=8),
        *unit(8, 16, 1),
        *unit(16, 16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, classes),
    )


def trained(network: nn.Module, size: int = 16) -> nn.Module:
    """A network whose batch norms know what comes in, so that it tells images apart."""
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(5):
            network.train()(images(8, size))
    return network.eval()


def images(count: int, size: int = 16) -> Tensor:
    """Smooth shapes and a little noise, which differ."""
    coarse = torch.nn.functional.interpolate(
        torch.randn(count, 3, 3, 3), (size, size), mode="bicubic"
    )
    return coarse + 0.1 * torch.randn(count, 3, size, size)
