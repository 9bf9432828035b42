"""A bundle's self-test: what is found on the board against what was found here."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from board import RED, metadata, write_model

from toolchain.bundle.contents import expected_files
from toolchain.deploy import detect
from toolchain.deploy.detector import selftest


def test_what_is_found_here_is_what_is_expected(made: Path, tmp_path: Path) -> None:
    files, told = expected_files(made / "model.onnx")
    photo, expected = files["app/photo.png"], files["app/expected.json"]
    assert isinstance(photo, bytes)
    assert isinstance(expected, bytes)
    (tmp_path / "photo.png").write_bytes(photo)
    wanted = json.loads(expected)
    found = selftest.look(made / "model.onnx", tmp_path / "photo.png", threads=1)
    assert selftest.compare(found, wanted) is None
    image = detect.read_image(tmp_path / "photo.png")
    boxes, _ = detect.Detector(made / "model.onnx").detect(
        detect.read_image(tmp_path / "photo.png")
    )
    assert len(boxes) == told.faces == len(wanted["boxes"])
    assert image.shape == (96, 128, 3)


def test_faces_of_random_weights_are_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((64, 64, 3), RED, np.uint8))
    for trained in (True, False):
        model = write_model(tmp_path / "cells.onnx", metadata(trained=trained))
        found = selftest.look(model, tmp_path / "photo.png", threads=1)
        assert (len(found["boxes"]) > 0, len(found["scores"]) > 0) == (trained, trained)
        assert found["ranges"][1] > 0


EXPECTED = {
    "boxes": [[1.0, 2.0, 3.0, 4.0], [50.0, 50.0, 60.0, 60.0]],
    "scores": [0.9, 0.8],
    "outputs": [[0.0, 1.0], [2.0, 4.0]],
    "ranges": [1.0, 2.0],
    "figure": "largest",
    "output_limit": 0.1,
    "box_limit_px": 0.5,
    "score_limit": 0.01,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"boxes": [EXPECTED["boxes"][1], [1.4, 2, 3, 4]], "scores": [0.8, 0.9]}, None),  # type: ignore[index]
        ({"boxes": [[1.0, 2.0, 3.0, 4.0]]}, "1 face here, 2 on the build machine"),
        ({"boxes": [[1.6, 2, 3, 4], [50, 50, 60, 60]]}, "a box is 0.60 pixels from"),
        ({"boxes": [[float("nan")] * 4] * 2}, "a box is nan pixels from"),
        ({"scores": [0.9, 0.78]}, "a face's probability differs by 0.020"),
        ({"outputs": [[0.0, 1.0], [2.0, 4.3]]}, "the network's output differs by 0.3"),
        ({"outputs": [[0.0, 1.0], [2.0]]}, "the network's output differs by 1e"),
        ({"outputs": [[0.0, 1.0], [2.0, float("nan")]]}, "the network's output differs by nan"),
    ],
)
def test_what_differs_is_told(changes: dict[str, object], message: str | None) -> None:
    trouble = selftest.compare(EXPECTED | changes, EXPECTED)
    assert (trouble is None) if message is None else (trouble or "").startswith(message)


def test_of_int8_the_mean_counts() -> None:
    found = EXPECTED | {"outputs": [[0.0, 1.15], [2.0, 4.0]]}
    assert selftest.compare(found, EXPECTED | {"figure": "mean"}) is None
    assert selftest.compare(found, EXPECTED) is not None
