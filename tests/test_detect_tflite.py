"""The program for the board with TFLite files: the real runtime, and files that are damaged."""

from __future__ import annotations

import importlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board import IN_PICTURE, metadata, picture, specification, write_model
from tflite_board import write_tflite

from toolchain.deploy import detect
from toolchain.deploy.detect import DetectError, Detector


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tflite(tmp_path / "model.tflite", metadata(input__layout="NHWC"))


def test_it_finds_what_the_onnx_file_finds(model: Path, tmp_path: Path) -> None:
    onnx = write_model(tmp_path / "model.onnx", metadata())
    boxes, scores = Detector(model, threads=1).detect(picture())
    expected = Detector(onnx, threads=1).detect(picture())
    assert boxes.tolist() == [IN_PICTURE] == expected[0].tolist()
    np.testing.assert_allclose(scores, expected[1], rtol=1e-6)


def test_the_kind_of_file_is_told_by_its_content(model: Path) -> None:
    renamed = model.rename(model.with_suffix(".onnx"))
    assert Detector(renamed).detect(picture())[0].tolist() == [IN_PICTURE]


def test_the_command_line_runs_it(model: Path, tmp_path: Path, capfd: Any) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), picture())
    assert detect.main([str(model), str(tmp_path / "a.png")]) == 0
    out, err = capfd.readouterr()
    assert "1 face" in out
    assert err == ""  # the runtime is silent


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_both_layouts_are_fed_alike(order: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    first, place = detect.letterbox(image, specification(input__color_order=order), 64, 64)
    changes = {"input__color_order": order, "input__layout": "NHWC"}
    last, other = detect.letterbox(image, specification(**changes), 64, 64)
    assert place == other
    np.testing.assert_array_equal(first, last.transpose(0, 3, 1, 2))


def test_metadata_come_from_their_buffer(model: Path) -> None:
    data = model.read_bytes()
    assert detect.tflite_metadata(data, "other") == "{}"
    assert detect.tflite_metadata(data, "nothing") is None


def test_a_file_without_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match="has no 'detector' metadata"):
        Detector(write_tflite(tmp_path / "bare.tflite", None))


def test_a_wrong_input_is_named(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "a.tflite", metadata(input__layout="NHWC", input__name="photo"))
    with pytest.raises(DetectError, match="must have one float input 'photo'"):
        Detector(path)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(model: Path, share: float) -> None:
    data = model.read_bytes()
    model.write_bytes(data[: max(8, int(share * len(data)))])
    with pytest.raises(DetectError, match=r"TFLite file that can be run|metadata"):
        Detector(model)


def test_metadata_of_damaged_files_end_in_an_error_or_nothing(model: Path) -> None:
    """Bytes that point anywhere must not hang, nor raise what nobody expects."""
    data = bytearray(model.read_bytes())
    random = np.random.default_rng(0)
    refused, read = 0, []
    for _ in range(2_000):
        damaged = bytearray(data)
        for place in random.integers(0, len(damaged), 8):
            damaged[place] = random.integers(0, 256)
        for place in random.integers(0, 64, 2):
            damaged[place] = random.integers(0, 256)
        try:
            read.append(detect.tflite_metadata(bytes(damaged), "detector"))
        except (ValueError, IndexError, struct.error):
            refused += 1
    assert all(text is None or isinstance(text, str) for text in read)
    assert refused > 100
    assert len(read) > 100


def test_without_a_runtime_it_says_what_to_install(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def absent(name: str) -> Any:
        if name.startswith(("ai_edge_litert", "tflite_runtime")):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DetectError, match=r"needs ai-edge-litert or tflite-runtime .*pip install"):
        Detector(model)
