"""A classifier that is right by its construction: the channel that is strongest on average."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from toolchain.evaluating.model import Model

NAMES = ("blue", "green", "red")
"""In the alphabet's order; the network's outputs are in it, too."""
SIZE = (16, 24)
RECIPE = """
[model]
name = "colours:build"

[input]
height = 16
width = 24
color_order = "RGB"
scale = 0.00392156862745098
mean = [0.0]
std = [1.0]

[evaluate]
function = "{function}"
"""


class Colours(nn.Module):
    """(N, 3, H, W), red green blue -> (N, 3): blue, green, red."""

    def __init__(self) -> None:
        super().__init__()
        self.take = nn.Conv2d(3, 4, 1)
        self.give = nn.Linear(4, 3)
        with torch.no_grad():
            self.take.weight.copy_(torch.eye(4, 3)[..., None, None])
            self.give.weight.copy_(torch.eye(4).flip(1)[1:])
            self.take.bias.zero_()
            self.give.bias.zero_()

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.give(torch.relu(self.take(image)).mean(dim=(2, 3)))
        return found


def build() -> nn.Module:
    return Colours().eval()


def draw(folder: Path, wrong: int = 0, size: tuple[int, int] = (20, 30)) -> Path:
    """Write six pictures of each colour, of which the first ``wrong`` of red are green."""
    generator = np.random.default_rng(1)
    for index, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            shown = 1 if name == "red" and number < wrong else index
            pixels = generator.integers(0, 60, (*size, 3), dtype=np.uint8)
            pixels[..., shown] += 120
            cv2.imwrite(str(folder / name / f"{number}.png"), pixels)
    return folder


def share(model: Model, data: Path) -> Mapping[str, float]:
    """A function of one's own: the share of right pictures, and how far the scores are apart."""
    rows: list[tuple[int, Any]] = [
        (NAMES.index(path.parent.name), model(path)[0][0]) for path in sorted(data.rglob("*.png"))
    ]
    right = np.mean([int(row.argmax()) == wanted for wanted, row in rows])
    gaps = np.mean([row.max() - row.min() for _, row in rows])
    return {"right": float(right), "gap_error": float(1 - gaps)}


def broken(model: Model, data: Path) -> Any:
    raise ValueError(f"no labels in {data.name}")


def nothing(model: Model, data: Path) -> Any:
    return {}


def words(model: Model, data: Path) -> Any:
    return {"right": "all"}


def not_a_number(model: Model, data: Path) -> Any:
    return {"right": np.float32("nan")}


def strange_name(model: Model, data: Path) -> Any:
    return {"a/b": 1.0}


def a_number(model: Model, data: Path) -> Any:
    return 0.5


def recipe(folder: Path, function: str, more: str = "") -> Path:
    path = folder / f"{function.replace(':', '-')}.toml"
    path.write_text(RECIPE.format(function=function) + more, encoding="utf-8")
    return path


def worse(model: Model, data: Path) -> Any:
    """Whatever int8 does, half of it is wrong."""
    return {"right": 0.5 if "int8" in model.name else 1.0}


class Areas(nn.Module):
    """(N, 3, H, W) -> (N, 3, H, W): scores of blue, green, red for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.take = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.take.weight.copy_(torch.eye(3).flip(0)[..., None, None])

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.take(image))


class Planted(nn.Module):
    """Gives two boxes whatever it sees: class 1 with 0.9, class 0 with 0.8."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        nothing = image.mean() * 0
        boxes = torch.tensor([[[2.0, 2, 10, 10], [12, 4, 20, 12]]])
        scores = torch.tensor([[[0.1, 0.9], [0.8, 0.2]]])
        return boxes + nothing, scores + nothing


def talkative(model: Model, data: Path) -> Any:
    print(f"{model.name} on {data}")
    return {"right": 1.0}
