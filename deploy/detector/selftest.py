"""Run the model once on the stored input, and compare with what the build machine found.

Beside it lie the model, ``photo.png`` or ``input.npz``, and ``expected.json``, which says what was
found there (boxes in pixels, scores, values of the outputs) and how far this may be from it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detecting import DEFAULT_SIZE
from .errors import DetectError, one_line
from .opening import open_runner
from .pictures import read_image
from .runtimes import open_network, specification_of
from .sources import read_arrays
from .specification import Specification
from .tasks.selftest import difference, judged, kept_of

SAMPLED = 64
"""Values of each output that are compared."""


def look(model: Path, photo: Path, threads: int) -> dict[str, Any]:
    """Return the faces of the photo, best first, and some values of each output.

    What random weights take for faces means nothing, and is left out.
    """
    network = open_network(model, threads)
    specification = specification_of(network)
    size = input_size(specification)
    prepared, placement = network.prepare(read_image(photo), specification, size)
    given = network.infer(specification, prepared)
    first, second = network.outputs(given)
    boxes, scores = network.faces(given, specification, size, placement, None)
    if not specification.trained:
        boxes, scores = boxes[:0], scores[:0]
    return {
        "boxes": [[round(side, 2) for side in box] for box in boxes.tolist()],
        "scores": [round(score, 4) for score in scores.tolist()],
        "outputs": [_sample(first), _sample(second)],
        "ranges": [_range(output) for output in (first, second)],
    }


def look_at_task(model: Path, given: Path, threads: int) -> dict[str, Any]:
    """Return what another task than faces finds, and some values of each output.

    What random weights find means nothing, and is left out.
    """
    runner = open_runner(model, threads, judged)
    if given.suffix == ".npz":
        inputs, placement = runner.checked(read_arrays(given)), runner.whole_input()
    else:
        inputs, placement = runner.prepare(read_image(given))
    outputs = runner.compute(inputs)
    for name, output in outputs.items():
        if not np.isfinite(output).all():
            raise DetectError(f"output {name!r} is NaN or infinite; look at the weights")
    found = runner.read(outputs, placement)
    kept = kept_of(found) if runner.specification.trained else {}
    return {
        "task": runner.specification.kind,
        "found": kept,
        "words": found.words() if any(kept.values()) else "",
        "outputs": [_sample(output.astype(np.float64)) for output in outputs.values()],
        "ranges": [_range(output.astype(np.float64)) for output in outputs.values()],
    }


def input_size(specification: Specification) -> tuple[int, int]:
    """Return height and width of the input, in pixels."""
    if specification.height is None or specification.width is None:
        return DEFAULT_SIZE
    return specification.height, specification.width


def _range(output: NDArray[Any]) -> float:
    return float(f"{np.ptp(output):.6g}") if output.size else 0.0


def _sample(output: NDArray[Any]) -> list[float]:
    flat = output.ravel()
    chosen = flat[np.linspace(0, len(flat) - 1, min(SAMPLED, len(flat))).astype(int)]
    return [float(f"{value:.6g}") for value in chosen.tolist()]


def compare(found: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """Return how the two differ by more than they may, on one line; None if they do not."""
    if "task" in expected:
        trouble = difference(found["found"], expected["found"], expected)
        return f"{trouble} (on the build machine)" if trouble else _apart(found, expected)
    here, there = len(found["boxes"]), len(expected["boxes"])
    if here != there:
        return f"{_faces(here)} here, {there} on the build machine"
    boxes = _array(found["boxes"]).reshape(-1, 4), _array(expected["boxes"]).reshape(-1, 4)
    for box, score in zip(boxes[1], expected["scores"], strict=True):
        nearest = int(np.abs(boxes[0] - box).max(axis=1).argmin())
        shift = float(np.abs(boxes[0][nearest] - box).max())
        if not shift <= expected["box_limit_px"]:
            return f"a box is {shift:.2f} pixels from where it was on the build machine"
        change = abs(found["scores"][nearest] - score)
        if not change <= expected["score_limit"]:
            return f"a face's probability differs by {change:.3f} from the build machine's"
    return _apart(found, expected)


def _apart(found: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """Return how the values of the outputs differ by more than they may; None if they do not."""
    for ours, theirs, span in zip(
        found["outputs"], expected["outputs"], expected["ranges"], strict=True
    ):
        gaps = np.abs(_array(ours) - _array(theirs)) if len(ours) == len(theirs) else _array([1e9])
        gap = float(gaps.max() if expected["figure"] == "largest" else gaps.mean())
        if not gap <= expected["output_limit"] * span:
            return f"the network's output differs by {gap:.3g} from the build machine's"
    return None


def _array(values: list[Any]) -> NDArray[np.float64]:
    return np.array(values, np.float64)


def _faces(count: int) -> str:
    return f"{count} face{'' if count == 1 else 's'}"


def main(here: Path) -> int:
    """Compare; print that it works, or how it does not."""
    try:
        expected = json.loads((here / "expected.json").read_bytes())
        given = here / expected.get("input", "photo.png")
        see = look_at_task if "task" in expected else look
        found = see(here / expected["model"], given, threads=0)
    except (DetectError, OSError, ValueError, KeyError) as error:
        print(f"it does not run here: {one_line(error)}", file=sys.stderr)
        return 1
    trouble = compare(found, expected)
    if trouble:
        print(f"it does not do here what it did: {trouble}", file=sys.stderr)
        return 1
    count = len(found.get("boxes", []))
    words = found.get("words") or (_faces(count) if count else "the same output")
    print(f"works: {words}, as on the build machine")
    return 0
