"""The lineage of files: made, proved, verified, and every fault found by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lineages import faces, little, quick, recipe

import toolchain.workflows.stages.measuring as measuring
from toolchain.cli import run as run_cli
from toolchain.cli.shrunk import _added_up
from toolchain.deploy import detect
from toolchain.errors import ExportError, InputError, ParityError
from toolchain.exporting import extra
from toolchain.lineage import exports, format_choice, verifying
from toolchain.lineage.calibration import read_calibration
from toolchain.lineage.format_choice import choose_formats
from toolchain.lineage.links import _pairs
from toolchain.records.certificate import NAME, LayerNoise, Link, read_certificate
from toolchain.workflows.pipeline import Job, run_shrink

EXAMPLE = torch.zeros(1, 3, 96, 128)
LINKS = [
    "chain/soft.safetensors -> model.safetensors",
    "model.safetensors -> chain/exported.onnx",
    "chain/exported.onnx -> chain/simplified.onnx",
    "chain/simplified.onnx -> chain/factors.onnx",
    "chain/factors.onnx -> chain/heads.onnx",
    "chain/heads.onnx -> chain/largest.onnx",
    "chain/largest.onnx -> chain/rows.onnx",
    "chain/rows.onnx -> model.onnx",
    "chain/simplified.onnx -> model_int8.onnx",
]


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def look(folder: Path) -> verifying.Verification:
    return verifying.verify(folder, 7, lambda _name: None)


def test_every_file_is_tied_to_the_one_before(made: Path) -> None:
    certificate = read_certificate(made / NAME)
    assert certificate.is_complete
    assert [link.name for link in certificate.links] == LINKS
    hashes = {file.name: file.sha256 for file in certificate.files}
    for link in certificate.links:
        assert (link.before_sha256, link.after_sha256) == (hashes[link.before], hashes[link.after])
        assert link.passed
    *exact, int8 = certificate.links
    assert max(link.worst or 0 for link in exact) <= 1e-5
    assert [link.parity.limit for link in exact] == [1e-5, 1e-4, 1e-4, *[1e-5] * 5]
    assert 1e-5 < (int8.mean or 0) <= 0.05  # int8 is not the float file under another name
    assert int8.boxes is not None
    assert int8.boxes.photos == 4  # of 20: every fifth, on which nothing was calibrated
    assert certificate.calibration is not None
    assert (certificate.calibration.kind, certificate.calibration.inputs) == ("photos", 16)


def test_the_int8_file_runs_on_the_board(made: Path) -> None:
    detector = detect.Detector(made / "model_int8.onnx", threads=1)
    assert (detector.height, detector.width) == (96, 128)
    assert (made / "model_int8.onnx").stat().st_size < (made / "model.onnx").stat().st_size


@pytest.mark.slow
def test_what_is_as_it_was_is_verified(made: Path) -> None:
    found = look(made)
    assert found.problems == ()
    assert [check.name for check in found.links] == LINKS
    assert found.passed
    for check in found.links:
        assert check.found is not None
        assert drawn(check.found).isdisjoint(drawn(check.stated))


def drawn(link: Link) -> set[str]:
    """The hashes of the inputs that a seed makes; others are the same in every run."""
    kinds = ("random", "smooth", "photo")
    return {case.sha256 for case in link.parity.cases if case.input.startswith(kinds)}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chain/heads.onnx", "report.html"])
def test_one_flipped_bit_is_found(name: str, folder: Path) -> None:
    """And the links of other files are run all the same."""
    flip(folder / name)
    found = look(folder)
    assert not found.passed
    assert f"{name}: was changed" in found.problems[0]
    for check in found.links:
        of_it = name in (check.stated.before, check.stated.after)
        assert check.problem == (f"not run, for {name} was changed" if of_it else None)


def without_links(folder: Path) -> verifying.Verification:
    """What is wrong with the files; no link is run, for the weights have changed."""
    flip(folder / "model.safetensors")
    found = look(folder)
    assert not any(check.passed for check in found.links)
    return found


@pytest.mark.parametrize(
    "name",
    [
        "chain/soft.safetensors", "chain/exported.onnx", "model.onnx",
        "model_int8.onnx", "detect.py", "report.json", "report.md", "surgery.json",
    ],
)  # fmt: skip
def test_a_flipped_bit_is_found_in_every_file(name: str, folder: Path) -> None:
    flip(folder / name)
    found = without_links(folder)
    assert any(f"{name}: was changed" in problem for problem in found.problems)
    for check in found.links:
        if name in (check.stated.before, check.stated.after):
            assert str(check.problem).startswith("not run, for ")


@pytest.mark.parametrize(
    "name", ["model.onnx", "chain/soft.safetensors", "chain/factors.onnx", "report.md"]
)
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    assert f"{name}: is missing" in without_links(folder).problems


def test_swapped_and_strange_files_are_named(folder: Path) -> None:
    shutil.copy(folder / "model.onnx", folder / "model_int8.onnx")
    (folder / "model.tflite").write_bytes(b"of another run")
    problems = without_links(folder).problems
    assert any("model_int8.onnx: was changed" in each for each in problems)
    assert any("model.tflite: is not in manifest.json" in each for each in problems)


def test_an_edited_certificate_is_found(folder: Path) -> None:
    text = (folder / NAME).read_text()
    (folder / NAME).write_text(text.replace('"limit": 0.05', '"limit": 0.5'))
    found = look(folder)
    assert "was changed after it was written" in found.problems[0]


def rehash(folder: Path, name: str) -> None:
    """Do what a careful hand would: write the right hashes into manifest and certificate."""
    from toolchain.system.files import digest_of, sha256_of

    for path, key in ((folder / NAME, "files"), (folder / "manifest.json", "files")):
        content = json.loads(path.read_text())
        if path.name == NAME:
            for entry in content[key]:
                if entry["name"] == name:
                    entry["sha256"] = sha256_of(folder / name)
            for link in content["links"]:
                for end in ("before", "after"):
                    if link[end] == name:
                        link[f"{end}_sha256"] = sha256_of(folder / name)
            content.pop("sha256_of_the_rest")
            content["sha256_of_the_rest"] = digest_of(content)
        else:
            content[key][name]["sha256"] = sha256_of(folder / name)
            content[key][NAME]["sha256"] = sha256_of(folder / NAME)
        path.write_text(json.dumps(content))


@pytest.mark.long
def test_another_network_with_right_hashes_breaks_its_links(folder: Path, tmp_path: Path) -> None:
    """Running the links finds what hashes cannot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "compare_latency", quick)
        run_shrink(
            Job(recipe(**{"prune.rate": 0.0}), tmp_path / "b", untrained=True, formats=("onnx",))
        )
    shutil.copy(tmp_path / "b" / "model.onnx", folder / "model.onnx")
    rehash(folder, "model.onnx")
    found = look(folder)
    assert found.problems == ()
    broken = {check.name: check.problem for check in found.links if not check.passed}
    assert set(broken) == {"chain/rows.onnx -> model.onnx"}
    assert "outputs differ by" in str(broken["chain/rows.onnx -> model.onnx"])


