"""What finds faces: networks, ONNX files at their own size, and peers, by one convention."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from toolchain.deploy import detect
from toolchain.detection.finders import Finder, network_finder, peer_finder
from toolchain.detection.opening import describe, open_finder, plan_for
from toolchain.detection.protocols import PROTOCOLS, detections
from toolchain.errors import InputError, ModelError, ToolchainError
from toolchain.exporting.metadata import KEY, Provenance, metadata_of
from toolchain.models.registry import build
from toolchain.recipe import default_recipe, override
from toolchain.records.stages import Source

SINGLE = PROTOCOLS["single"]


def specification(**changes: object) -> detect.Specification:
    recipe = override(default_recipe("eresfd"), {"anchors.aspect_ratio": 1.0})
    source = Source(None, "seed", None, trained=True, seed=0)
    text = metadata_of(recipe, Provenance(source, None, None, None), dynamic=True)[KEY]
    return dataclasses.replace(detect.Specification.from_json(text), **changes)


class Drawn:
    """A network that finds one face: that of the anchor it is told, wherever the input ends."""

    def __init__(self, cell: tuple[int, int], level: int = 2) -> None:
        self.cell, self.level = cell, level
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, tensor: detect.Floats) -> tuple[detect.Floats, detect.Floats]:
        self.shapes.append(tensor.shape)
        height, width = tensor.shape[2:]
        sizes = [(math.ceil(height / s), math.ceil(width / s)) for s in (4, 8, 16, 32, 64, 128)]
        start = sum(rows * columns for rows, columns in sizes[: self.level])
        logits = np.zeros((sum(r * c for r, c in sizes), 2), np.float32)
        logits[:, 0] = 9
        logits[start + self.cell[0] * sizes[self.level][1] + self.cell[1]] = 0, 5
        return np.zeros((len(logits), 4), np.float32), logits


def test_boxes_come_back_in_pixels_of_the_photo() -> None:
    """Cell (3, 2) of stride 16 has its centre at (40, 56); its anchor is 64 pixels wide."""
    network = Drawn((3, 2))
    find = network_finder(network, specification(), SINGLE)
    boxes, scores = find(np.zeros((200, 320, 3), np.uint8), 1.0)
    assert network.shapes == [(1, 3, 200, 320)]
    np.testing.assert_allclose(boxes, [[8, 24, 72, 88]], atol=1e-4)
    np.testing.assert_allclose(scores, [1 / (1 + math.exp(-5))], rtol=1e-6)
    boxes, _ = find(np.zeros((200, 320, 3), np.uint8), 0.5)
    assert network.shapes[1] == (1, 3, 100, 160)
    np.testing.assert_allclose(boxes, [[16, 48, 144, 176]], atol=1e-4)


def test_a_file_of_fixed_size_is_fed_at_its_size() -> None:
    network = Drawn((3, 2))
    find = network_finder(network, specification(height=96, width=128), SINGLE)
    boxes, _ = find(np.zeros((192, 256, 3), np.uint8), 1.0)
    assert network.shapes == [(1, 3, 96, 128)]
    np.testing.assert_allclose(boxes, [[16, 48, 144, 176]], atol=1e-4)


def test_a_protocol_of_a_size_feeds_a_free_network_as_a_file_of_that_size() -> None:
    network, protocol = Drawn((3, 2)), dataclasses.replace(SINGLE, size=(96, 128))
    boxes, _ = network_finder(network, specification(), protocol)(
        np.zeros((100, 256, 3), np.uint8), 1.0
    )
    assert network.shapes == [(1, 3, 96, 128)]
    np.testing.assert_allclose(boxes, [[16, 48, 144, 100]], atol=1e-4)  # clipped to the photo


def test_tiny_photos_are_padded() -> None:
    network = Drawn((0, 0), level=0)
    network_finder(network, specification(), SINGLE)(np.zeros((5, 300, 3), np.uint8), 1.0)
    assert network.shapes == [(1, 3, 32, 300)]


def test_only_the_best_candidates_go_on() -> None:
    """All anchors pass the threshold; ten may go on, and none overlaps another."""

    def everywhere(tensor: detect.Floats) -> tuple[detect.Floats, detect.Floats]:
        loc, logits = Drawn((0, 0))(tensor)
        logits[:, 0] = 0
        logits[:, 1] = np.linspace(4, 5, len(logits), dtype=np.float32)
        loc[:, 2:] = -15  # tiny boxes
        return loc, logits

    image = np.zeros((256, 256, 3), np.uint8)
    protocol = dataclasses.replace(SINGLE, max_candidates=10)
    boxes, scores = network_finder(everywhere, specification(), protocol)(image, 1.0)
    assert len(boxes) == 10
    everyone = dataclasses.replace(SINGLE, max_candidates=10**6, max_detections=10**6)
    _, all_scores = network_finder(everywhere, specification(), everyone)(image, 1.0)
    np.testing.assert_array_equal(scores, all_scores[:10])


def weights(folder: Path, name: str = "eres.pth") -> Path:
    """EResFD with heads that say face here and there, so that there are boxes to compare."""
    network = build("eresfd", 5)
    with torch.no_grad():
        for head in network.conf:
            head.bias[-1] = 0.5
    torch.save(network.state_dict(), folder / name)
    return folder / name


def photo(seed: int = 0, size: tuple[int, int] = (120, 160)) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def run(finder: Finder, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return detections(finder, image, SINGLE)


@pytest.mark.long
def test_a_checkpoint_and_its_files_find_the_same_faces(
    tmp_path: Path, quick_latency: None
) -> None:
    """Weights by PyTorch, the output folder, and the dynamic and the fixed ONNX file."""
    from toolchain import cli

    source = weights(tmp_path)
    plan = plan_for(source, SINGLE)
    image = photo(1, (96, 128))
    expected = run(open_finder(plan, 1), image)
    assert len(expected) > 5
    for name, options in (("any", ["--dynamic"]), ("fixed", [])):
        out = tmp_path / name
        arguments = ["shrink", "eresfd", "--ckpt", str(source), "--size", "96x128"]
        arguments += ["--formats", "onnx"]
        assert cli.run([*arguments, "--out", str(out), *options]) == 0
        for path in (out, out / "model.onnx", out / "model.safetensors"):
            found = run(open_finder(plan_for(path, SINGLE), 1), image)
            np.testing.assert_allclose(found, expected, atol=2e-3)
    subject = describe(plan_for(tmp_path / "fixed" / "model.onnx", SINGLE)).subject
    assert subject.settings["input"] == "96x128, letterboxed"
    assert subject.name == "fixed/model.onnx"
    with pytest.raises(InputError, match="96x128 pixels only, and the protocol 'paper'"):
        describe(plan_for(tmp_path / "fixed" / "model.onnx", PROTOCOLS["paper"]))
    assert not describe(plan_for(tmp_path / "any" / "model.onnx", PROTOCOLS["paper"])).notes


def test_a_description_tells_what_decides_the_result(tmp_path: Path) -> None:
    plan = plan_for(weights(tmp_path), SINGLE, anchor_ratio=1.25)
    subject = describe(plan).subject
    assert (subject.kind, subject.model, subject.name) == ("network", "eresfd", "eres.pth")
    assert subject.settings["anchor height / width"] == "1.25"
    assert subject.settings["colour order"] == "RGB"


@pytest.mark.slow
def test_the_anchors_ratio_changes_the_boxes(tmp_path: Path) -> None:
    path = weights(tmp_path)
    square, high = (
        run(open_finder(plan_for(path, SINGLE, anchor_ratio=ratio), 1), photo())
        for ratio in (1.0, 1.25)
    )
    assert square.shape != high.shape or not np.allclose(square, high)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.pth", None, "no such file"),
        ("text.onnx", b"hello", "is no ONNX file"),
        ("text.pth", b"hello", "text file"),
    ],
)
def test_what_cannot_be_opened_is_told(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ToolchainError, match=words):
        describe(plan_for(path, SINGLE))


def test_an_onnx_file_of_others_is_no_detector_here(tmp_path: Path) -> None:
    import onnx

    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    graph = onnx.helper.make_graph([node], "g", [value], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=r"no 'detector' metadata.*--peer"):
        describe(plan_for(tmp_path / "other.onnx", SINGLE))
    with pytest.raises(ModelError, match="FaceDetectorYN"):
        peer_finder(tmp_path / "absent.onnx", SINGLE)


def test_metadata_that_does_not_fit_the_outputs_is_told(tmp_path: Path) -> None:
    def wrong(tensor: detect.Floats) -> tuple[detect.Floats, detect.Floats]:
        return np.zeros((7, 4), np.float32), np.zeros((7, 2), np.float32)

    with pytest.raises(detect.DetectError, match="a row per anchor"):
        network_finder(wrong, specification(), SINGLE)(photo(), 1.0)


def test_yunet_finds_the_faces_of_a_photo(shared: Path, photos: list[Path]) -> None:
    model = shared / "peers" / "yunet_n_dynamic.onnx"
    plan = plan_for(model, SINGLE, peer=True)
    assert describe(plan).subject.kind == "peer"
    find = open_finder(plan, 1)
    image = detect.read_image(photos[0])
    boxes, scores = find(image, 1.0)
    assert scores[0] > 0.8
    assert (np.diff(scores) <= 0).all()
    half, _ = find(image, 0.5)
    # The best face at half size is the same face, in pixels of the photo.
    best = min(half, key=lambda box: np.abs(box - boxes[0]).max())
    assert np.abs(best - boxes[0]).max() < 0.2 * (boxes[0, 2] - boxes[0, 0])
    fitted = open_finder(
        plan_for(model, dataclasses.replace(SINGLE, size=(320, 320)), peer=True), 1
    )
    found, _ = fitted(image, 1.0)
    best = min(found, key=lambda box: np.abs(box - boxes[0]).max())
    assert np.abs(best - boxes[0]).max() < 0.2 * (boxes[0, 2] - boxes[0, 0])


LIMITED = """
import toolchain.detection.finders  # loads OpenCV before the board's code does
import cv2, numpy, sys
from pathlib import Path
from toolchain.deploy import detect
path = Path(sys.argv[1])
cv2.imwrite(str(path), numpy.zeros((11000, 10000), numpy.uint8))
try:
    detect.read_image(path, upright=False)
except detect.DetectError as error:
    print(error)
"""


def test_huge_photos_are_refused_whoever_loads_opencv_first(tmp_path: Path) -> None:
    """In a process of its own, for OpenCV reads its limit once."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "huge.png")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "more than 100000000 pixels" in result.stdout
