"""Classes, points, masks and arrays, read from what was planted, and decoders of one's own."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tasks import SIZE, given, task_metadata

from toolchain.deploy.detector.errors import DetectError
from toolchain.deploy.detector.preparing import Placement, letterbox
from toolchain.deploy.detector.tasks import mask
from toolchain.deploy.detector.tasks.boxes import read_boxes
from toolchain.deploy.detector.tasks.classes import read_classes
from toolchain.deploy.detector.tasks.colours import colour
from toolchain.deploy.detector.tasks.mask import read_mask
from toolchain.deploy.detector.tasks.own import load_decoder
from toolchain.deploy.detector.tasks.points import read_points
from toolchain.deploy.detector.tasks.raw import read_raw

GREY = np.full((*SIZE, 3), 128, np.uint8)


def row(*values: float) -> dict[str, np.ndarray]:
    return {"out": np.array([values], np.float32)}


# Classes -----------------------------------------------------------------------------------------


def test_the_likeliest_classes_come_first_with_their_names() -> None:
    found = read_classes(given("classes", row(1, 3, 2), labels=["a", "b", "c"], top=2), None)
    assert found.facts() == {
        "classes": [
            {"label": "b", "class": 1, "score": 3.0},
            {"label": "c", "class": 2, "score": 2.0},
        ]
    }
    assert found.words() == "b 3.00, c 2.00"


def test_softmax_is_taken_if_the_file_says_so() -> None:
    found = read_classes(given("classes", row(0, math.log(3)), activation="softmax"), None)
    np.testing.assert_allclose(found.scores, [0.75, 0.25])
    assert found.names == ("1", "0")
    above = read_classes(given("classes", row(0, math.log(3)), activation="softmax"), 0.5)
    assert above.names == ("1",)


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (row(1, 2, 3), ["a"], "there are 1 labels, and the network gives 3 classes .*give 3 label"),
        ({"out": np.zeros((1, 3, 4), np.float32)}, [], r"'classes' expects one output \(1, clas"),
        ({**row(1, 2), "b": np.zeros((1, 2))}, [], r"one output .*got out \(1, 2\), b \(1, 2\)"),
        (row(1, math.nan), [], "output 'out' has 1 of 2 values that are NaN, and numbers were"),
    ],
)
def test_what_is_no_row_of_scores_is_told(
    outputs: dict[str, np.ndarray], labels: list[str], message: str
) -> None:
    with pytest.raises(DetectError, match=message) as caught:
        read_classes(given("classes", outputs, labels=labels), None)
    assert "\n" not in str(caught.value)


def test_classes_that_are_masked_out_are_not_told() -> None:
    found = read_classes(given("classes", row(1, -math.inf, 3)), None)
    assert found.names == ("2", "0")


def test_one_of_several_outputs_is_read_if_the_file_names_it() -> None:
    outputs = {**row(1, 2), "b": np.array([[5.0, 4.0]], np.float32)}
    whole = given("classes", outputs)
    which = dataclasses.replace(whole.specification, read=("b",))
    found = read_classes(dataclasses.replace(whole, specification=which), None)
    assert found.scores.tolist() == [5, 4]


# Points ------------------------------------------------------------------------------------------

TWICE = Placement(0.5, 0.5, 0, 0, 192, 128)


def test_points_come_back_to_the_picture() -> None:
    for layout, values in (("pixels", (48, 32, 10, 20)), ("shares", (0.5, 0.5, 10 / 96, 20 / 64))):
        found = read_points(given("points", row(*values), TWICE, layout=layout), None)
        np.testing.assert_allclose(found.points, [[96, 64], [20, 40]], rtol=1e-6)
        assert found.facts()["points"][0] == {"label": "0", "x": 96.0, "y": 64.0}


def test_points_with_a_low_score_are_told_but_not_drawn() -> None:
    outputs = {"out": np.array([[[10, 10, 0.9], [50, 50, 0.2]]], np.float32)}
    found = read_points(given("points", outputs, labels=["eye", "ear"]), None)
    assert found.words() == "1 of 2 points"
    assert [each["score"] for each in found.facts()["points"]] == [0.9, 0.2]
    drawn = found.drawn(GREY)
    assert tuple(drawn[10, 10]) == colour(0)
    assert (drawn[50, 50] == 128).all()


def test_points_beside_the_picture_are_told_and_not_drawn_and_infinite_ones_refused() -> None:
    found = read_points(given("points", row(1e30, 5, 10, 20)), None)
    drawn = found.drawn(GREY)
    assert tuple(drawn[20, 10]) == colour(1)
    with pytest.raises(DetectError, match=r"a point is infinite \(out \(1, 2\)\)"):
        read_points(given("points", row(math.inf, 5)), None)


def test_of_heatmaps_the_highest_cell_is_the_point() -> None:
    maps = np.zeros((1, 2, 8, 12), np.float32)
    maps[0, 0, 2, 5], maps[0, 1, 7, 11] = 0.8, 0.6
    found = read_points(given("points", {"out": maps}, layout="heatmaps"), None)
    np.testing.assert_allclose(found.points, [[44, 20], [92, 60]])
    np.testing.assert_allclose(found.scores, [0.8, 0.6], rtol=1e-6)


@pytest.mark.parametrize("layout", ["pixels", "heatmaps", "dots"])
def test_what_holds_no_points_is_told(layout: str) -> None:
    with pytest.raises(DetectError, match=r"task 'points' with layout .* expects"):
        read_points(given("points", {"out": np.zeros((1, 3, 5))}, layout=layout), None)


# Masks -------------------------------------------------------------------------------------------


def test_each_pixel_gets_its_likeliest_class_at_the_pictures_size() -> None:
    scores = np.zeros((1, 3, 4, 6), np.float32)
    scores[0, 1, :2] = 1  # the upper half
    scores[0, 0, 2:] = 1  # the lower half
    found = read_mask(given("mask", {"out": scores}, TWICE), None)
    assert found.mask.shape == (128, 192)
    assert (found.mask[:64] == 1).all()
    assert (found.mask[64:] == 0).all()
    shares = {each["label"]: each["share"] for each in found.facts()["areas"]}
    assert shares == {"0": 0.5, "1": 0.5}


def test_scores_are_compared_between_the_middles_of_the_cells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = np.random.default_rng(3).standard_normal((1, 5, 8, 12)).astype(np.float32)
    found = read_mask(given("mask", {"out": scores}), None).mask
    finer = torch.nn.functional.interpolate(torch.tensor(scores), SIZE, mode="bilinear")
    assert (found == finer.argmax(1)[0].numpy()).mean() > 0.999  # but for rounding
    coarse = np.kron(scores[0].argmax(0), np.ones((8, 8), int))
    assert 0.05 < (found != coarse).mean() < 0.5
    monkeypatch.setattr(mask, "MOST_VALUES", 5 * 64 * 96 - 1)  # more than a board could afford
    assert (read_mask(given("mask", {"out": scores}), None).mask == coarse).all()


def test_a_class_at_minus_infinity_is_nowhere() -> None:
    scores = np.zeros((1, 3, 4, 6), np.float32)
    scores[0, 0], scores[0, 1] = -np.inf, [-1, -1, -1, 1, 1, 1]
    found = read_mask(given("mask", {"out": scores}, labels=["a", "b", "c"]), None)
    assert set(found.mask.ravel()) == {1, 2}


def test_one_channel_is_compared_with_a_threshold() -> None:
    scores = np.full((1, 1, 4, 6), -1.0, np.float32)
    scores[..., 3:] = 1.0  # sigmoid: 0.27 and 0.73
    found = read_mask(given("mask", {"out": scores}, labels=["person"], score_threshold=0.5), None)
    assert found.facts()["areas"] == [
        {"label": "background", "class": 0, "share": 0.5},
        {"label": "person", "class": 1, "share": 0.5},
    ]
    all_of_it = read_mask(given("mask", {"out": scores}, score_threshold=0.5), 0.2)
    assert all_of_it.mask.min() == 1
    drawn = found.drawn(GREY)
    assert (drawn[:, :48] == 128).all()
    assert (drawn[:, 48:] != 128).any(axis=2).all()


def test_what_the_network_was_not_shown_is_background() -> None:
    scores = np.zeros((1, 2, 4, 6), np.float32)
    scores[0, 1] = 1
    cropped = Placement(1.0, 1.0, -10, 0, 116, 64)  # ten columns at each side were cut off
    found = read_mask(given("mask", {"out": scores}, cropped), None)
    assert found.mask[0].tolist() == [0] * 10 + [1] * 96 + [0] * 10


def test_a_mask_of_indices_is_taken_as_it_is() -> None:
    indices = np.zeros((1, 4, 6), np.float32)
    indices[0, 0] = 2
    found = read_mask(
        given("mask", {"out": indices}, layout="indices", labels=["a", "b", "c"]), None
    )
    assert found.words() == "a 75.0%, c 25.0%"
    with pytest.raises(DetectError, match="2 labels, and the network gives 3 classes"):
        read_mask(given("mask", {"out": indices}, layout="indices", labels=["a", "b"]), None)
    with pytest.raises(DetectError, match=r"expects one output .* of whole numbers"):
        read_mask(given("mask", {"out": indices + 0.5}, layout="indices"), None)


def test_masks_of_other_shapes_labels_and_nan_are_told() -> None:
    with pytest.raises(DetectError, match=r"'mask' expects one output \(1, classes, rows, colum"):
        read_mask(given("mask", row(1, 2)), None)
    with pytest.raises(DetectError, match="4 labels, and the network gives 3 classes"):
        read_mask(given("mask", {"out": np.zeros((1, 3, 4, 6))}, labels=list("abcd")), None)
    scores = np.zeros((1, 3, 4, 6))
    scores[0, 1] = math.nan
    with pytest.raises(DetectError, match="24 of 72 values that are NaN"):
        read_mask(given("mask", {"out": scores}), None)


# Arrays ------------------------------------------------------------------------------------------


def test_raw_outputs_come_as_they_are_and_nan_is_said() -> None:
    outputs = {"a": np.array([[1.0, math.nan, 4.0]]), "b": np.array([[7]], np.int64)}
    found = read_raw(given("raw", outputs), None)
    assert found.arrays() == outputs
    assert found.words() == "a 1x3 (1 to 4), 1 NaN OR INFINITE, b 1x1 (7 to 7)"
    assert found.facts()["outputs"][0]["not_finite"] == 1


# A decoder of one's own --------------------------------------------------------------------------

DECODER = """
import numpy as np

