"""Links: what runs a file, and how two files are compared."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from toolchain.checking.boxes import find_boxes, reads_boxes
from toolchain.checking.ncnn import run_ncnn
from toolchain.checking.parity import (
    ProofInput,
    Runner,
    compare,
    compare_outputs,
    in_double,
    run_network,
    run_onnx,
)
from toolchain.checking.pictures import Photo, find_faces
from toolchain.checking.tflite import run_tflite
from toolchain.exporting.io_spec import has_io_spec
from toolchain.exporting.probabilities import probabilities_in
from toolchain.exporting.rewriting import ON_GRAPHS, ONNXRUNTIME_ALONE
from toolchain.lineage.deciding import decisions_between
from toolchain.lineage.io_runners import bare_end, crowd_of, expected_faces, found_faces, io_end
from toolchain.recipe import ProofSection, Recipe
from toolchain.records.certificate import BoxAgreement, Link
from toolchain.records.parity import Decisions, Parity
from toolchain.records.run_folder import NCNN, ONNX, WEIGHTS
from toolchain.system.files import sha256_of
from toolchain.zoo.sources import load_network

Kind = Literal["surgery", "export", "rewrite", "half", "int8", "io_spec"]

Corners: TypeAlias = NDArray[np.floating]
"""Boxes (K, 4): left, top, right, bottom in pixels."""
Reopen = Callable[[Path], nn.Module]
"""Gives a network its weights back from a file of the lineage."""

SOFT, SHRUNK, EXPORTED = "chain/soft.safetensors", WEIGHTS, "chain/exported.onnx"
ONNX_INT8 = "model_int8.onnx"
TFLITE, TFLITE_HALF, TFLITE_INT8 = "model.tflite", "model_fp16.tflite", "model_int8.tflite"

SIMPLIFIED = "chain/simplified.onnx"
STEPS = (SIMPLIFIED, *(f"chain/{name}.onnx" for name in ON_GRAPHS))
"""What may lie between the ONNX file as exported and the finished one: each rewrite's file is there
if the rewrite changed something, and the first if any did."""


def _bare_plan(steps: Sequence[str]) -> tuple[tuple[str, str, Kind], ...]:
    """Return the lineage of files without an I/O spec.

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
        (SHRUNK, NCNN, "export"),
    )


def common_graph(folder: Path, recipe: Recipe) -> Path:
    """Return the ONNX file with every rewrite that is good for all runtimes."""
    steps = [name for name in steps_in(folder) if Path(name).stem not in ONNXRUNTIME_ALONE]
    return folder / (steps[-1] if steps else bare_of(ONNX, recipe))


def steps_in(folder: Path) -> list[str]:
    """Return those of :data:`STEPS` that lie in an output folder, in order."""
    return [name for name in STEPS if (folder / name).is_file()]


FINISHED = (ONNX, ONNX_INT8, TFLITE, TFLITE_HALF, TFLITE_INT8)
"""Files for a board."""

DECIDING_BYTES, FEWEST_DECIDING = 2**28, 4
"""What the outputs of one side may take together, where decisions are counted; and on so many
inputs they are counted in any case."""

TOLD_BY_TRUTH: tuple[Kind, ...] = ("surgery", "export", "rewrite")
"""Links whose ends give what the network gives, so that its float64 tells rounding from error."""

LEAST_OF_HALF, LEAST_OF_INT8 = 2.0**-11 / 1e-3, 1 / 127 / 0.05
"""What a channel's range counts as at least, as a share of its magnitude: the smallest of which the
usual limits (1e-3 and 0.05) are one step of the type."""

OVERLAP = 0.5
"""Intersection over union from which on two boxes are of the same face."""
FAR_APART = 1e6
"""Pixels between boxes of two classes."""


def bare_of(name: str, recipe: Recipe) -> str:
    """Return the file that takes floats and gives raw outputs: another if there is an I/O spec."""
    return f"chain/bare/{name}" if name in FINISHED and has_io_spec(recipe) else name


