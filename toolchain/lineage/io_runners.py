"""What runs a file with an I/O spec and the bare one, so that they can be compared.

Both take an input of the network, float32 (1, 3, H, W); where the file takes pixels, both get the
nearest ones. Both give what the file gives: raw outputs, every box and probability, or faces.
Boxes are shares of the input's longer side, from one side before it to one behind: so they are of
the size of probabilities, and the limit holds for both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from toolchain.checking.parity import Outputs, ProofInput, Runner
from toolchain.checking.pictures import as_floats, as_pixels, board_view, file_view
from toolchain.deploy import detect
from toolchain.errors import ParityError
from toolchain.recipe import Recipe
from toolchain.system.sessions import open_session


def bare_end(run: Runner, recipe: Recipe) -> Runner:
    """Return what does with a bare file's outputs what the I/O spec does."""
    takes_pixels, kind = recipe.input.dtype == "uint8", recipe.decode.postprocess

    def bare(image: Tensor) -> Outputs:
        floats = image.numpy()
        if takes_pixels:
            floats = as_floats(as_pixels(floats, recipe), recipe)
        loc, logits = run(torch.from_numpy(floats))
        if kind == "none":
            return [loc, logits]
        if kind == "decode":
            return _every_box(loc[0], logits[0], recipe)
        return _faces(loc[0], logits[0], board_view(recipe))

    return bare


def io_end(path: Path, recipe: Recipe) -> Runner:
    """Return what runs a file with an I/O spec, by the code that runs it on the board."""
    network = detect.open_network(path, 1)
    try:
        specification = detect.specification_of(network)
    except detect.DetectError as error:
        raise ParityError(f"{path.name}: {error}") from error
    kind = recipe.decode.postprocess

    def with_io(image: Tensor) -> Outputs:
        fed = image.numpy()
        if specification.dtype == "uint8":
            fed = as_pixels(fed, recipe)
        if specification.layout == "NHWC":
            fed = np.ascontiguousarray(fed.transpose(0, 2, 3, 1))
        first, second = network.run(specification, fed)
        if kind == "none":
            return [first, second]
        if kind == "decode":
            return [_shares(first[0], recipe), second[0]]
        return _faces(first[0], second[0], specification)

    return with_io


def _shares(boxes: NDArray[Any], recipe: Recipe) -> NDArray[np.float64]:
    longer = max(recipe.input.height, recipe.input.width)
    return np.clip(boxes.astype(np.float64) / longer, -1, 2)


def _every_box(loc: detect.Floats, logits: detect.Floats, recipe: Recipe) -> Outputs:
    """Return boxes (P, 4) and probabilities (P, 2), computed in double precision."""
    view = board_view(recipe)
    every = detect.anchors(view, recipe.input.height, recipe.input.width)
    boxes = detect.corners(loc, every, view.variances)
    evidence = detect.evidence_of(logits, view)
    pairs = np.stack([np.logaddexp(0, evidence), np.logaddexp(0, -evidence)], axis=1)
    return [_shares(boxes, recipe), np.exp(-pairs)]


def _faces(first: detect.Floats, second: detect.Floats, view: detect.Specification) -> Outputs:
    """Return the faces that ``detect.py`` reads from outputs: boxes (K, 4), scores (K,)."""
    assert view.height is not None
    assert view.width is not None
    place = detect.Placement(1.0, 1.0, 0, 0, view.width, view.height)
    boxes, scores = detect.decode(first, second, view, view.height, view.width, place)
    return [boxes / max(view.height, view.width), scores]


def crowd_of(noise: ProofInput, recipe: Recipe) -> ProofInput:
    """Return raw outputs (1, P, 6) with about a hundred faces that overlap, made of noise.

    What networks say of noise need not be a face, and of a photo there are few.
    """
    view = board_view(recipe)
    count = len(detect.anchors(view, recipe.input.height, recipe.input.width))
    rows = np.resize(noise.image.numpy() / np.float32(64), (1, count, 6)).astype(np.float32)
    rows[..., 5] = 2 * rows[..., 5] + detect.logit(view.score_threshold or 0.5) - 4
    return ProofInput("a crowd of random raw outputs", (torch.from_numpy(rows),))


def expected_faces(crowd: ProofInput, recipe: Recipe) -> Outputs:
    """Return the faces that ``detect.py`` finds in raw outputs."""
    rows = crowd.image[0].numpy()
    return _faces(rows[:, :4], rows[:, 4:], board_view(recipe))


def found_faces(path: Path, crowd: ProofInput, recipe: Recipe) -> Outputs:
    """Return the faces that the end of an ONNX file, cut off, finds in raw outputs."""
    view, rows = file_view(recipe), crowd.image.numpy()
    whole: Any = onnx.load(path)
    end = onnx.utils.Extractor(whole).extract_model(["loc", "logits"], list(view.outputs))
    session = open_session(end.SerializeToString())
    feed = {"loc": rows[..., :4].copy(), "logits": rows[..., 4:].copy()}
    boxes, scores = session.run(list(view.outputs), feed)
    return _faces(boxes[0], scores[0], view)
