"""A detector of YOLO's layout on drawn shapes: trained, pruned, in int8; COCO's figure of each."""

from pathlib import Path

import torch
from torch import nn

import toolchain as tc
from toolchain.recipes.examples._drawn_shapes import convolutions, learn, loss_of, write

RECIPE = """
model.name = "toolchain.recipes.examples.shapes_to_boxes:Detector"
input = {height = 64, width = 64, color_order = "BGR", scale = 0.0078125, mean = [1.0]}
task = {kind = "boxes", layout = "yolov8", labels = ["disc", "square"]}
evaluate = {function = "coco", judged = ["map50"], most_lost = {map50 = 0.02}}
"""
FORMATS = ["onnx", "int8"]


class Detector(nn.Module):
    """(N, 3, 64, 64) -> (N, 6, 64): of each cell centre, width, height in pixels, two scores."""

    def __init__(self) -> None:
        super().__init__()
        self.body = convolutions((3, 16, 2), (16, 24, 2), (24, 32, 2), (32, 32, 1))
        self.head = nn.Conv2d(32, 6, 1)
        x, y = torch.arange(4.0, 64, 8).repeat(8), torch.arange(4.0, 64, 8).repeat_interleave(8)
        self.cells = nn.Buffer(torch.stack([x, y])[None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return all boxes and scores, decoded as YOLOv8's are."""
        places, rest = self.head(self.body(images)).flatten(2).split([2, 4], dim=1)
        sides, scores = (rest - 2).sigmoid().split(2, dim=1)
        return torch.cat([self.cells + 8 * places, 32 * sides, scores], 1)


def main(folder: Path, steps: int = 300) -> dict[str, float]:
    """Return mAP at an IoU of 0.5 of the network, and of its files, on 60 other pictures."""
    torch.manual_seed(0)
    data, network, example = write(folder / "data"), Detector(), torch.zeros(1, 3, 64, 64)
    pruner = tc.SoftPruner(network, example, rate=0.25)
    learn(network, pruner, lambda found, _, cells: loss_of(found, cells), steps, rate=0.01)
    (recipe := folder / "shapes.toml").write_text(RECIPE)
    scores = {"trained": tc.evaluate(network, data, recipe=recipe)["map50"]}
    small, out, photos = tc.shrink(network, example), folder / "out", data / "images"
    files = tc.export(small, out, recipe=recipe, data=data, calibration=photos, formats=FORMATS)
    scores |= {path.name: tc.evaluate(path, data)["map50"] for path in files.files}
    print(small.report, scores, sep="\n")
    return scores


if __name__ == "__main__":
    main(Path("out/boxes"))
