"""What files of other tasks than faces say of themselves: how they are fed, what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from toolchain.recipe import Recipe

SCHEMA = 4
"""Of the metadata of files of other tasks than faces; programs that know less refuse them."""
MASK_THRESHOLD = 0.5
"""Of points and masks, where the recipe says none."""


@dataclass(frozen=True)
class Ends:
    """The inputs and outputs of a network, as its files call them."""

    inputs: tuple[tuple[str, tuple[int, ...], str], ...]
    """Name, shape and type of each: ``("image", (1, 3, 224, 224), "float32")``."""
    outputs: tuple[str, ...]


def takes_pictures(recipe: Recipe, shapes: Sequence[Sequence[int | None]]) -> bool:
    """Tell whether inputs of these shapes (N, C, H, W) are one picture as the recipe feeds them."""
    return len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][1] == recipe.input.channels


def task_entry(
    recipe: Recipe, ends: Ends, *, dynamic: bool, layout: Literal["NCHW", "NHWC"]
) -> dict[str, Any]:
    """Return what the metadata have beside model and provenance."""
    task, decode = recipe.task, recipe.decode
    kind = recipe.task_kind
    own = MASK_THRESHOLD if kind in ("mask", "points") else decode.score_threshold
    shapes = [shape for _, shape, _ in ends.inputs]
    inputs = [
        {"name": name, "shape": _sides(shape, dynamic=dynamic, layout=layout), "dtype": dtype}
        for name, shape, dtype in ends.inputs
    ]
    return {
        "task": {
            "kind": kind,
            "layout": task.layout,
            "labels": list(task.labels),
            "activation": task.activation,
            "outputs": list(task.outputs),
            "strides": list(task.strides),
            "anchors": [[list(sides) for sides in level] for level in task.anchors],
            "cell_centre": task.cell_centre,
            "top": task.top,
            "decoder": task.decoder,
        },
        "decode": {
            "variances": list(decode.variances),
            "score_threshold": own if task.threshold is None else task.threshold,
            "nms_iou": decode.nms_iou,
            "max_detections": decode.max_detections,
            "support": decode.board_support,
        },
        "inputs": inputs,
        "input": _pictures(recipe, ends, dynamic=dynamic, layout=layout)
        if takes_pictures(recipe, shapes)
        else None,
        "outputs": list(ends.outputs),
    }


def _pictures(recipe: Recipe, ends: Ends, *, dynamic: bool, layout: str) -> dict[str, Any]:
    ((name, shape, _),) = ends.inputs
    pixels = recipe.input
    return {
        "name": name,
        "layout": layout,
        "height": None if dynamic else shape[2],
        "width": None if dynamic else shape[3],
        "color_order": pixels.color_order,
        "mean": list(pixels.means),
        "scale": pixels.scale,
        "std": list(pixels.stds),
        "fit": pixels.fit,
        "dtype": "float32",
    }


def _sides(shape: Sequence[int], *, dynamic: bool, layout: str) -> list[int | None]:
    """Return an input's shape as the file has it."""
    sides: list[int | None] = list(shape)
    if len(sides) != 4:
        return sides
    if dynamic:
        sides[2:] = [None, None]
    return [sides[0], *sides[2:], sides[1]] if layout == "NHWC" else sides
