"""Handwritten digits, of scikit-learn: trained, pruned, shrunk, in int8; top-1 of each step."""

from pathlib import Path

import cv2
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import toolchain as tc

RECIPE = """
model.name = "toolchain.recipes.examples.digits_to_int8:build"
input = {height = 8, width = 8, color_order = "GRAY", scale = 0.0625, mean = [8.0], std = [4.0]}
evaluate.function = "top"
"""
FORMATS = ["onnx", "int8"]


def build() -> nn.Sequential:
    """Return the network: (N, 1, 8, 8) -> (N, 10)."""
    layers = list[nn.Module]()
    for before, after in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def main(folder: Path, epochs: int = 9) -> dict[str, float]:
    """Return top-1 of the network, and of its files, on 360 digits that were not learnt."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels).float().reshape(-1, 1, 8, 8)  # from 0 to 16
    for index in range(0, len(labels), 5):  # every fifth goes into the folder of its digit
        path = (data := folder / "data") / str(labels[index]) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), images[index, 0].mul(16).clamp(0, 255).byte().numpy())
    learnt, network = torch.arange(len(labels)) % 5 > 0, build()
    known = TensorDataset((images[learnt] - 8) / 4, torch.tensor(labels)[learnt])
    loader = DataLoader(known, batch_size=32, shuffle=True)
    pruner = tc.SoftPruner(network, torch.zeros(1, 1, 8, 8), rate=0.25)
    pruner.attach(optimizer := torch.optim.Adam(network.parameters(), lr=0.004))
    for epoch in range(epochs):
        for inputs, wanted in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network.train()(inputs), wanted).backward()
            optimizer.step()
        pruner.hold() if epoch >= epochs // 2 else pruner.step()
    (recipe := folder / "digits.toml").write_text(RECIPE)
    found = {"trained": tc.evaluate(network, data, recipe=recipe)["top1"]}
    small, out = tc.shrink(network.eval(), torch.zeros(1, 1, 8, 8)), folder / "out"
    files = tc.export(small, out, recipe=recipe, data=data, calibration=loader, formats=FORMATS)
    found |= {path.name: tc.evaluate(path, data)["top1"] for path in files.files}
    print(small.report, found, sep="\n")
    return found


if __name__ == "__main__":
    main(Path("out/digits"))
