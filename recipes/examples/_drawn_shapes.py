"""Pictures of discs and squares, with boxes and masks, for the examples that learn to find them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy

import toolchain as tc

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Of outputs, masks, and what a YOLO should give."""
KINDS = ("disc", "square")


def draw(dice: np.random.Generator) -> tuple[Any, Any, list[tuple[int, int, int, int]]]:
    """Return a picture (64, 64, 3) of two shapes, its mask (64, 64), and the boxes.

    A mask is 0, or the kind plus one; a box is its middle's x and y, its side, and its kind.
    """
    image, mask = dice.integers(0, 90, (64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    boxes = []
    for start in (0, 32):
        x, y, half, kind = (int(each) for each in dice.integers((10, 10, 5, 0), (23, 54, 10, 2)))
        x += start
        for canvas, shade in ((image, dice.integers(150, 256, 3).tolist()), (mask, kind + 1)):
            if KINDS[kind] == "disc":
                cv2.circle(canvas, (x, y), half, shade, -1)
            else:
                cv2.rectangle(canvas, (x - half, y - half), (x + half, y + half), shade, -1)
        boxes.append((x, y, 2 * half + 1, kind))
    return image, mask, boxes


def batches(count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Give batches of 16: images from -1 to 1, masks, and what a YOLO should give (16, 6, 64)."""
    dice = np.random.default_rng(1)
    for _ in range(count):
        images, masks, boxes = zip(*(draw(dice) for _ in range(16)), strict=True)
        cells = torch.zeros(16, 6, 64)
        for row, shapes in zip(cells, boxes, strict=True):
            for x, y, side, kind in shapes:
                values = [x + 0.5, y + 0.5, side, side, 1 - kind, kind]
                row[:, y // 8 * 8 + x // 8] = torch.tensor(values)
        pixels = torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 128 - 1
        yield pixels, torch.tensor(np.stack(masks)).long(), cells


def convolutions(*shapes: tuple[int, int, int]) -> nn.Sequential:
    """Return a convolution, batch norm and ReLU for each (channels in, channels out, stride)."""
    layers = list[nn.Module]()
    for into, out, stride in shapes:
        layers += [nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers)


def loss_of(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the loss of a YOLO's cells: of all scores, and of boxes where a shape is."""
    there = wanted[:, 4:].amax(1, keepdim=True)
    far = (there * (found - wanted)[:, :4]).abs().sum()
    scores = binary_cross_entropy(found[:, 4:], wanted[:, 4:], reduction="sum")
    return (scores + far / 10) / len(found)


def learn(
    network: nn.Module, pruner: tc.SoftPruner, loss: Loss, steps: int, rate: float
) -> nn.Module:
    """Train and prune on batches that are drawn anew; the second half gets used to the zeros."""
    pruner.attach(optimizer := torch.optim.Adam(network.parameters()))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step, (images, masks, cells) in enumerate(batches(steps)):
        optimizer.zero_grad()
        loss(network.train()(images), masks, cells).backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 19:
            pruner.hold() if step >= steps // 2 else pruner.step()
    return network.eval()


def write(folder: Path, count: int = 60) -> Path:
    """Write images/, masks/, and annotations.json in COCO's format; return the folder."""
    dice, photos, found = np.random.default_rng(0), list[Any](), list[Any]()
    for index in range(count):
        image, mask, boxes = draw(dice)
        for place, pixels in (("images", image), ("masks", mask)):
            (folder / place).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / place / f"{index}.png"), pixels)
        photos.append({"id": index, "file_name": f"{index}.png"})
        for x, y, side, kind in boxes:
            box = {"category_id": kind, "bbox": [x - side // 2, y - side // 2, side, side]}
            found.append({"id": len(found) + 1, "image_id": index, **box})
    names = [{"id": number, "name": name} for number, name in enumerate(KINDS)]
    truth = {"images": photos, "annotations": found, "categories": names}
    (folder / "annotations.json").write_text(json.dumps(truth))
    return folder
