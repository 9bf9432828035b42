"""Links: what runs a file, and how two files are compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from deploy import detect
from toolchain.certificate import BoxAgreement, Link, LinkCase
from toolchain.chain.forms import bare_end, crowd_of, expected_faces, formed_end, found_faces
from toolchain.check.parity import Outputs, ProofInput, Runner, run_network, run_onnx
from toolchain.check.tflite import run_tflite
from toolchain.errors import ParityError
from toolchain.export.form import has_form
from toolchain.export.rewriting import ON_GRAPHS
from toolchain.files import sha256_of
from toolchain.pictures import Photo, find_faces
from toolchain.recipe import ProofSection, Recipe
from toolchain.sources import load_network

Kind = Literal["surgery", "export", "rewrite", "half", "int8", "form"]

SOFT, SHRUNK, EXPORTED = "chain/soft.safetensors", "model.safetensors", "chain/exported.onnx"
ONNX, ONNX_INT8 = "model.onnx", "model_int8.onnx"
TFLITE, TFLITE_HALF, TFLITE_INT8 = "model.tflite", "model_fp16.tflite", "model_int8.tflite"

SIMPLIFIED = "chain/simplified.onnx"
STEPS = (SIMPLIFIED, *(f"chain/{name}.onnx" for name in ON_GRAPHS))
"""What may lie between the ONNX file as exported and the finished one: each rewrite's file is there
if the rewrite changed something, and the first if any did."""


def _bare_plan(steps: Sequence[str]) -> tuple[tuple[str, str, Kind], ...]:
    """Return the chain of files without a form.

    int8 is made of the file before rewrites, which would only give it more to round.
    """
    simplified = SIMPLIFIED if steps else ONNX
    return (
        (SOFT, SHRUNK, "surgery"),
        (SHRUNK, EXPORTED, "export"),
        (EXPORTED, simplified, "export"),
        *(
            (before, after, "rewrite")
            for before, after in pairwise((*steps, ONNX) if steps else ())
        ),
        (simplified, ONNX_INT8, "int8"),
        (SHRUNK, TFLITE, "export"),
        (TFLITE, TFLITE_HALF, "half"),
        (TFLITE, TFLITE_INT8, "int8"),
    )


def steps_in(folder: Path) -> list[str]:
    """Return those of :data:`STEPS` that lie in an output folder, in order."""
    return [name for name in STEPS if (folder / name).is_file()]


FINISHED = (ONNX, ONNX_INT8, TFLITE, TFLITE_HALF, TFLITE_INT8)
"""Files for a board."""

OVERLAP = 0.5
"""Intersection over union from which on two boxes are of the same face."""


def bare_of(name: str, recipe: Recipe) -> str:
    """Return the file that takes floats and gives raw outputs: where files get a form, another."""
    return f"chain/bare/{name}" if name in FINISHED and has_form(recipe) else name


def plan_of(recipe: Recipe, steps: Sequence[str]) -> tuple[tuple[str, str, Kind], ...]:
    """Return the recipe's whole chain, in order: two files in the output folder, what lies between.

    ``steps`` are those of :data:`STEPS` that there are.
    """
    whole: list[tuple[str, str, Kind]] = []
    for before, after, kind in _bare_plan(steps):
        bare = bare_of(after, recipe)
        whole.append((bare_of(before, recipe), bare, kind))
        if bare != after:
            whole.append((bare, after, "form"))
    return tuple(whole)


@dataclass(frozen=True)
class Limits:
    """What a link may cost."""

    figure: Literal["largest", "mean"]
    difference: float
    """Share of the output's range."""
    boxes: float | None = None
    lost: float | None = None
    """Average precision, from 0 to 1."""


def limits_of(kind: Kind, proof: ProofSection) -> Limits:
    """Return the recipe's limits for a link."""
    if kind == "surgery":
        return Limits("largest", proof.surgery_limit)
    if kind in ("export", "form"):
        return Limits("largest", proof.onnx_limit)
    if kind == "rewrite":
        return Limits("largest", proof.rewrite_limit)
    if kind == "half":
        return Limits("mean", proof.half_limit, proof.half_boxes, proof.half_loss)
    return Limits("mean", proof.int8_limit, proof.int8_boxes, proof.int8_loss)