def test_a_manifest_does_not_lead_outside(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    content["files"]["../secret"] = {"sha256": "0"}
    (folder / "manifest.json").write_text(json.dumps(content))
    assert any("lies outside the folder" in each for each in without_links(folder).problems)


@pytest.mark.slow
def test_the_command_says_which_link_breaks(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["verify", str(folder), "--seed", "3"]) == 0
    assert "verified (inputs of seed 3)" in capsys.readouterr().out
    flip(folder / "model_int8.onnx")
    assert run_cli(["verify", str(folder), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    broken = [link["link"] for link in content["links"] if not link["passed"]]
    assert broken == [LINKS[-1]]
    assert run_cli(["verify", str(folder / "chain")]) == 2


def test_what_is_printed_of_a_file_goes_back_to_the_weights(folder: Path) -> None:
    certificate = read_certificate(folder / NAME)
    made = {link.after: link for link in certificate.links}
    way = [link for link in certificate.links if link.name in LINKS[1:8]]
    assert len(way) == 7
    worst, mean = _added_up(made["model.onnx"], certificate)
    assert 0 < worst == pytest.approx(sum(link.worst or 0 for link in way))
    assert mean == pytest.approx(sum(link.mean or 0 for link in way))
    weights = made["model.safetensors"]
    assert _added_up(weights, certificate) == (weights.worst, weights.mean)


# A lineage that breaks ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_broken_link_leaves_the_good_files(
    tmp_path: Path, quick_latency: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def costs(*_: object) -> tuple[LayerNoise, ...]:
        return (LayerNoise("stem.0.weight", 0.5, in_float=False),)

    monkeypatch.setattr(exports, "layer_noises", costs)
    job = Job(little(**{"proof.int8_limit": 1e-9}), tmp_path / "out", formats=("onnx", "int8"))
    report = run_shrink(job)
    certificate = read_certificate(tmp_path / "out" / NAME)
    assert certificate == report.certificate
    assert not certificate.is_complete
    assert [failure.file for failure in certificate.failures] == ["model_int8.onnx"]
    reason = certificate.failures[0].reason
    assert ", mean, more than 1e-09 (worst in output" in reason
    assert reason.endswith(", with 1 of 1 layers in float")
    assert (tmp_path / "out" / "model.onnx").is_file()
    assert not (tmp_path / "out" / "model_int8.onnx").exists()
    assert "INCOMPLETE" in (tmp_path / "out" / "report.md").read_text()
    assert "INCOMPLETE" in (tmp_path / "out" / "report.html").read_text()
    found = look(tmp_path / "out")
    assert any("is not complete" in problem for problem in found.problems)


@pytest.mark.slow
def test_a_file_that_cannot_be_made_leaves_the_others(
    tmp_path: Path, quick_latency: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ExportError("the ONNX file cannot be quantised (no)")

    monkeypatch.setattr(exports.OnnxQuantiser, "quantised", refuse)
    report = run_shrink(Job(little(), tmp_path / "out", formats=("onnx", "int8")))
    assert report.certificate is not None
    assert not report.certificate.is_complete
    expected = [*LINKS[:2], "chain/exported.onnx -> model.onnx"]  # no rewrite applies
    assert [link.name for link in report.certificate.links] == expected
    assert any("SYNTHETIC CALIBRATION" in note for note in report.notes)


@pytest.mark.slow
def test_a_surgery_that_its_files_do_not_bear_out_stops_with_its_reason(
    tmp_path: Path, quick_latency: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = exports.links.measure_link

    def short(folder: Path, before: str, after: str, kind: str, *rest: object) -> Link:
        link = measured(folder, before, after, kind, *rest)  # type: ignore[arg-type]
        refused = replace(link.parity, limit=-1.0)
        return replace(link, parity=refused) if kind == "surgery" else link

    monkeypatch.setattr(exports.links, "measure_link", short)
    with pytest.raises(ParityError, match=r"^chain/soft.safetensors -> model.safetensors: outputs"):
        run_shrink(Job(little(), tmp_path / "out", formats=("onnx",)))
    assert not (tmp_path / "out").exists()


# Formats and calibration --------------------------------------------------------------------------


def test_without_the_extras_onnx_alone_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format_choice, "lacking", lambda: "TFLite files need x; run make setup")
    monkeypatch.setattr(format_choice, "lacking_ncnn", lambda: "ncnn files need y; run make setup")
    formats, note = choose_formats(None)
    assert formats == ("onnx",)
    assert note == (
        "ONNX alone: TFLite files need x; run make setup; ncnn files need y; run make setup."
    )
    assert choose_formats(["int8"]) == (("onnx", "int8"), None)
    with pytest.raises(InputError, match="--formats tflite,int8: TFLite files need x"):
        choose_formats(["tflite", "int8"])
    with pytest.raises(InputError, match="--formats int8,ncnn: ncnn files need y"):
        choose_formats(["int8", "ncnn"])


def test_with_one_extra_the_note_tells_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format_choice, "lacking", lambda: "TFLite files need x")
    monkeypatch.setattr(format_choice, "lacking_ncnn", lambda: None)
    assert choose_formats(None) == (
        ("onnx", "ncnn"),
        "Made are onnx and ncnn: TFLite files need x.",
    )


def test_formats_bring_what_they_are_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format_choice, "lacking", lambda: None)
    monkeypatch.setattr(format_choice, "lacking_ncnn", lambda: None)
    assert choose_formats(None) == (("onnx", "tflite", "fp16", "int8", "ncnn"), None)
    assert choose_formats(["fp16"]) == (("onnx", "tflite", "fp16"), None)
    for wrong in (["tflight"], []):
        with pytest.raises(InputError, match="--formats must be of onnx, tflite, fp16, int8, ncnn"):
            choose_formats(wrong)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "is no folder"),
        (lambda folder: folder.mkdir(), "holds no photos"),
        (
            lambda folder: [folder.mkdir(), (folder / "a.jpg").write_bytes(b"no")],
            "no photo can be read",
        ),
    ],
)
def test_calibration_without_photos_is_refused(
    prepare: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    prepare(tmp_path / "photos")
    with pytest.raises(InputError, match=message):
        read_calibration(tmp_path / "photos", recipe(), EXAMPLE)


def test_few_flat_and_broken_photos_are_told(tmp_path: Path) -> None:
    folder = faces(tmp_path / "photos", 1)
    cv2.imwrite(str(folder / "grey.png"), np.full((50, 50, 3), 128, np.uint8))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8")
    found = read_calibration(folder, recipe(), EXAMPLE)
    assert (found.facts.inputs, found.facts.broken) == (2, 1)
    assert found.notes == (
        "1 calibration photos cannot be read and were left out.",
        "int8 was calibrated on 2 photos; 100 that differ are better.",
        "1 of 2 calibration photos show one colour only.",
    )


def test_photos_are_spread_over_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.lineage.calibration.MOST_PHOTOS", 5)
    found = read_calibration(faces(tmp_path / "photos", 17), recipe(), EXAMPLE)
    assert [photo.name for photo in found.held_out] == ["16.png"]
    assert found.facts.inputs == 4


def test_a_network_of_other_channels_takes_no_photos(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="photos are fed as RGB, 3 channels, and the network takes 1"
    ):
        read_calibration(tmp_path, recipe(), torch.zeros(1, 1, 96, 128))


def test_pairs_of_boxes_are_the_best_overlaps() -> None:
    ours = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    theirs = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [60, 60, 70, 70]], np.float32)
    assert _pairs(ours, theirs) == [1.0]
    assert _pairs(ours[:0], theirs) == []
    assert _pairs(ours, ours) == [1.0, 1.0]


def test_a_wrong_version_of_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    there = dict(extra.PINS)
    monkeypatch.setattr(extra.metadata, "version", lambda package: there[package])
    assert extra.lacking() is None
    there["litert-torch"] = "0.9.0"
    assert str(extra.lacking()).startswith(
        "TFLite files: litert-torch 0.9.0 (expected 0.10.0); run make setup EXTRAS=tflite"
    )
