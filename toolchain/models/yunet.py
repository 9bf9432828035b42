"""YuNet-n, from "YuNet: A Tiny Millisecond-level Face Detector" (Wu, Peng and Yu, 2023).

About 76,000 parameters; what ``cv2.FaceDetectorYN`` of OpenCV runs. Module names are those of the
published code, and outputs those of the published ONNX files, so that a smaller one runs there.

The way of the data, for an image of H x W::

    backbone.model0                3 -> 16 -> 16             H/2, pooled to H/4
    backbone.model1, model2        16 -> 64 -> 64            H/4, pooled to H/8
    backbone.model3, 4, 5          64, pooled in between     H/8, H/16, H/32
    neck.lateral_convs             from coarse to fine; each is added to the finer one
    bbox_head                      a shared unit a level, then classes, boxes, objectness, points

Every unit is a 1x1 convolution and a depthwise 3x3 one.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.models.detector import Detector

STRIDES = (8, 16, 32)
POINTS = 5
KINDS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 2 * POINTS}
"""What a cell gives, in the order of the outputs, and how many numbers of each: whether it is a
face, whether there is one, the box, and its points."""
OUTPUTS = tuple(f"{kind}_{stride}" for kind, stride in product(KINDS, STRIDES))
WIDTHS = ((16, 16), (16, 64), (64, 64), (64, 64), (64, 64), (64, 64))
"""Channels into and out of the stages of the backbone."""


class Unit(nn.Module):
    """A 1x1 convolution, a depthwise 3x3 one, and mostly batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, bare: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels)
        self.bn = None if bare else nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        out: Tensor = self.conv2(self.conv1(x))
        return out if self.bn is None else F.relu(self.bn(out))


class Stem(nn.Module):
    """A 3x3 convolution of stride 2, and a unit."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = Unit(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, out, ceil(H / 2), ceil(W / 2))."""
        out: Tensor = self.conv2(F.relu(self.bn1(self.conv1(x))))
        return out


class Stage(nn.Module):
    """Two units, of which the second widens."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = Unit(in_channels, in_channels)
        self.conv2 = Unit(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        out: Tensor = self.conv2(self.conv1(x))
        return out


class Backbone(nn.Module):
    """Six stages, pooled after all but the second and the last."""

    POOLED = (0, 2, 3, 4)

    def __init__(self) -> None:
        super().__init__()
        self.model0 = Stem(*WIDTHS[0])
        for index, widths in enumerate(WIDTHS[1:], start=1):
            self.add_module(f"model{index}", Stage(*widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> three features (N, 64, H / stride, W / stride), finest first."""
        features = []
        for index in range(len(WIDTHS)):
            x = self.get_submodule(f"model{index}")(x)
            features.append(x)
            if index in self.POOLED:
                x = F.max_pool2d(x, 2)
        return features[-len(STRIDES) :]


class Neck(nn.Module):
    """From coarse to fine: each level's unit, then added to the next finer one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(Unit(channels, channels) for _ in STRIDES)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Three features, finest first -> three of the same shapes."""
        coarse = self.lateral_convs[2](features[2])
        middle = self.lateral_convs[1](_above(features[1], coarse))
        fine = self.lateral_convs[0](_above(features[0], middle))
        return [fine, middle, coarse]


def _above(finer: Tensor, coarser: Tensor) -> Tensor:
    size = [finer.shape[2], finer.shape[3]]
    return finer + F.interpolate(coarser, size=size, mode="nearest")


class Head(nn.Module):
    """For each level a shared unit, and one that ends it for each kind of output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.multi_level_share_convs = nn.ModuleList(
            nn.Sequential(Unit(channels, channels)) for _ in STRIDES
        )
        for kind, numbers in KINDS.items():
            ends = nn.ModuleList(Unit(channels, numbers, bare=True) for _ in STRIDES)
            self.add_module(f"multi_level_{kind}", ends)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        """Three features, finest first -> maps (N, numbers, rows, columns), by OUTPUTS."""
        shared = [
            unit(feature)
            for unit, feature in zip(self.multi_level_share_convs, features, strict=True)
        ]
        return tuple(
            self.get_submodule(f"multi_level_{kind}.{level}")(feature)
            for kind in KINDS
            for level, feature in enumerate(shared)
        )


class YuNet(nn.Module):
    """The detector. Sides of the image are multiples of 32, or cells do not meet."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck(WIDTHS[-1][1])
        self.bbox_head = Head(WIDTHS[-1][1])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Twelve outputs by the names in :data:`OUTPUTS`, (N, cells, numbers), cells row by row.

        ``image`` (N, 3, H, W): blue, green, red from 0 to 255. A cell of stride s at (x, y) has a
        face with a probability of sqrt(cls * obj); its box is centred at (x + bbox[0]) * s,
        (y + bbox[1]) * s, and is exp(bbox[2]) * s wide and exp(bbox[3]) * s high; its points are
        offsets in cells as well.
        """
        maps = self.bbox_head(self.neck(self.backbone(image)))
        rows = [each.flatten(2).transpose(1, 2) for each in maps]
        scores = 2 * len(STRIDES)
        return tuple(torch.sigmoid(each) for each in rows[:scores]) + tuple(rows[scores:])


def _published_order() -> tuple[str, ...]:
    """Return convolutions in the order in which published ONNX files hold them."""
    pair = ("conv1", "conv2")
    stages = [f"backbone.model{stage}.{unit}" for stage in range(1, len(WIDTHS)) for unit in pair]
    necks = [f"neck.lateral_convs.{level}" for level in (2, 1, 0)]
    shared = [f"bbox_head.multi_level_share_convs.{level}.0" for level in range(len(STRIDES))]
    ends = [
        f"bbox_head.multi_level_{kind}.{level}"
        for kind in ("cls", "bbox", "obj", "kps")
        for level in range(len(STRIDES))
    ]
    units = ["backbone.model0.conv2", *stages, *necks, *shared, *ends]
    return ("backbone.model0.conv1", *(f"{unit}.{conv}" for unit in units for conv in pair))


DETECTOR = Detector(
    name="yunet",
    factory=YuNet,
    marks=("bbox_head.multi_level_kps.0.conv1.weight",),
    outputs=OUTPUTS,
    convolutions=_published_order(),
)
"""What checkpoints need to know of it."""
