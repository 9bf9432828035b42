"""The program for the board with ncnn's files: the real runtime, and files that are damaged."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from board import BLUE, IN_PICTURE, metadata, photo, picture, run, specification, write_model
from ncnn_board import change_facts, write_folder

from toolchain.deploy.detect import DetectError, Detector, decode, letterbox
from toolchain.deploy.detector import ncnn_file, ncnn_network
from toolchain.deploy.detector.ncnn_decoding import decode_maps
from toolchain.deploy.detector.ncnn_facts import BIN, METADATA, PARAM, Level, Patches
from toolchain.deploy.detector.ncnn_maps import joined
from toolchain.deploy.detector.ncnn_patches import Frame, patches_of
from toolchain.deploy.detector.preparing import Placement

ncnn = pytest.importorskip("ncnn")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model_ncnn", metadata())


@pytest.mark.parametrize("patches", [True, False])
def test_it_finds_what_the_onnx_file_finds(tmp_path: Path, patches: bool) -> None:
    folder = write_folder(tmp_path / "model_ncnn", metadata(), patches=patches)
    onnx = write_model(tmp_path / "model.onnx", metadata())
    boxes, scores = Detector(folder, threads=1).detect(picture())
    expected = Detector(onnx, threads=1).detect(picture())
    assert boxes.tolist() == [IN_PICTURE] == expected[0].tolist()
    np.testing.assert_allclose(scores, expected[1], rtol=1e-6)


@pytest.mark.parametrize("name", ["", PARAM, BIN])
def test_the_folder_is_named_or_a_file_in_it(model: Path, name: str) -> None:
    assert Detector(model / name).detect(picture())[0].tolist() == [IN_PICTURE]


def test_the_command_line_runs_it(model: Path, tmp_path: Path, capsys: Any) -> None:
    a = photo(tmp_path / "a.png")
    code, out, err = run(capsys, model, a, "--json", "--threads", "1", "--out", tmp_path / "out")
    assert (code, err) == (0, [])
    assert json.loads(out[0])["faces"] == [{"box": IN_PICTURE, "score": 1.0}]
    assert (tmp_path / "out" / "a.png").exists()
    code, out, err = run(capsys, model / PARAM, a, "--benchmark", "3", "--json")
    assert (code, err) == (0, [])
    assert json.loads(out[0])["ms"]["inference"]["median"] > 0


def test_a_picture_of_other_proportions_leaves_nothing_of_the_one_before(model: Path) -> None:
    detector = Detector(model, threads=1)
    detector.detect(np.full((64, 64, 3), (0, 0, 255), np.uint8))  # red everywhere
    narrow = np.full((64, 32, 3), BLUE, np.uint8)
    assert detector.detect(narrow)[0].tolist() == []
    expected = detector.run(letterbox(narrow, detector.specification, 64, 64)[0])
    given = detector.infer(detector.prepare(narrow)[0])
    np.testing.assert_array_equal(detector._network.outputs(given)[1], expected[1])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"input__color_order": "BGR"},
        {"schema": 3, "input__scale": 1 / 255, "input__mean": [0.5, 0.4, 0.3]}
        | {"input__std": [0.2, 0.3, 0.4], "input__dtype": "float32", "postprocess": "none"},
    ],
)
@pytest.mark.parametrize("shape", [(64, 64), (50, 90), (90, 50), (130, 64), (7, 300)])
def test_a_picture_is_cut_as_its_floats_would_be(
    tmp_path: Path, changes: dict[str, Any], shape: tuple[int, int]
) -> None:
    detector = Detector(write_folder(tmp_path / "m", metadata(**changes)), threads=1)
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    tensor, place = letterbox(image, specification(**changes), 64, 64)
    prepared, other = detector.prepare(image)
    assert place == other
    np.testing.assert_array_equal(prepared, patches_of(tensor, Patches(16, 16, 0)))


@pytest.mark.parametrize("cut", [(5, 4, 2), (3, 4, 1), (4, 4, 0), (7, 4, 3), (5, 3, 2), (9, 4, 4)])
@pytest.mark.parametrize(("channels", "size"), [(3, (32, 48)), (1, (33, 50)), (4, (21, 16))])
def test_patches_are_what_a_convolution_reads(
    cut: tuple[int, int, int], channels: int, size: tuple[int, int]
) -> None:
    kernel, stride, padding = cut
    image = np.random.default_rng(0).standard_normal((1, channels, *size)).astype(np.float32)
    given = patches_of(image, Patches(*cut))
    around = np.pad(image[0], ((0, 0), (padding, padding), (padding, padding)))
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in size)
    vectors = -(-kernel * channels // 4)
    assert given.shape == (kernel * vectors, rows, columns * 4)
    ours = given.reshape(kernel, vectors, rows, columns, 4).transpose(2, 3, 0, 1, 4)
    ours = ours.reshape(rows, columns, kernel, vectors * 4)
    for row in range(rows):
        for column in range(columns):
            top, left = row * stride, column * stride
            patch = around[:, top : top + kernel, left : left + kernel].transpose(1, 2, 0)
            found = ours[row, column, :, : kernel * channels].reshape(patch.shape)
            np.testing.assert_array_equal(found, patch)


def test_a_frame_is_used_again() -> None:
    frame = Frame(8, 8, 3, Patches(5, 4, 2))
    frame.place(8, 8)[:] = 1
    assert frame.patches().sum() > 0
    frame.place(4, 4)[:] = 1
    expected = np.zeros((1, 3, 8, 8), np.float32)
    expected[:, :, :4, :4] = 1
    np.testing.assert_array_equal(frame.patches(), patches_of(expected, Patches(5, 4, 2)))


LEVELS = (
    Level((0, 1, 2, 3), (4, 5, 6), 7),
    Level((1, 2, 3, 4), (0,), 5),
    Level((3, 1, 4, 0), (2,), 5),
)
THREE = {"anchors__sizes": [16, 32, 64], "anchors__strides": [4, 8, 16]}


@pytest.mark.parametrize("threshold", [None, 0.0, 1e-9, 0.3, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("damage", [0.0, np.nan, np.inf, -np.inf])
def test_maps_are_decoded_as_the_outputs_that_they_make(
    threshold: float | None, damage: float
) -> None:
    random = np.random.default_rng(3)
    sides = ((10, 12), (5, 6), (3, 3))
    maps = [random.standard_normal((8, *each)).astype(np.float32) * 3 for each in sides]
    if damage:
        for each in maps:
            each.reshape(-1)[random.integers(0, each.size, each.size // 30)] = damage
    which, place = specification(**THREE), Placement(0.5, 0.5, 0, 0, 96, 80)
    size = (40, 48)
    loc, logits = joined(maps, LEVELS)
    expected = decode(loc[0], logits[0], which, *size, place, threshold)
    found = decode_maps(maps, LEVELS, which, size, place, threshold)
    assert damage or threshold == 1.0 or len(found[0])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", [PARAM, BIN, METADATA])
def test_a_missing_file_is_named(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(DetectError, match=rf"has no {name} that can be read .*copy the whole fold"):
        Detector(model)


@pytest.mark.parametrize("name", [PARAM, BIN])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_refused(model: Path, name: str, share: float) -> None:
    data = (model / name).read_bytes()
    (model / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DetectError, match=rf"{name} is not the one that metadata.json tells of"):
        Detector(model)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_metadata_that_were_cut_short_are_refused(model: Path, share: float) -> None:
    data = (model / METADATA).read_bytes()
    (model / METADATA).write_bytes(data[: int(share * len(data))])
    with pytest.raises(DetectError, match=r"is not JSON .*copy it again"):
        Detector(model)


def test_weights_of_another_network_are_refused(model: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", metadata(), patches=False)
    (model / BIN).write_bytes((other / BIN).read_bytes())
    with pytest.raises(DetectError, match=f"{BIN} is not the one .*another network"):
        Detector(model)


def test_a_layer_that_the_runtime_lacks_is_one_line(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import hashlib

    text = (model / PARAM).read_bytes().replace(b"Convolution", b"Konvolution")
    (model / PARAM).write_bytes(text)
    change_facts(model, param_sha256=hashlib.sha256(text).hexdigest(), runtime="ncnn 9.0")
    with pytest.raises(DetectError, match=r"ncnn \S+ can open .*proved with ncnn 9.0.*--upgrade"):
        Detector(model)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 3}, "has format 3"),
        ({"levels": [{"boxes": [0, 1], "background": [4], "face": 5}]}, "contradicts itself"),
        ({"input__patches": {"kernel": 0, "stride": 1, "padding": 0}}, "contradicts itself"),
        ({"input__shape": [1, 3, 32, 64]}, "contradicts itself"),
        ({"blobs": "out0"}, "contradicts itself"),
        ({"levels": 3}, "is not as the toolchain writes it"),
        ({"texts": {}}, "has no 'detector' metadata"),
        ({"input__name": "photo"}, "must have one float input 'image'"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(
    model: Path, changes: dict[str, Any], words: str
) -> None:
    change_facts(model, **changes)
    with pytest.raises(DetectError, match=words):
        Detector(model)


def test_another_size_is_refused(model: Path) -> None:
    with pytest.raises(DetectError, match="is fixed to 64x64; leave out --size"):
        Detector(model, size=(32, 32))


def test_half_precision_is_refused_where_the_processor_lacks_it(
    model: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ncnn_network, "computes_in_half", lambda: False)
    code, out, err = run(capsys, model, photo(tmp_path / "a.png"), "--half")
    assert (code, out, len(err)) == (2, [], 1)
    assert "cannot be computed in half precision here" in err[0]
    code, out, err = run(capsys, model, photo(tmp_path / "a.png"), "--no-half")
    assert (code, len(out), err) == (0, 1, [])


@pytest.mark.parametrize("can", [True, False])
@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("asked", [None, False])
def test_half_precision_is_by_the_file_where_the_processor_has_it(
    tmp_path: Path, can: bool, says: bool, asked: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ncnn_file, "computes_in_half", lambda: can)
    folder = write_folder(tmp_path / "m", metadata(), half=says)
    detector = Detector(folder, threads=1, half=asked)
    assert detector._network.runner.half == (can and says and asked is None)
    assert detector.detect(picture())[0].shape == (1, 4)


def test_half_precision_of_other_files_is_refused(tmp_path: Path) -> None:
    onnx = write_model(tmp_path / "model.onnx", metadata())
    with pytest.raises(DetectError, match="is no ncnn file: leave out --half"):
        Detector(onnx, half=True)


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match=f"is a folder without {PARAM}; give"):
        Detector(tmp_path)


def test_without_the_runtime_it_says_what_to_install(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def absent(name: str) -> Any:
        if name == "ncnn":
            raise ModuleNotFoundError("No module named 'ncnn'")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DetectError, match=r"needs ncnn \(No module .*run: pip install ncnn$"):
        Detector(model)


def test_pictures_are_not_kept(model: Path) -> None:
    """What is returned stays when the next picture is prepared."""
    detector = Detector(model, threads=1)
    boxes, scores = detector.detect(picture())
    before = boxes.copy(), scores.copy()
    detector.detect(cv2.resize(picture(), (40, 300)))
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(scores, before[1])