def plan_of(recipe: Recipe, steps: Sequence[str]) -> tuple[tuple[str, str, Kind], ...]:
    """Return the recipe's whole lineage, in order: two files in the folder, what lies between.

    ``steps`` are those of :data:`STEPS` that there are.
    """
    whole: list[tuple[str, str, Kind]] = []
    for before, after, kind in _bare_plan(steps):
        bare = bare_of(after, recipe)
        whole.append((bare_of(before, recipe), bare, kind))
        if bare != after:
            whole.append((bare, after, "io_spec"))
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
    changed: float | None = None
    """Share of the decisions that may differ."""
    least_range: float = 0.0
    """What a channel's range counts as at least, as a share of its magnitude."""


def limits_of(kind: Kind, proof: ProofSection) -> Limits:
    """Return the recipe's limits for a link."""
    if kind == "surgery":
        return Limits("largest", proof.surgery_limit)
    if kind in ("export", "io_spec"):
        return Limits("largest", proof.onnx_limit)
    if kind == "rewrite":
        return Limits("largest", proof.rewrite_limit)
    if kind == "half":
        limits = proof.half_limit, proof.half_boxes, proof.half_loss, proof.half_decisions
        return Limits("mean", *limits, LEAST_OF_HALF)
    limits = proof.int8_limit, proof.int8_boxes, proof.int8_loss, proof.int8_decisions
    return Limits("mean", *limits, LEAST_OF_INT8)


def open_end(path: Path, recipe: Recipe, reopen: Reopen | None = None) -> Runner:
    """Open a file of the lineage: weights, ONNX, TFLite or ncnn.

    ``reopen`` takes weights; None builds the network that the recipe names.
    """
    if path.suffix == ".safetensors":
        return run_network(_network(path, recipe, reopen))
    if path.suffix == ".param":
        return run_ncnn(path)
    return run_onnx(path) if path.suffix == ".onnx" else run_tflite(path)


def _network(path: Path, recipe: Recipe, reopen: Reopen | None) -> nn.Module:
    network = load_network(recipe, path).network if reopen is None else reopen(path)
    return network.eval()


def runtime_of(name: str) -> str:
    """Return what runs a file, with its version."""
    packages = {
        ".safetensors": "torch",
        ".onnx": "onnxruntime",
        ".tflite": "ai-edge-litert",
        ".param": "ncnn",
    }
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
    deciding: Sequence[ProofInput] = (),
    names: Sequence[str] = (),
    reopen: Reopen | None = None,
) -> Link:
    """Run both ends on all inputs, and on photos if they find faces; judge nothing.

    ``deciding`` are inputs on which an approximate link's decisions are counted where it finds no
    faces; ``names`` are those of the outputs; ``reopen`` is as in :func:`open_end`.
    """
    limits = limits_of(kind, recipe.proof)
    ends = [open_end(folder / name, recipe, reopen) for name in (before, after)]
    if kind == "io_spec":
        ends = [bare_end(ends[0], recipe), io_end(folder / after, recipe)]
        names = ()
    parity = _parity(folder, f"{before} -> {after}", ends, kind, recipe, inputs, names, reopen)
    if kind == "io_spec" and recipe.decode.postprocess == "nms":
        crowd = crowd_of(inputs[0], recipe)
        found = expected_faces(crowd, recipe), found_faces(folder / after, crowd, recipe)
        more = compare_outputs(crowd, *found, limit=limits.difference)
        parity = dataclasses.replace(parity, cases=(*parity.cases, more))
    approximate = kind in ("half", "int8")
    boxes, decisions = None, tuple[Decisions, ...]()
    if approximate and photos and (recipe.anchors is not None or reads_boxes(recipe)):
        boxes = agreement(photos, ends[0], ends[1], recipe, names)
    none_seen = boxes is None or not (boxes.both or boxes.missed or boxes.added)
    if approximate and deciding and recipe.anchors is None and none_seen:
        decisions = _decisions(ends, deciding, recipe, names)
    return Link(
        before,
        after,
        sha256_of(folder / before),
        sha256_of(folder / after),
        f"{runtime_of(before)}, {runtime_of(after)}",
        "approximate" if approximate else "exact",
        parity,
        boxes,
        limits.boxes,
        decisions,
        limits.changed,
    )