def decode(outputs, height, width):
    found = outputs["out"][0]
    return found[:, :4] * [width, height, width, height], found[:, 4:]

def wrong(outputs, height, width):
    return [[1, 2, 3]], [[0.5]]

def broken(outputs, height, width):
    return outputs["nothing"]

def leaving(outputs, height, width):
    raise SystemExit(3)

value = 3
"""
ROWS = {"out": np.array([[[0.25, 0.5, 0.5, 1.0, 0.1, 0.8]]], np.float32)}


def test_a_decoder_of_ones_own_finds_the_boxes(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(DECODER)
    which = given("boxes", ROWS, labels=["cat", "dog"], decoder="mine.py:decode")
    found = read_boxes(which, None, load_decoder(f"{path}:decode"))
    assert (found.boxes.tolist(), found.names) == ([[24, 32, 48, 64]], ("dog",))
    with pytest.raises(DetectError, match=r"mine.py:decode, code of your own, .* give --decoder"):
        read_boxes(which, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", r"must give boxes \(N, 4\) and scores \(N, classes\) \(got \(1, 3\)"),
        ("broken", r"the decoder failed \(KeyError: 'nothing'\); it got out \(1, 1, 6\)"),
        ("leaving", r"the decoder failed \(SystemExit: 3\)"),
        ("absent", "cannot be loaded .*absent"),
        ("value", "value is no function"),
    ],
)
def test_a_decoder_that_fails_is_told_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(DECODER)
    with pytest.raises(DetectError, match=message) as caught:
        read_boxes(given("boxes", ROWS), None, load_decoder(f"{path}:{name}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["mine.py", "mine:decode", "absent.py:decode", "mine.py:a b"])
def test_what_names_no_function_is_told(text: str) -> None:
    with pytest.raises(DetectError, match="--decoder"):
        load_decoder(text)


# How a picture is fitted --------------------------------------------------------------------------


def test_a_picture_is_stretched_or_cropped_if_the_file_says_so() -> None:
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, 48:144] = (0, 0, 200)  # the middle half is red
    for fit, share in (("letterbox", 0.25), ("stretch", 0.5), ("crop", 1.0)):
        entry = {**task_metadata("raw", ["out"])["input"], "fit": fit}
        view = given("raw", row(1), input=entry).specification.pictures
        assert view is not None
        tensor, placement = letterbox(wide, view, *SIZE)
        assert float((tensor[0, 0] > 100).mean()) == pytest.approx(share, abs=0.02)
        x = 96 * placement.scale_x + placement.left  # the picture's middle
        assert x == pytest.approx(48)