def open_end(path: Path, recipe: Recipe) -> Runner:
    """Open a file of the chain: weights, ONNX or TFLite."""
    if path.suffix == ".safetensors":
        return run_network(load_network(recipe, path).network.eval())
    return run_onnx(path) if path.suffix == ".onnx" else run_tflite(path)


def runtime_of(name: str) -> str:
    """Return what runs a file, with its version."""
    packages = {".safetensors": "torch", ".onnx": "onnxruntime", ".tflite": "ai-edge-litert"}
    package = packages[os.path.splitext(name)[1]]  # noqa: PTH122
    return f"{package} {metadata.version(package)}"


def measure_link(
    folder: Path,
    before: str,
    after: str,
    kind: Kind,
    recipe: Recipe,
    inputs: Sequence[ProofInput],
    photos: Sequence[Photo] = (),
) -> Link:
    """Run both ends on all inputs, and on photos if they find faces; judge nothing."""
    limits = limits_of(kind, recipe.proof)
    ends = [open_end(folder / name, recipe) for name in (before, after)]
    if kind == "form":
        ends = [bare_end(ends[0], recipe), formed_end(folder / after, recipe)]
    cases = tuple(_case(proof, ends[0](proof.image), ends[1](proof.image)) for proof in inputs)
    if kind == "form" and recipe.decode.postprocess == "nms":
        crowd = crowd_of(inputs[0], recipe)
        cases += (
            _case(crowd, expected_faces(crowd, recipe), found_faces(folder / after, crowd, recipe)),
        )
    approximate = kind in ("half", "int8")
    boxes = None
    if approximate and photos and recipe.anchors is not None:
        boxes = agreement(photos, ends[0], ends[1], recipe)
    return Link(
        before,
        after,
        sha256_of(folder / before),
        sha256_of(folder / after),
        f"{runtime_of(before)}, {runtime_of(after)}",
        "approximate" if approximate else "exact",
        limits.figure,
        limits.difference,
        cases,
        boxes,
        limits.boxes,
    )


def _case(proof: ProofInput, before: Outputs, after: Outputs) -> LinkCase:
    shapes = [a.shape for a in before], [b.shape for b in after]
    if shapes[0] != shapes[1]:
        raise ParityError(
            f"{proof.name}: outputs have other shapes: {shapes[0]} before, {shapes[1]} after"
        )
    differences = [
        np.abs(a.astype(np.float64) - b.astype(np.float64))
        for a, b in zip(before, after, strict=True)
    ]
    figures = (
        max(float(difference.max(initial=0.0)) for difference in differences),
        max(
            (float(difference.mean()) for difference in differences if difference.size), default=0.0
        ),
        max((float(np.ptp(a)) for a in before if a.size), default=0.0),
    )
    finite = all(np.isfinite(array).all() for array in (*before, *after))
    image = proof.image.numpy()
    return LinkCase(
        proof.name,
        tuple(image.shape),
        hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest(),
        *(figures if finite else (None, None, None)),
    )


def agreement(
    photos: Sequence[Photo], before: Runner, after: Runner, recipe: Recipe
) -> BoxAgreement:
    """Count the boxes that both ends find, pairing the best overlap first."""
    return pair_boxes(
        [
            (find_faces(photo, before, recipe)[0], find_faces(photo, after, recipe)[0])
            for photo in photos
        ]
    )


def pair_boxes(photos: Sequence[tuple[detect.Floats, detect.Floats]]) -> BoxAgreement:
    """Compare two sides' boxes (K, 4) and (M, 4) photo by photo."""
    both = missed = added = 0
    overlaps: list[float] = []
    for ours, theirs in photos:
        pairs = _pairs(ours, theirs)
        overlaps += pairs
        both += len(pairs)
        missed += len(ours) - len(pairs)
        added += len(theirs) - len(pairs)
    mean = float(np.mean(overlaps)) if overlaps else None
    return BoxAgreement(len(photos), both, missed, added, mean)


def _pairs(ours: detect.Floats, theirs: detect.Floats) -> list[float]:
    """Return the overlaps of the pairs, each box in one pair at most."""
    overlap = _overlaps(ours, theirs)
    found = []
    while overlap.size and overlap.max() >= OVERLAP:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        found.append(float(overlap[row, column]))
        overlap[row, :] = overlap[:, column] = 0
    return found


def _overlaps(ours: detect.Floats, theirs: detect.Floats) -> detect.Floats:
    """Return the intersection over union of boxes (K, 4) with boxes (M, 4): (K, M)."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (ours, theirs)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float32)
