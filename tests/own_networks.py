"""Networks of a user's own with planted answers: a classifier, a YOLO, a segmenter, one of arrays.

Their answers follow from colours: a red picture is class 1, a red cell is a box, a red pixel is of
the second class. The layers between are random, and so wide that some channels are never read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIZE = (64, 96)


class Reds(nn.Module):
    """Gives how red each cell of so many pixels is: its first channel alone is read later."""

    def __init__(self, cell: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, cell, cell)
        self.body = nn.Conv2d(8, 8, 1)
        with torch.no_grad():
            self.stem.weight[0] = torch.tensor([1.0, -0.5, -0.5])[:, None, None] / cell**2
            self.stem.bias[0] = 0
            self.body.weight[0] = 0
            self.body.weight[0, 0] = 1
            self.body.bias[0] = 0

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) from 0 to 1 -> (N, 8, H / cell, W / cell)."""
        out: Tensor = self.body(self.stem(x).relu()).relu()
        return out


def head(channels: int) -> nn.Conv2d:
    """Return a layer that gives 0 everywhere, of 8 channels."""
    layer = nn.Conv2d(8, channels, 1)
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Classifier(nn.Module):
    """Tells grey pictures (class 0) from red ones (class 1); there is a third."""

    def __init__(self) -> None:
        super().__init__()
        self.reds, self.head = Reds(8), head(3)
        with torch.no_grad():
            self.head.weight[1, 0] = 20
            self.head.bias[:] = torch.tensor([1.0, 0.0, -2.0])

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, 3)."""
        out: Tensor = self.head(self.reds(image)).mean((2, 3))
        return out


class Yolo(nn.Module):
    """YOLOv8's layout: a box of 16 x 24 pixels round each red cell of 16, of the second class."""

    def __init__(self) -> None:
        super().__init__()
        self.reds, self.head = Reds(16), head(6)
        with torch.no_grad():
            self.head.weight[5, 0] = 20
            self.head.bias[4:] = -10
        rows, columns = SIZE[0] // 16, SIZE[1] // 16
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        grid = torch.stack([16 * x + 8, 16 * y + 8, 0 * x + 16, 0 * y + 24]).float()
        self.register_buffer("grid", grid.flatten(1)[None])

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, 64, 96) -> (N, 4 + 2, 24)."""
        out = self.head(self.reds(image)).flatten(2)
        grid: Tensor = self.grid  # type: ignore[assignment]
        return torch.cat([out[:, :4] + grid, out[:, 4:].sigmoid()], 1)


class Segmenter(nn.Module):
    """A map of a quarter of the picture's sides: background, red."""

    def __init__(self) -> None:
        super().__init__()
        self.reds, self.head = Reds(4), head(2)
        with torch.no_grad():
            self.head.weight[1, 0] = 20
            self.head.bias[:] = torch.tensor([1.0, -1.0])

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 2, H / 4, W / 4)."""
        out: Tensor = self.head(self.reds(image))
        return out


class Arrays(nn.Module):
    """Takes twelve channels, which no picture has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 12, H, W) -> maps (N, 4, H, W), level (N, 4)."""
        maps = self.second(self.first(x).relu())
        return {"maps": maps, "level": maps.mean((2, 3))}


PIXELS = """
[input]
height = 64
width = 96
scale = 0.00392156862745098
mean = [0.0]
"""
RECIPES = {
    "classes": (
        "Classifier",
        '[task]\nkind = "classes"\nlabels = ["grey", "red", "hen"]\nactivation = "softmax"\n',
    ),
    "boxes": ("Yolo", '[task]\nkind = "boxes"\nlayout = "yolov8"\nlabels = ["cat", "dog"]\n'),
    "mask": ("Segmenter", '[task]\nkind = "mask"\nlabels = ["background", "red"]\n'),
    "raw": ("Arrays", ""),
}
"""By the task: a network of this module and what its recipe says of it."""


def recipe_text(kind: str) -> str:
    """Return the recipe of a task's network."""
    name, task = RECIPES[kind]
    shapes = 'shapes = ["1x12x16x20"]\n' if kind == "raw" else ""
    return f'[model]\nname = "own_networks:{name}"\n{PIXELS}{shapes}{task}'
