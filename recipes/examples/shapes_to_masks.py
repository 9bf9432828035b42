"""A segmentation network on drawn shapes: trained, pruned, in int8; mean IoU of each step."""

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

import toolchain as tc
from toolchain.recipes.examples._drawn_shapes import convolutions, learn, write

RECIPE = """
model.name = "toolchain.recipes.examples.shapes_to_masks:build"
input = {height = 64, width = 64, color_order = "BGR", scale = 0.0078125, mean = [1.0]}
task = {kind = "mask", labels = ["background", "disc", "square"]}
evaluate.function = "miou"
"""
FORMATS = ["onnx", "int8"]


def build() -> nn.Sequential:
    """Return the network: (N, 3, 64, 64) -> (N, 3, 16, 16), a score of each class."""
    body = convolutions((3, 16, 2), (16, 24, 2), (24, 24, 1), (24, 24, 2), (24, 24, 1))
    return nn.Sequential(*body, nn.Upsample(scale_factor=2), nn.Conv2d(24, 3, 3, padding=1))


def loss(found: torch.Tensor, masks: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Return the loss of every pixel, at the size of the picture."""
    return cross_entropy(interpolate(found, scale_factor=4, mode="bilinear"), masks)


def main(folder: Path, steps: int = 120) -> dict[str, float]:
    """Return mean IoU of the network, and of its files, on 60 pictures that were not learnt."""
    torch.manual_seed(0)
    data, network, example = write(folder / "data"), build(), torch.zeros(1, 3, 64, 64)
    learn(network, tc.SoftPruner(network, example, rate=0.25), loss, steps, rate=0.02)
    (recipe := folder / "shapes.toml").write_text(RECIPE)
    scores = {"trained": tc.evaluate(network, data, recipe=recipe)["miou"]}
    small, out, photos = tc.shrink(network, example), folder / "out", data / "images"
    files = tc.export(small, out, recipe=recipe, data=data, calibration=photos, formats=FORMATS)
    scores |= {path.name: tc.evaluate(path, data)["miou"] for path in files.files}
    print(small.report, scores, sep="\n")
    return scores


if __name__ == "__main__":
    main(Path("out/masks"))
