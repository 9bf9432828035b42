"""What ncnn's layers take on a core, from a table that ships: an estimate, in no time.

The table was measured on the emulated core, each layer alone. Layers that are not in it are
estimated by those that are: of the same parameters at other sizes by what a pixel takes, other
convolutions by what a multiply-add takes, anything else by what a number takes that is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

ASKING, EACH = 150_000, 3_000
"""Instructions of an inference beyond its layers: asking for outputs, and by layer."""


@dataclass(frozen=True)
class Known:
    """A measured layer."""

    kind: str
    params: str
    channels: tuple[int, ...]
    pixels: int
    read: int
    """Numbers that it reads, of all inputs together."""
    work: int
    """Multiply-adds of a convolution, else the numbers read."""
    instructions: int


@dataclass(frozen=True)
class LayerCosts:
    """The table of one core."""

    core: str
    runtime: str
    """With its version."""
    exact: Mapping[str, int]
    known: tuple[Known, ...]

    def total(self, keys: Sequence[str]) -> int:
        """Return the instructions of an inference that runs layers of these keys."""
        return ASKING + EACH * len(keys) + sum(self.of(key) for key in keys)

    def of(self, key: str) -> int:
        """Return the instructions of a layer, measured or estimated."""
        if key in self.exact:
            return self.exact[key]
        asked = _parsed(key, 0)
        alike = [each for each in self.known if _signature(each) == _signature(asked)]
        same = [each for each in alike if each.channels == asked.channels]
        if same and "Interp" not in asked.kind:
            return round(_between(asked.pixels, [(e.pixels, e.instructions) for e in same]))
        some = alike or [each for each in self.known if each.kind == asked.kind] or self.known
        near = min(some, key=lambda each: abs(math.log(each.work / max(asked.work, 1))))
        return round(near.instructions * asked.work / near.work)


def _signature(layer: Known) -> tuple[str, str]:
    """Return what layers share that have other channels or sizes."""
    words = [
        word
        for word in layer.params.split()
        if not word.startswith(("0=", "6=", "7=")) or layer.kind == "BinaryOp"
    ]
    return layer.kind, "" if layer.kind == "Interp" else " ".join(words)


def _between(pixels: int, measured: Sequence[tuple[int, int]]) -> float:
    """Return what so many pixels take, on the line through the nearest that were measured."""
    points = sorted(dict(measured).items())
    if len(points) == 1:
        return points[0][1] * pixels / points[0][0]
    above = next((i for i, (size, _) in enumerate(points) if size >= pixels), len(points) - 1)
    (x, low), (y, high) = points[max(above - 1, 0)], points[max(above, 1)]
    return max(0.0, low + (high - low) * (pixels - x) / (y - x))


def _parsed(key: str, instructions: int) -> Known:
    """Read ``BinaryOp 0=0 of 16x80x80 16x80x80``."""
    layer, _, sizes = key.rpartition(" of ")
    kind, _, params = layer.partition(" ")
    shapes = [tuple(map(int, size.split("x"))) for size in sizes.split()]
    read = sum(math.prod(shape) for shape in shapes)
    rows, columns = max((shape[1:] for shape in shapes), key=math.prod)
    given = dict(word.split("=", 1) for word in params.split())
    work = read
    channels = tuple(shape[0] for shape in shapes)
    if kind.startswith("Convolution"):
        stride = int(given.get("3", 1)) * int(given.get("13", 1))
        work = max(1, int(given["6"]) * rows * columns // stride)
        channels += (int(given["0"]),)
    return Known(kind, params, channels, rows * columns, read, max(work, 1), instructions)


@cache
def costs_of_core(core: str) -> LayerCosts | None:
    """Return the table of a core; None where none ships."""
    place = resources.files("toolchain.arm").joinpath(f"ncnn-{core}.json")
    if not place.is_file():
        return None
    content = json.loads(place.read_text(encoding="utf-8"))
    exact = {str(key): int(cost) for key, cost in content["layers"].items()}
    known = tuple(_parsed(key, cost) for key, cost in exact.items())
    return LayerCosts(core, str(content["runtime"]), exact, known)
