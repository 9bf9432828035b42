"""The board's program for each task, with networks whose answers are planted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from board import metadata, photo, run, write_model
from tasks import planted, task_metadata, write_planted

from toolchain.deploy.detector.errors import DetectError
from toolchain.deploy.detector.opening import open_worker, read_labels
from toolchain.deploy.detector.sources import read_arrays
from toolchain.deploy.detector.tasks.colours import colour

YOLO = np.zeros((1, 6, 9), np.float32)
YOLO[0, :, 4] = [32, 26, 24, 32, 0.1, 0.9]
BOX = [40.0, 20.0, 88.0, 84.0]
"""In a picture of 128 x 192."""
GREY = np.full((128, 192, 3), 120, np.uint8)
MASK = np.zeros((1, 2, 8, 12), np.float32)
MASK[0, 0, :, :6] = MASK[0, 1, :, 6:] = 1
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return photo(tmp_path / "a.png", GREY)


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    return planted(
        tmp_path / "yolo.onnx", "boxes", {"out": YOLO}, layout="yolov8", labels=["cat", "dog"]
    )


# Each task, each way to tell it -----------------------------------------------------------------


def test_boxes_are_told_and_drawn_with_their_names(
    yolo: Path, picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    code, out, err = run(capsys, yolo, picture, "--out", tmp_path / "found")
    assert (code, err) == (0, [])
    assert out[0].startswith(f"{picture}: 1 dog (best 0.90), 192x128, ")
    drawn = cv2.imread(str(tmp_path / "found" / "a.png"))
    assert tuple(drawn[50, 40]) == colour(1)
    _, out, _ = run(capsys, yolo, picture, "--json")
    facts = json.loads(out[0])
    assert facts["boxes"] == [{"box": BOX, "score": 0.9, "label": "dog", "class": 1}]
    assert (facts["width"], facts["height"]) == (192, 128)
    _, out, _ = run(capsys, yolo, picture, "--threshold", "0.95")
    assert "0 boxes" in out[0]


def test_classes_are_told_in_the_picture_too(
    picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    scores = {"out": np.array([[0.0, math.log(3)]], np.float32)}
    path = planted(tmp_path / "m.onnx", "classes", scores, activation="softmax", labels=["a", "b"])
    assert run(capsys, path, picture)[1][0].startswith(f"{picture}: b 0.75, a 0.25, 192x128")
    _, out, _ = run(capsys, path, picture, "--json", "--out", tmp_path / "found")
    assert json.loads(out[0])["classes"][0] == {"label": "b", "class": 1, "score": 0.75}
    assert (cv2.imread(str(tmp_path / "found" / "a.png")) != GREY).any()


def test_a_mask_is_painted_and_written_as_an_array(
    picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = planted(tmp_path / "m.onnx", "mask", {"out": MASK}, labels=["background", "road"])
    _, out, _ = run(capsys, path, picture, "--json", "--out", tmp_path / "found")
    shares = {each["label"]: each["share"] for each in json.loads(out[0])["areas"]}
    assert shares == {"background": 0.5, "road": 0.5}
    drawn = cv2.imread(str(tmp_path / "found" / "a.png"))
    assert (drawn[:, :96] == 120).all()
    assert (drawn[:, 96:] == np.add(120, colour(1)) // 2).all()
    assert run(capsys, path, picture, "--out", tmp_path / "x.npz")[0] == 0
    mask = read_arrays(tmp_path / "x.npz")["mask"]
    assert mask.shape == (128, 192)
    assert mask[:, 96:].min() == 1


def test_points_are_told(picture: Path, tmp_path: Path, capsys: Capture) -> None:
    points = {"out": np.array([[10, 20, 30, 40]], np.float32)}
    path = planted(tmp_path / "m.onnx", "points", points, labels=["eye", "ear"])
    _, out, _ = run(capsys, path, picture, "--json")
    assert json.loads(out[0])["points"][1] == {"label": "ear", "x": 60.0, "y": 80.0}


def test_raw_outputs_of_a_picture_are_written_as_arrays(
    picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    outputs = {"file": np.arange(6, dtype=np.float32).reshape(1, 6), "b": np.ones((1, 2))}
    path = planted(tmp_path / "m.onnx", "raw", outputs)
    _, out, _ = run(capsys, path, picture, "--out", tmp_path / "found")
    assert "file 1x6 (0 to 5), b 1x2 (1 to 1)" in out[0]
    found = read_arrays(tmp_path / "found" / "a.npz")
    assert found["file"].tolist() == [[0, 1, 2, 3, 4, 5]]


INPUTS = [
    {"name": "maps", "shape": [1, 12, 8, 8], "dtype": "float32"},
    {"name": "words", "shape": [1, 16], "dtype": "int64"},
]


def of_arrays(path: Path) -> Path:
    outputs = {"out": np.array([[1.0, 2.0]], np.float32)}
    table = task_metadata("raw", ["out"], inputs=INPUTS, input=None)
    return write_planted(path, table, outputs, INPUTS)


def test_arrays_go_in_and_arrays_come_out(tmp_path: Path, capsys: Capture) -> None:
    path = of_arrays(tmp_path / "m.onnx")
    given = tmp_path / "in.npz"
    np.savez(given, maps=np.ones((12, 8, 8)), words=np.zeros((1, 16), np.int32))
    code, out, _ = run(capsys, path, given, "--out", tmp_path / "x.npz")
    assert (code, out[0].startswith(f"{given}: out 1x2 (1 to 2), ")) == (0, True)
    assert read_arrays(tmp_path / "x.npz")["out"].tolist() == [[1, 2]]
    code, out, _ = run(capsys, path, given, "--json", "--benchmark", "2")
    assert json.loads(out[0])["ms"]["inference"].keys() == {"median", "p10", "p90", "p99"}


def test_every_task_is_timed(yolo: Path, picture: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, yolo, picture, "--benchmark", "2")
    assert code == 0
    assert [line.split()[0] for line in out[2:]] == [
        "preprocessing", "inference", "postprocessing", "total",
    ]  # fmt: skip


# What goes wrong, in one line each ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"maps": np.ones((12, 8, 8))},
            "takes maps 1x12x8x8 float32, words 1x16 int64 (got arrays",
        ),
        ({"maps": np.ones((3, 8, 8)), "words": np.zeros((1, 16))}, "'maps' must be 1x12x8x8 (got"),
    ],
)
def test_arrays_that_do_not_fit_are_told(
    arrays: dict[str, Any], message: str, tmp_path: Path, capsys: Capture
) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    code, _, err = run(capsys, of_arrays(tmp_path / "m.onnx"), tmp_path / "in.npz")
    assert (code, len(err)) == (2, 1)
    assert message in err[0]


def test_what_a_network_cannot_be_given_is_told(
    yolo: Path, picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    code, _, err = run(capsys, of_arrays(tmp_path / "m.onnx"), picture)
    assert (code, len(err)) == (2, 1)
    assert f"{picture}: takes no picture but arrays (maps 1x12x8x8 float32" in err[0]
    assert run(capsys, of_arrays(tmp_path / "m.onnx"), "--serve")[0] == 2
    np.save(tmp_path / "x.npy", np.ones(3))
    faces = write_model(tmp_path / "faces.onnx", metadata())
    assert "a face detector looks at pictures" in run(capsys, faces, tmp_path / "x.npy")[2][0]
    (tmp_path / "bad.npz").write_bytes(b"no")
    assert "is no file of NumPy's arrays" in run(capsys, yolo, tmp_path / "bad.npz")[2][0]
    code, _, err = run(capsys, yolo, tmp_path, "--out", tmp_path / "x.npz")
    assert code == 0 or "is one file of arrays" in err[0]


def test_labels_from_a_file_take_the_place_of_those_inside(
    yolo: Path, picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("fox\nowl\n")
    assert "1 owl" in run(capsys, yolo, picture, "--labels", names)[1][0]
    names.write_text("fox\n")
    code, _, err = run(capsys, yolo, picture, "--labels", names)
    assert (code, len(err)) == (2, 1)
    assert "there are 1 labels, and the network gives 2 classes (out (1, 6, 9)); give 2" in err[0]
    names.write_text("\n")
    assert "holds no names" in run(capsys, yolo, picture, "--labels", names)[2][0]
    names.write_bytes("Käse\n".encode("cp1252"))
    assert "is not in UTF-8; save" in run(capsys, yolo, picture, "--labels", names)[2][0]
    names.write_bytes("owl\r\n\r\nKäse\r\n".encode("utf-8-sig"))
    assert read_labels(names) == ("owl", "Käse")
    faces = write_model(tmp_path / "faces.onnx", metadata())
    names.write_text("face\n")
    assert "it finds faces; leave it out" in run(capsys, faces, picture, "--labels", names)[2][0]


def test_a_layout_that_does_not_fit_is_told_when_the_file_is_opened(tmp_path: Path) -> None:
    path = planted(tmp_path / "m.onnx", "boxes", {"out": YOLO}, layout="ssd")
    with pytest.raises(
        DetectError, match=r"m.onnx: task 'boxes' with layout 'ssd' expects"
    ) as told:
        open_worker(path)
    assert "\n" not in str(told.value)


def test_nan_is_told_with_the_picture_and_the_others_go_on(
    picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = planted(tmp_path / "m.onnx", "classes", {"out": np.array([[1, math.nan]])})
    code, out, err = run(capsys, path, picture, picture)
    assert (code, out, len(err)) == (2, [], 2)
    assert f"{picture}: output 'out' has 1 of 2 values that are NaN, and numbers were" in err[0]


def test_a_file_whose_metadata_were_stripped_is_told_what_to_do(
    picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = write_planted(tmp_path / "m.onnx", None, {"out": YOLO})
    code, _, err = run(capsys, path, picture)
    assert (code, len(err)) == (2, 1)
    assert (
        "has no 'detector' metadata, which say what it is fed and what its outputs mean" in err[0]
    )
    assert "export it by toolchain shrink" in err[0]


def test_an_input_of_another_name_is_told(tmp_path: Path) -> None:
    table = task_metadata("raw", ["out"])
    other = [{"name": "picture", "shape": [1, 3, 64, 96], "dtype": "float32"}]
    path = write_planted(tmp_path / "m.onnx", table, {"out": YOLO}, other)
    with pytest.raises(DetectError, match=r"must have the inputs image .got picture.; export"):
        open_worker(path)


def test_a_decoder_runs_only_if_it_is_named(picture: Path, tmp_path: Path, capsys: Capture) -> None:
    rows = {"out": np.array([[[8, 8, 40, 40, 0.9]]], np.float32)}
    path = planted(tmp_path / "m.onnx", "boxes", rows, decoder="mine.py:decode")
    code, _, err = run(capsys, path, picture)
    assert code == 2
    assert "found by mine.py:decode, code of your own, which runs only if you name it" in err[0]
    mine = tmp_path / "mine.py"
    mine.write_text("def decode(outputs, height, width):\n    rows = outputs['out'][0]\n"
                    "    return rows[:, :4], rows[:, 4:]\n")  # fmt: skip
    code, out, _ = run(capsys, path, picture, "--json", "--decoder", f"{mine}:decode")
    assert (code, json.loads(out[0])["boxes"][0]["box"]) == (0, [16, 16, 80, 80])
    other = planted(tmp_path / "c.onnx", "classes", {"out": np.ones((1, 3))})
    err = run(capsys, other, picture, "--decoder", f"{mine}:decode")[2]
    assert "--decoder is for boxes, and its task is classes" in err[0]
