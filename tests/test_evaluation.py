"""``evaluate`` and ``score`` from the command line, on a drawn data set in the official layout."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import literal_wider
import numpy as np
import pytest
import torch
from widerface import make_wider

from toolchain import cli
from toolchain.data.detections import read_detections, write_detections
from toolchain.data.wider import read_split
from toolchain.models.registry import build


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wider(tmp_path_factory.mktemp("wider"), 8, absent=["12--Group/12_Group_drawn_7"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "eres.pth"
    torch.save(build("eresfd", 3).state_dict(), path)
    return path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert cli.run([*map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def perfect(folder: Path, data: Path, score: float = 0.9) -> Path:
    """Write the ground truth itself as detections."""
    split = read_split(data, images_needed=False)
    for image, truth in zip(split.images, split.truths, strict=True):
        scores = np.full((len(truth.boxes), 1), score)
        write_detections(folder, image.name, np.concatenate([truth.boxes, scores], axis=1))
    return folder


@pytest.mark.slow
def test_an_evaluation_tells_what_it_depends_on(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "eval"
    found = run_json(capsys, "evaluate", weights, "--data", data, "--out", out)
    assert json.loads((out / "eval.json").read_text()) == found
    assert set(found["ap"]) == {"easy", "medium", "hard"}
    assert (found["images"], found["sample"]["listed"], found["sample"]["missing"]) == (7, 8, 1)
    assert found["whole_set"] is False
    assert found["protocol"]["name"] == "single"
    assert found["subject"]["sha256"]
    assert found["sample"]["sha256"]
    assert found["versions"]["torch"] == torch.__version__
    assert found["subject"]["settings"]["colour order"] == "RGB"
    assert len(list(out.rglob("detections/*/*.txt"))) == 7
    rows = list(csv.DictReader((out / "curves.csv").read_text().splitlines()))
    assert len(rows) == 3000
    assert "7 of 8 photos" in (out / "report.html").read_text()


@pytest.mark.slow
def test_the_figure_is_that_of_the_literal_rules_on_the_same_files(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "eval"
    found = run_json(capsys, "evaluate", weights, "--data", data, "--out", out)
    split = read_split(data)
    (folder,) = out.glob("*/detections")
    boxes = [read_detections(folder / f"{image.name}.txt") for image in split.images]
    expected = literal_wider.curves(
        boxes,
        [truth.boxes for truth in split.truths],
        {level: [truth.counted[level] for truth in split.truths] for level in split.levels},
    )
    for level, ap in found["ap"].items():
        assert ap == pytest.approx(expected[level].ap, abs=1e-9)
    again = run_json(capsys, "score", folder, "--data", data)
    assert again["ap"] == found["ap"]


@pytest.mark.slow
def test_a_sample_is_never_mistaken_for_the_whole(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", tmp_path / "eval"]
    found = run_json(capsys, "evaluate", weights, "--data", data, "--limit", 3, *out)
    assert (found["images"], found["sample"]["limit"], found["whole_set"]) == (3, 3, False)
    arguments = ["evaluate", weights, "--data", data, "--limit", 3, *out]
    assert cli.run(list(map(str, arguments))) == 0
    printed = capsys.readouterr().out
    assert "3 of 8 photos" in printed
    assert "never a WIDER FACE result" in printed
    whole = run_json(capsys, "evaluate", weights, "--data", data, *out)
    assert whole["resumed_images"] == 3


def test_perfect_detections_score_one(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = perfect(tmp_path / "mine", data)
    found = run_json(capsys, "score", folder, "--data", data, "--all")
    assert found["whole_set"] is True
    assert found["ap"]["hard"] == pytest.approx(1.0)
    assert found["images"] == 8


def test_photos_without_a_file_are_told_and_count_against(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = perfect(tmp_path / "mine", data)
    first = read_split(data).images[0].name
    (folder / f"{first}.txt").unlink()
    found = run_json(capsys, "score", folder, "--data", data, "--out", tmp_path / "scored")
    assert found["ap"]["hard"] < 1
    assert any("1 of 7 photos have no file" in note for note in found["notes"])
    assert (tmp_path / "scored" / "report.html").is_file()


def test_a_broken_photo_is_reported_and_the_run_goes_on(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "0--Parade/0_Parade_drawn_1"
    data = make_wider(tmp_path / "wider", 4, truncated=[name], empty=["0--Parade/0_Parade_drawn_0"])
    found = run_json(capsys, "evaluate", weights, "--data", data, "--out", tmp_path / "eval")
    assert [photo["name"] for photo in found["broken"]] == ["0--Parade/0_Parade_drawn_0", name]
    assert any("2 broken photos, scored as having no detections" in n for n in found["notes"])
    assert "cut off" in (tmp_path / "eval" / "report.html").read_text()


@pytest.mark.slow
def test_worst_and_compared_photos_are_drawn(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.pth"
    torch.save(build("eresfd", 4).state_dict(), other)
    options = ["--worst", 2, "--compare", weights, other, "--out", tmp_path / "eval"]
    found = run_json(capsys, "evaluate", weights, "--data", data, *options)
    assert [item["subject"]["name"] for item in found["others"]] == ["other.pth"]
    page = (tmp_path / "eval" / "report.html").read_text()
    assert len(re.findall("data:image/jpeg", page)) >= 2


@pytest.mark.slow
def test_the_test_split_gives_detections_and_no_figure(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--split", "test", "--data", data, "--out", tmp_path / "eval"]
    found = run_json(capsys, "evaluate", weights, *options)
    assert found["ap"] == {}
    assert any("no ground truth" in note for note in found["notes"])
    assert cli.run(["score", str(tmp_path), "--data", str(data), "--split", "test"]) == 2
    assert "no ground truth" in capsys.readouterr().err


@pytest.mark.slow
def test_the_train_split_is_scored_on_all_valid_faces(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--split", "train", "--data", data, "--out", tmp_path / "eval"]
    assert set(run_json(capsys, "evaluate", weights, *options)["ap"]) == {"all"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "{weights}", "--data", "{tmp}/absent"], "absent: cannot be read"),
        (["evaluate", "{weights}", "--data", "{tmp}"], "not WIDER FACE"),
        (["evaluate", "{tmp}/absent.pth", "--data", "{data}"], "no such file"),
        (["evaluate", "--data", "{data}"], "nothing to evaluate"),
        (["evaluate", "{weights}"], "--data"),
        (
            [
                "evaluate",
                "{weights}",
                "--data",
                "{data}",
                "--protocol",
                "paper",
                "--max-side",
                "99",
            ],
            "--max-side belongs to the protocol 'single'",
        ),
        (["evaluate", "--peer", "{weights}", "--data", "{data}"], "FaceDetectorYN"),
        (["score", "{tmp}/absent", "--data", "{data}"], "absent"),
        (["tables", "--weights", "{tmp}", "--data", "{data}"], "holds no checkpoint"),
        (["tables", "--weights", "{tmp}/absent", "--data", "{data}"], "absent: cannot be read"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    words: str,
    data: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"tmp": tmp_path, "data": data, "weights": weights}
    assert cli.run([argument.format(**places) for argument in arguments]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert words in printed[0]


def test_a_network_that_is_no_face_detector_is_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny import Tiny

    torch.save(Tiny().state_dict(), tmp_path / "tiny.pth")
    arguments = [
        "evaluate",
        str(tmp_path / "tiny.pth"),
        "--model",
        "tiny:Tiny",
        "--data",
        str(data),
    ]
    assert cli.run(arguments) == 2
    assert "no face detector that is known here" in capsys.readouterr().err


@pytest.mark.long
def test_shrunk_and_soft_have_the_same_average_precision(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quick_latency: None
) -> None:
    """The paper's soft-pruned network and what the surgery makes of it, on real photos."""
    soft = shared / "weights" / "paper" / "eresfd" / "ERES10_FPGM.pth"
    arguments = ["shrink", "eresfd", "--ckpt", soft, "--size", "160x128", "--out", tmp_path / "out"]
    assert cli.run([*map(str, arguments), "--formats", "onnx"]) == 0
    capsys.readouterr()
    options = [*few(shared, 10), "--out", tmp_path / "eval"]
    before = run_json(capsys, "evaluate", soft, *options)
    after = run_json(capsys, "evaluate", tmp_path / "out", *options)
    assert before["ap"]["easy"] > 0.6
    for level, ap in before["ap"].items():
        assert after["ap"][level] == pytest.approx(ap, abs=5e-5)


@pytest.mark.long
def test_channel_order_and_anchors_matter(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The upstream network on 24 photos: its own anchors are better than square ones."""
    weights = shared / "weights" / "upstream" / "eresfd"
    arguments = ["evaluate", weights, *few(shared, 24)]
    own = run_json(capsys, *arguments, "--out", tmp_path / "own")
    square = run_json(capsys, *arguments, "--anchor-ratio", 1, "--out", tmp_path / "square")
    assert own["subject"]["settings"]["anchor height / width"] == "1.25"
    assert own["ap"]["easy"] > 0.8
    assert own["ap"]["easy"] > square["ap"]["easy"]


def few(shared: Path, count: int) -> list[object]:
    """Options: so many real photos, made small, all in this process."""
    return ["--data", shared / "wider", "--limit", count, "--max-side", 480, "--workers", 1]
