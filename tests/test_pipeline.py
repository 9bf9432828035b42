"""Whole runs: the folder that comes out, and what happens when something fails."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import toolchain.workflows.stages.exporting as exporting
from toolchain.deploy import detect, packing
from toolchain.errors import AnalysisError, InputError, ParityError
from toolchain.exporting import rewriting
from toolchain.exporting.graph import Graph
from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into
from toolchain.recipe import REWRITES, Recipe, default_recipe, override
from toolchain.records.stages import Report
from toolchain.surgery import flow, removing
from toolchain.workflows.pipeline import Job, run_shrink

FILES = {
    "model.onnx", "model.safetensors", "surgery.json", "detect.py",
    "report.json", "report.md", "report.html", "manifest.json", "certificate.json",
    "chain/soft.safetensors", "chain/exported.onnx", "chain/simplified.onnx",
    "chain/factors.onnx", "chain/heads.onnx", "chain/largest.onnx", "chain/rows.onnx",
}  # fmt: skip


def recipe(model: str = "eresfd", height: int = 96, width: int = 128, **prune: object) -> Recipe:
    sizes = {"input.height": height, "input.width": width}
    return override(default_recipe(model), sizes | {f"prune.{k}": v for k, v in prune.items()})


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, quick_latency: None) -> None:
    monkeypatch.chdir(Path(__file__).parent)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """With a photo, and of faces what is found by chance."""
    folder = tmp_path_factory.mktemp("run")
    picture = np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8)
    cv2.imwrite(str(folder / "photo.png"), picture)
    return Job(
        override(recipe(rate=0.25), {"decode.score_threshold": 0.9, "prune.align": 1}),
        folder / "out",
        photos=(folder / "photo.png",),
        untrained=True,
        formats=("onnx",),
        command="toolchain shrink",
    )


@pytest.fixture(scope="module")
def report(job: Job) -> Report:
    return run_shrink(job)


@pytest.fixture(scope="module")
def finished(job: Job, report: Report) -> Path:
    return job.out


@pytest.mark.slow
def test_the_folder_is_complete_and_the_manifest_true(finished: Path) -> None:
    assert {
        path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()
    } == FILES
    manifest = json.loads((finished / "manifest.json").read_text())
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    for name, entry in manifest["files"].items():
        data = (finished / name).read_bytes()
        assert entry == {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_beside_the_model_lies_the_boards_program(finished: Path) -> None:
    assert (finished / "detect.py").read_bytes() == packing.program()


def test_the_report_holds_what_scripts_ask_for(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    assert report["model"] == "eresfd"
    assert report["trained"] is False
    assert report["deployed_parameters"]["before"] == 91_342
    assert report["deployed_parameters"]["after"] == 51_800 - 18
    zeroed = report["zeroed_filters"]
    assert (zeroed["total"], zeroed["removed"], zeroed["kept"]) == (
        zeroed["removed"],
        zeroed["total"],
        0,
    )
    assert report["macs"]["after"] < report["macs"]["before"]
    assert report["size_bytes"]["model.onnx"] == (finished / "model.onnx").stat().st_size
    assert report["parity"]["surgery"]["largest_share"] <= 1e-5
    assert report["parity"]["exact"]["largest_share"] <= 1e-11
    assert report["parity"]["onnx"]["largest_share"] <= 1e-4
    assert report["latency"]["ratio"] > 0
    assert all(seconds >= 0 for seconds in report["stages"].values())


def test_untrained_is_said_everywhere(finished: Path) -> None:
    assert "UNTRAINED" in (finished / "report.md").read_text()
    assert "UNTRAINED" in (finished / "report.html").read_text().upper()
    model = onnx.load(finished / "model.onnx")
    metadata = json.loads({p.key: p.value for p in model.metadata_props}["detector"])
    assert metadata["trained"] is False
    assert metadata["provenance"]["rate"] == 0.25


def test_the_weights_load_again_and_agree_with_the_file(finished: Path) -> None:
    network = build("eresfd")
    load_into(network, read_checkpoint(finished / "model.safetensors"), "eresfd")
    image = torch.randn(1, 3, 96, 128) * 50
    session = onnxruntime.InferenceSession(finished / "model.onnx")
    with torch.no_grad():
        expected = network(image)
    for a, b in zip(expected, session.run(None, {"image": image.numpy()}), strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-4)


@pytest.mark.slow
def test_a_second_run_writes_the_same_bytes(
    job: Job, finished: Path, tmp_path: Path, afresh: None
) -> None:
    again = tmp_path / "again"
    run_shrink(replace(job, out=again))
    for name in ("model.onnx", "model.safetensors", "surgery.json"):
        assert (finished / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.slow
def test_a_shrunk_network_is_a_checkpoint_that_shrinks_to_itself(tmp_path: Path) -> None:
    own = override(default_recipe("tiny:Tiny"), {"prune.rate": 0.5})
    run_shrink(Job(own, tmp_path / "first"))
    weights = tmp_path / "first" / "model.safetensors"
    report = run_shrink(Job(override(own, {"prune.rate": None}), tmp_path / "again", weights))
    assert report.surgery.filters == ()
    assert report.cost_before == report.cost_after
    assert report.source.trained is False


def test_a_photo_is_drawn_before_and_after(report: Report) -> None:
    (photo,) = report.photos
    assert photo.before_png[:4] == photo.after_png[:4] == b"\x89PNG"
    assert len(photo.before.boxes) == len(photo.after.boxes)
    assert photo.max_box_diff_px is not None
    assert photo.max_box_diff_px < 0.01


@pytest.mark.long
def test_a_dynamic_file_takes_other_sizes(tmp_path: Path) -> None:
    run_shrink(Job(recipe(), tmp_path / "out", dynamic=True, untrained=True, formats=("onnx",)))
    detector = detect.Detector(tmp_path / "out" / "model.onnx", size=(64, 192))
    assert (detector.height, detector.width) == (64, 192)


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["tiny:Tiny"])
def test_a_network_of_ones_own_takes_the_same_road(factory: str, tmp_path: Path) -> None:
    own = override(
        default_recipe(factory), {"prune.rate": 0.5, "input.height": 40, "input.width": 56}
    )
    report = run_shrink(Job(own, tmp_path / "out"))
    assert report.surgery.count("kept") == 0
    assert report.cost_after.deployed_parameters < 0.5 * report.cost_before.deployed_parameters
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert [output.name for output in session.get_outputs()] == ["output_0", "output_1"]
    assert (tmp_path / "out" / "detect.py").read_bytes() == packing.program()
    with pytest.raises(detect.DetectError, match="detector"):
        detect.Detector(tmp_path / "out" / "model.onnx")


@pytest.mark.slow
def test_it_is_said_when_torch_pruning_could_not_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AnalysisError("torch-pruning cannot follow this network (for a test)")

    monkeypatch.setattr(flow, "coupled_slots", refuse)
    own = override(default_recipe("tiny:Tiny"), {"prune.rate": 0.5})
    report = run_shrink(Job(own, tmp_path / "out"))
    assert report.surgery.count("kept") == 0
    assert any("(for a test)" in note for note in report.notes)


UNCHECKED = removing, "demand_agreement"
"""The surgery's check of itself; without it the proof must find what is wrong."""


