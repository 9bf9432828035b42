"""The benchmark of files: what is measured, and what the pages say. No test looks at the times."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain.bench import interleaving
from toolchain.bench.interleaving import interleaved
from toolchain.cli import run as run_cli
from toolchain.records.timings import Bench, FileTiming, OperatorCost
from toolchain.report.costs.bench import bench_document
from toolchain.report.document.html import html
from toolchain.report.document.markdown import markdown


def test_every_round_runs_all_in_another_order() -> None:
    ran: list[str] = []
    runs = {name: (lambda name=name: ran.append(name)) for name in "abc"}  # type: ignore[misc]
    times = interleaved(runs, 0.0)
    assert {len(own) for own in times.values()} == {interleaving.FEWEST_ROUNDS}
    rounds = ["".join(ran[start : start + 3]) for start in range(9, len(ran), 3)]
    assert all(sorted(each) == list("abc") for each in rounds)
    assert len(set(rounds)) > 1


def test_a_folder_is_measured(
    made: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    out = tmp_path / "bench"
    options = ["--seconds", "0.2", "--photo", str(photo), "--out", str(out), "--json"]
    assert run_cli(["bench", str(made), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "bench.json").read_text())
    assert [file["name"] for file in found["files"]] == ["model.onnx", "model_int8.onnx"]
    assert (found["size"], found["input"], found["threads"]) == ([96, 128], "photo a.png", 1)
    reference, int8 = found["files"]
    assert (reference["ratio"], reference["ratio_low"], reference["ratio_high"]) == (1, 1, 1)
    assert int8["ratio"] > 0
    assert 10e6 < reference["peak_bytes"] < 400e6  # no PyTorch in that process
    assert 0 < int8["mean_share"] < 0.05
    assert {"Conv", "FusedConv"} & {cost["type"] for cost in reference["operators"]}
    assert all(cost["ms"] >= 0 for cost in reference["operators"])
    for name in ("bench.md", "bench.html"):
        assert "model_int8.onnx" in (out / name).read_text()


@pytest.mark.parametrize("what", ["folder", "certificate", "photo"])
def test_what_cannot_be_measured_is_told(
    what: str,
    made: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    options, message = [str(folder)], "has no model.onnx with its certificate.json"
    if what == "folder":
        (folder / "model.onnx").unlink()
    elif what == "certificate":
        (folder / "certificate.json").write_text("{}")
        message = "has schema None"
    else:
        options += ["--photo", str(folder / "model.onnx")]
        message = "no picture that OpenCV reads"
    assert run_cli(["bench", *options, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def timing(name: str, **fields: float) -> FileTiming:
    return FileTiming(
        name, "onnxruntime 1", 3000, 50_000_000, fields.get("ms", 2.0), 1.9, 2.2,
        fields.get("ratio", 1.0), 0.9, 1.1, 0.01,
        (OperatorCost("Conv", 3, 1.5), OperatorCost("<b>", 1, None)),
    )  # fmt: skip


def test_pages_tell_the_conditions_and_escape_names() -> None:
    bench = Bench(
        "<out>", "model.onnx", "noise", (96, 128), 1, 7, 0.5, "Linux x86_64", "A72", 0.1,
        (timing("model.onnx"), timing("model_<i>.onnx", ratio=0.5)), ("it was <busy>",),
    )  # fmt: skip
    for page in (markdown(bench_document(bench)), html(bench_document(bench))):
        for words in ("7 rounds in 0.5 s", "A72", "not of a board", "load 0.1"):
            assert words in page
    page = html(bench_document(bench))
    assert "<out>" not in page
    assert "<busy>" not in page
    assert "not told" in page
