"""A user's output folders beside each other: what is known of their files on a board, and how."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from toolchain import cli
from toolchain.arm.sysroot import runtime_of
from toolchain.arm.targets import Target, estimate, find_target
from toolchain.errors import InputError
from toolchain.recipe import default_recipe, override
from toolchain.records.certificate import SCHEMA, Certificate, FileFacts, companions_of, to_json
from toolchain.records.parity import Parity
from toolchain.records.recommendation import Candidate, Wish
from toolchain.records.run_folder import NCNN, name_of
from toolchain.records.timings import FileCheck, Instructions
from toolchain.system.files import as_json, sha256_of
from toolchain.workflows.recommending import commands
from toolchain.workflows.recommending.answering import recommend
from toolchain.workflows.recommending.folders import folder_candidate

RPI5 = find_target("rpi5")
FILES = ("model.onnx", "model.tflite", "model_int8.tflite", NCNN)
TOLD = 20_000_000
"""What the report says that the ncnn file takes."""


def write_run(
    folder: Path, files: tuple[str, ...] = FILES, rate: float | None = None, **report: object
) -> Path:
    """Write what an output folder of ``shrink`` tells; its files hold their names alone."""
    for name in (each for file in files for each in (file, *companions_of(file))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{folder.name}/{name}")
    facts = tuple(
        FileFacts(name, (folder / name).stat().st_size, sha256_of(folder / name)) for name in files
    )
    recipe = override(default_recipe("eresfd"), {"prune.rate": rate})
    certificate = Certificate(SCHEMA, "t", "w.pth", "0" * 64, recipe, facts, (), None, ())
    (folder / "certificate.json").write_bytes(to_json(certificate))
    content = {
        "model": "eresfd",
        "source": {"sha256": "0" * 64},
        "deployed_parameters": {"before": 2000, "after": 1000},
        "macs": {"before": 20, "after": 10, "size": [320, 320]},
        "size_bytes": {},
        "layers": [],
        "versions": {},
        "accuracy": None,
        "board": {"by_core": {RPI5.core: TOLD}},
        **report,
    }
    (folder / "report.json").write_text(json.dumps(content))
    return folder


def keep_check(cache: Path, file: Path, board: Target, instructions: int) -> None:
    """Keep a check as ``check`` does."""
    check = FileCheck(
        board.key,
        runtime_of(file.suffix, board),
        name_of(file),
        sha256_of(file),
        (320, 320),
        instructions,
        Instructions(instructions, 0, 0, 0),
        Parity("here -> there", "largest", 1e-3, ()),
        None,
        1,
        1,
        estimate(instructions, board),
        {"median": 0.1, "worst": 0.2},
        True,
        1,
        (),
        (),
    )
    (cache / "checks").mkdir(parents=True, exist_ok=True)
    (cache / "checks" / f"{name_of(file).replace('/', '-')}-{board.key}.json").write_bytes(
        as_json(dataclasses.asdict(check))
    )


def evaluated(sha256: str, hard: float, **settings: str) -> str:
    return json.dumps(
        {
            "ap": {"easy": 0.9, "medium": 0.8, "hard": hard},
            "subject": {"sha256": sha256, "settings": settings},
            "protocol": {"name": "single"},
            "sample": {"images": 403},
        }
    )


def look(folder: Path, tmp_path: Path, board: Target = RPI5) -> Candidate:
    return folder_candidate(folder, board, tmp_path / "cache")


# Costs ----------------------------------------------------------------------------------------


def test_what_was_never_checked_goes_by_the_tables_that_shrink_looked_up(tmp_path: Path) -> None:
    found = look(write_run(tmp_path / "run"), tmp_path)
    assert found.cost is not None
    assert (found.cost.how, found.cost.file) == ("estimated", "model_ncnn")
    assert found.cost.instructions == TOLD
    assert "model.onnx, model.tflite never counted on this board" in found.notes[0]


def test_a_check_that_was_made_counts_more_than_the_tables(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    keep_check(tmp_path / "cache", run / NCNN, RPI5, TOLD + 1)
    found = look(run, tmp_path)
    assert found.cost is not None
    assert (found.cost.how, found.cost.instructions) == ("counted", TOLD + 1)


def test_the_fastest_file_is_taken_but_none_in_int8(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    keep_check(tmp_path / "cache", run / "model.tflite", RPI5, TOLD - 1)
    keep_check(tmp_path / "cache", run / "model_int8.tflite", RPI5, TOLD // 2)
    found = look(run, tmp_path)
    assert found.cost is not None
    assert (found.cost.file, found.cost.runtime.split()[0]) == ("model.tflite", "ai-edge-litert")
    assert any("int8 files are left out" in note for note in found.notes)


def test_a_check_of_another_board_or_of_other_bytes_is_none(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", board=None)
    keep_check(tmp_path / "cache", run / "model.onnx", find_target("rpi4"), 5)
    keep_check(tmp_path / "cache", run / "model.tflite", RPI5, 5)
    (run / "model.tflite").write_text("changed")
    assert look(run, tmp_path).cost is None


def test_a_real_boards_time_goes_before_all_estimates(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    place = tmp_path / "check" / "run-rpi5" / "board.json"
    place.parent.mkdir(parents=True)
    timed = {
        "sha256": sha256_of(run / "model.onnx"),
        "low_ms": 0.9,
        "median_ms": 1.0,
        "high_ms": 1.1,
        "parity": True,
        "threads": 1,
    }
    place.write_text(json.dumps({"files": [timed]}))
    found = look(run, tmp_path)
    assert found.cost is not None
    assert (found.cost.how, found.cost.file) == ("measured", "model.onnx")
    assert found.cost.milliseconds.mid == 1.0
    place.write_text(json.dumps({"files": [timed | {"parity": False}]}))
    assert look(run, tmp_path).cost != found.cost


def test_a_board_that_runs_none_of_the_files_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", files=("model.onnx", NCNN))
    found = look(run, tmp_path, find_target("rpi4-32"))
    assert found.cost is None
    assert "has no file for this board, where .tflite files run" in found.notes[0]


# Accuracy -------------------------------------------------------------------------------------


def test_a_shipped_network_has_what_its_card_says(tmp_path: Path) -> None:
    told = {"easy": 0.5, "medium": 0.4, "hard": 0.3, "protocol": "single", "photos": 403}
    told |= {"overlaps": None}
    found = look(write_run(tmp_path / "run", accuracy=told), tmp_path)
    assert found.accuracy is not None
    assert found.accuracy.mean == pytest.approx(0.4)


@pytest.mark.parametrize("place", ["run/eval.json", "eval/run/eval.json", "eval/eval.json"])
def test_an_evaluation_beside_is_found_by_its_hash(place: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(evaluated("f" * 64, 0.7))
    assert look(run, tmp_path).accuracy is None  # of other weights
    file.write_text(evaluated(sha256_of(run / "model.onnx"), 0.7, input="320x320, letterboxed"))
    found = look(run, tmp_path).accuracy
    assert found is not None
    assert (found.hard, found.input) == (0.7, "320x320, letterboxed")


def test_the_checkpoints_evaluation_holds_unless_more_was_zeroed(tmp_path: Path) -> None:
    run, zeroed = write_run(tmp_path / "run"), write_run(tmp_path / "zeroed", rate=0.3)
    for folder in (run, zeroed):
        (folder / "eval.json").write_text(evaluated("0" * 64, 0.7))
    assert look(run, tmp_path).accuracy is not None
    assert look(zeroed, tmp_path).accuracy is None


def test_an_evaluation_that_is_none_is_passed_over(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for text in ("", "[]", "{}", '{"others": 3}', '{"subject": 3}'):
        (run / "eval.json").write_text(text)
        assert look(run, tmp_path).accuracy is None


# The whole ------------------------------------------------------------------------------------


def test_folders_stand_beside_what_ships(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    found = recommend([str(run), "extd"], RPI5, Wish(), None, tmp_path)
    assert found.candidates[0].name == str(run)
    assert [each.kind for each in found.candidates] == ["folder", *["shipped"] * 3, "peer"]
    assert any(note.startswith(f"AP is not known of {run}") for note in found.notes)


def test_a_folder_of_run_folders_names_some(tmp_path: Path) -> None:
    write_run(tmp_path / "out" / "run")
    with pytest.raises(InputError, match=r"it holds some: .*out/run"):
        look(tmp_path / "out", tmp_path)


def test_a_size_is_not_for_folders(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(InputError, match="--size is of networks that ship"):
        recommend([str(run)], RPI5, Wish(), (64, 64), tmp_path)


@pytest.mark.parametrize(
    ("by_make", "line"),
    [
        (True, "make bundle OUT={run} TARGET=rpi5 RUNTIME=ncnn OFFLINE=1"),
        (False, "toolchain bundle {run} --target rpi5 --runtime ncnn --offline"),
    ],
)
def test_the_line_to_copy_packs_the_best_file(
    by_make: bool, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "is_made_by_make", lambda: by_make)
    run = write_run(tmp_path / "run")
    assert look(run, tmp_path).next == (line.format(run=run),)


def test_the_command_prints_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    words = ["recommend", str(run), "--target", "rpi5", "--cache", str(tmp_path / "cache")]
    assert cli.run(words) == 0
    printed = capsys.readouterr().out
    assert f"* {run}" in printed
    assert "20.0" in printed