def test_a_surgery_that_is_not_exact_exports_nothing_and_keeps_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*UNCHECKED, lambda *_: None)
    with pytest.raises(ParityError, match=r"nothing is exported.*out\.failed"):
        run_shrink(Job(default_recipe("tiny:unlucky"), tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.failed"]
    kept = {path.name for path in (tmp_path / "out.failed").iterdir()}
    assert kept == {"soft.safetensors", "shrunk.safetensors", "surgery.json", "error.txt"}


def test_a_network_that_decides_by_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="decides by values"):
        run_shrink(Job(default_recipe("tiny:Moody"), tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_file_that_is_not_the_network_is_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break the exported file: its proof must see it."""
    real = exporting.export_onnx

    def broken(network, example, *, path, **options):
        artifact = real(network, example, path=path, **options)
        model = onnx.load(path)
        tensor = next(t for t in model.graph.initializer if t.name.endswith("weight"))
        weights = onnx.numpy_helper.to_array(tensor).copy()
        weights.flat[0] += 0.5
        tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
        onnx.save(model, path)
        return artifact

    monkeypatch.setattr(exporting, "export_onnx", broken)
    with pytest.raises(ParityError, match="ONNX file"):
        run_shrink(Job(default_recipe("tiny:Tiny"), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_rewrite_that_changes_what_the_network_gives_is_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By less than the file's own proof allows: the rewrite's link must see it."""

    def spoil(graph: Graph) -> int:
        node = next(node for node in graph.nodes if node.op_type in ("Conv", "Gemm"))
        weights = graph.input_constant(node, 1)
        assert weights is not None
        graph.set_constant(node.input[1], weights * np.float32(1 + 1e-5))
        return 1

    monkeypatch.setitem(rewriting.ON_GRAPHS, "factors", spoil)
    strict = override(default_recipe("tiny:Tiny"), {"proof.rewrite_limit": 1e-6})
    with pytest.raises(ParityError, match=r"simplified.onnx -> chain/factors.onnx.*--rewrites"):
        run_shrink(Job(strict, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_without_rewrites_the_file_is_as_simplified(
    job: Job, finished: Path, tmp_path: Path
) -> None:
    plain = override(job.recipe, {"export.rewrites": []})
    report = run_shrink(replace(job, recipe=plain, out=tmp_path / "out"))
    assert report.rewrites == ()
    assert {path.name for path in (tmp_path / "out/chain").iterdir()} == {
        "soft.safetensors",
        "exported.onnx",
    }
    before = (finished / "chain/simplified.onnx").read_bytes()
    assert (tmp_path / "out/model.onnx").read_bytes() == before


def test_the_report_tells_what_was_rewritten_and_why_not(finished: Path) -> None:
    told = json.loads((finished / "report.json").read_text())["rewrites"]
    assert [each["name"] for each in told] == [*REWRITES]
    lacking = {each["name"]: each["lacking"] for each in told if not each["changed"]}
    assert lacking == {"leaky": "there is no PReLU whose slopes are all the same"}
    text = (finished / "report.md").read_text()
    assert "heads (6)" in text
    assert "leaky: there is no PReLU" in text
    assert "heads (6)" in (finished / "report.html").read_text()


def test_a_failed_run_leaves_an_earlier_result_alone(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*UNCHECKED, lambda *_: None)
    target = tmp_path / "out"
    target.mkdir()
    (target / "manifest.json").write_text('{"tool": "toolchain 0"}')
    (target / "model.onnx").write_text("earlier")
    with pytest.raises(ParityError):
        run_shrink(Job(default_recipe("tiny:unlucky"), target))
    assert (target / "model.onnx").read_text() == "earlier"


def test_a_folder_with_foreign_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not the toolchain's"):
        run_shrink(Job(recipe(), tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.long
def test_boxes_on_real_photos_are_the_same(
    shared: Path, photos: list[Path], tmp_path: Path
) -> None:
    """Soft network against the shrunk file: the same faces, to a hundredth of a pixel."""
    weights = shared / "weights/paper/eresfd/ERES10_FPGM.pth"
    wanted = recipe("eresfd", 240, 320)
    chosen = tuple(photos[::40])
    report = run_shrink(Job(wanted, tmp_path / "out", weights, photos=chosen, formats=("onnx",)))
    assert sum(len(photo.before.boxes) for photo in report.photos) > 20
    for photo in report.photos:
        assert photo.max_box_diff_px is not None, photo.name
        assert photo.max_box_diff_px < 0.01, photo.name