def _parity(
    folder: Path,
    link: str,
    ends: Sequence[Runner],
    kind: Kind,
    recipe: Recipe,
    inputs: Sequence[ProofInput],
    names: Sequence[str],
    reopen: Reopen | None,
) -> Parity:
    """Compare both ends; where an exact link seems to break, with float64's truth beside them."""
    limits = limits_of(kind, recipe.proof)
    before, after = ends
    inner = kind not in ("surgery", "io_spec")
    probabilities = probabilities_in(common_graph(folder, recipe)) if inner else frozenset[int]()

    def compared(truth: Runner | None) -> Parity:
        return compare(
            link,
            before,
            after,
            inputs,
            limit=limits.difference,
            figure=limits.figure,
            truth=truth,
            names=names,
            least_range=limits.least_range,
            probabilities=probabilities,
        )

    parity = compared(None)
    if parity.passed or kind not in TOLD_BY_TRUTH:
        return parity
    exact = _network(folder / (SOFT if kind == "surgery" else SHRUNK), recipe, reopen)
    truth = _truth(exact, inputs[0])
    return parity if truth is None else compared(truth)


def _truth(network: nn.Module, first: ProofInput) -> Runner | None:
    """Return what runs ``network`` in float64; None where it does not run in it."""
    run = in_double(run_network(network.double()))
    try:
        run(*first.tensors)
    except Exception:  # a stranger's code may raise anything
        return None
    return run


def _decisions(
    ends: Sequence[Runner], deciding: Sequence[ProofInput], recipe: Recipe, names: Sequence[str]
) -> tuple[Decisions, ...]:
    first = ends[0](*deciding[0].tensors)
    most = DECIDING_BYTES // max(1, sum(output.nbytes for output in first))
    deciding = deciding[: max(FEWEST_DECIDING, most)]
    before, after = ([end(*each.tensors) for each in deciding] for end in ends)
    called = [*names, *(f"output {index}" for index in range(len(names), len(before[0])))]
    return decisions_between(called, before, after, recipe.decode.score_threshold)


def agreement(
    photos: Sequence[Photo],
    before: Runner,
    after: Runner,
    recipe: Recipe,
    names: Sequence[str] = (),
) -> BoxAgreement:
    """Count the boxes that both ends find, pairing the best overlap first.

    ``names`` are those of the outputs, of a network of one's own whose task is boxes.
    """

    def found(photo: Photo, run: Runner) -> Corners:
        if recipe.anchors is not None:
            return find_faces(photo, run, recipe)[0]
        boxes = find_boxes(photo, run, recipe, names)
        return apart_by_class(boxes.boxes, boxes.classes)

    return pair_boxes([(found(photo, before), found(photo, after)) for photo in photos])


def apart_by_class(boxes: NDArray[np.floating], classes: NDArray[np.intp]) -> Corners:
    """Move boxes (K, 4) so that those of different classes never overlap."""
    return boxes.astype(np.float64) + FAR_APART * classes[:, None]


def pair_boxes(photos: Sequence[tuple[Corners, Corners]]) -> BoxAgreement:
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


def _pairs(ours: Corners, theirs: Corners) -> list[float]:
    """Return the overlaps of the pairs, each box in one pair at most."""
    overlap = _overlaps(ours, theirs)
    found = []
    while overlap.size and overlap.max() >= OVERLAP:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        found.append(float(overlap[row, column]))
        overlap[row, :] = overlap[:, column] = 0
    return found


def _overlaps(ours: Corners, theirs: Corners) -> Corners:
    """Return the intersection over union of boxes (K, 4) with boxes (M, 4): (K, M)."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (ours, theirs)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float64)
