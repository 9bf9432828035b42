"""What a file must carry to be enough by itself on the board."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import toolchain
from toolchain.deploy.detector.runtimes import FACES
from toolchain.exporting import task_metadata
from toolchain.exporting.task_metadata import Ends, task_entry
from toolchain.recipe import Recipe
from toolchain.records.stages import Source

KEY = "detector"
"""Where the JSON lies in the file's metadata; ``deploy/detect.py`` reads it."""

SCHEMA = 1
SCALED_SCHEMA = 3
"""Of files whose input is scaled or grey: programs that know less refuse them."""


@dataclass(frozen=True)
class Provenance:
    """Where a file comes from."""

    source: Source
    rate: float | None
    criterion: str | None
    scope: str | None


def metadata_of(
    recipe: Recipe,
    provenance: Provenance,
    *,
    dynamic: bool,
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    ends: Ends | None = None,
) -> dict[str, str]:
    """Return the metadata of an exported file, as ONNX wants it: text by text.

    ``recipe`` already holds the anchors' ratio of the weights. Files of other tasks than faces say
    which, and what they take and give: ``ends``, which faces do not need. A face detector has
    anchors; files of it that are older name no task.
    """
    source = provenance.source
    origin = {
        "rate": provenance.rate,
        "criterion": provenance.criterion,
        "scope": provenance.scope,
        "weights_sha256": source.sha256,
        "weights_layout": source.layout,
        "seed": source.seed,
        "tool_version": toolchain.__version__,
    }
    shape = recipe.input
    schema = SCHEMA if shape.is_plain else SCALED_SCHEMA
    model = {"schema": schema, "model": recipe.model.name, "trained": source.trained}
    if recipe.anchors is None:
        assert ends is not None
        entry = task_entry(recipe, ends, dynamic=dynamic, layout=layout)
        model["schema"] = task_metadata.SCHEMA
        return {KEY: _text({**model, **entry, "provenance": origin})}
    feeding: dict[str, object] = {"color_order": shape.color_order, "mean": list(shape.means)}
    if not shape.is_plain:
        feeding |= {"dtype": "float32", "scale": shape.scale, "std": list(shape.stds)}
    detector = {
        **model,
        "task": {"kind": FACES},
        "input": {
            "name": "image",
            "layout": layout,
            "height": None if dynamic else shape.height,
            "width": None if dynamic else shape.width,
            **feeding,
        },
        "outputs": ["loc", "logits"],
        "anchors": {
            "sizes": list(recipe.anchors.sizes),
            "strides": list(recipe.anchors.strides),
            "aspect_ratio": recipe.anchors.aspect_ratio,
        },
        "decode": {
            "variances": list(recipe.decode.variances),
            "score_threshold": recipe.decode.score_threshold,
            "nms_iou": recipe.decode.nms_iou,
            "max_detections": recipe.decode.max_detections,
            "support": recipe.decode.board_support,
        },
        "provenance": origin,
    }
    if not shape.is_plain:
        detector["postprocess"] = "none"
    return {KEY: _text(detector)}


def _text(content: dict[str, object]) -> str:
    return json.dumps(content, sort_keys=True)
