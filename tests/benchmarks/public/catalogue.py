"""The networks of the benchmark, smallest work first: what they take and what is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.benchmarks.public.networks import (
    faces,
    mobile,
    pixels,
    residual,
    sequences,
    shuffle,
    tokens,
    yolo,
    yolox,
)

PIXELS = 64.0
"""How large the numbers are that a proof gives a network for which nobody says otherwise."""


@dataclass(frozen=True)
class Entry:
    """A network of the benchmark."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int, int]
    """Of an input."""
    published: int | None = None
    """Parameters that its authors, or the package of its layout, tell; None: none exactly."""
    other: tuple[int, int] | None = None
    """Another height and width that it takes; None where its size is fixed."""

    def build(self, seed: int = 0) -> nn.Module:
        """The network in eval mode, with weights from a seed and statistics of noise."""
        torch.manual_seed(seed)
        network = self.make()
        for module in network.modules():
            _draw(module)
        with torch.no_grad():  # statistics of what really flows, so that no activation is all flat
            network.train()(PIXELS * torch.randn(4, *self.shape[1:]))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
                module.running_mean.add_(
                    module.running_var.sqrt() * torch.randn(module.num_features) * 0.1
                )
                module.running_var.mul_(torch.empty(module.num_features).uniform_(0.8, 1.2))
        return network.eval()

    @property
    def example(self) -> Tensor:
        """Zeros that the network takes."""
        return torch.zeros(self.shape)


def _draw(module: nn.Module) -> None:
    """Draw what is 0, 1 or tiny in a fresh module."""
    if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
        nn.init.uniform_(module.weight, 0.5, 1.5)
        nn.init.normal_(module.bias, 0.0, 0.3)
    if isinstance(module, nn.BatchNorm2d):
        module.momentum = 1.0
    for name, parameter in module.named_parameters(recurse=False):
        if name == "gamma":
            nn.init.uniform_(parameter, 0.2, 0.8)
        if name in ("cls_token", "pos_embed"):
            nn.init.normal_(parameter, 0.0, 0.5)


def image(size: int, channels: int = 3) -> tuple[int, int, int, int]:
    return 1, channels, size, size


ENTRIES = (
    Entry("ESPCN", pixels.espcn, image(64, 1), 22_729, (48, 80)),
    Entry("BC-ResNet-1", sequences.BcResNet, (1, 1, 40, 101), None, (40, 64)),
    Entry("YuNet-n", faces.YuNet, image(320), 75_856, (192, 256)),
    Entry("RetinaFace-0.25", faces.RetinaFace, image(320), 426_608, (192, 256)),
    Entry("YOLOX-nano", yolox.YoloxNano, image(320), None, (192, 256)),
    Entry("FaceBoxes", faces.FaceBoxes, image(320), None, (192, 256)),
    Entry("NanoDet-Plus-m", shuffle.NanoDetPlus, image(320), None, (192, 256)),
    Entry("ShuffleNetV2", shuffle.ShuffleNetV2, image(224), 2_278_604, (160, 192)),
    Entry("MobileNetV3-small", mobile.mobilenet_v3_small, image(224), 2_542_856, (160, 192)),
    Entry("PP-LCNet", mobile.PPLCNet, image(224), None, (160, 192)),
    Entry("Fast-SCNN", pixels.FastScnn, (1, 3, 256, 512), None, (192, 256)),
    Entry("MobileViT-XXS", tokens.mobilevit_xxs, image(256), 1_272_024, (192, 256)),
    Entry("DLA-46-C", residual.Dla46c, image(224), None, (160, 192)),
    Entry("RegNetY-200MF", residual.regnet_y_200mf, image(224), 3_162_996, (160, 192)),
    Entry("MobileNetV2", mobile.mobilenet_v2, image(224), 3_504_872, (160, 192)),
    Entry("GhostNet", mobile.GhostNet, image(224), None, (160, 192)),
    Entry("EfficientNet-Lite0", mobile.efficientnet_lite0, image(224), 4_652_008, (160, 192)),
    Entry("YOLOv8n", yolo.yolov8n, image(320), 3_157_200, (192, 256)),
    Entry("YOLO11n", yolo.yolo11n, image(320), 2_624_080, (192, 256)),
    Entry("ConvNeXt-atto", tokens.convnext_atto, image(224), None, (160, 192)),
    Entry("ConvNeXt-atto-linear", tokens.convnext_atto_linear, image(224), None, (160, 192)),
    Entry("ViT-Tiny", tokens.ViT, image(224), 5_717_416),
    Entry("CRNN", sequences.Crnn, (1, 1, 32, 160), None, (32, 100)),
    Entry("ResNet-18", residual.resnet18, image(224), 11_689_512, (160, 192)),
    Entry("RepVGG-A0", residual.RepVgg, image(224), None, (160, 192)),
    Entry("U-Net-32", pixels.UNet, image(128), 7_763_041, (96, 160)),
    Entry("ResNet-50", residual.resnet50, image(224), 25_557_032, (160, 192)),
)
