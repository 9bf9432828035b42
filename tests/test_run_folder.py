"""An output folder as an object: what it tells, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from toolchain.errors import InputError
from toolchain.records.run_folder import REPORT, RunFolder


def test_a_folder_tells_what_its_files_say(made: Path) -> None:
    run, content = RunFolder.open(made), json.loads((made / REPORT).read_bytes())
    assert run.report.deployed_parameters_after == content["deployed_parameters"]["after"]
    assert run.report.size == (96, 128)
    assert run.report.size_bytes["model.onnx"] == run.onnx.stat().st_size
    assert run.report.widths == {
        each["layer"]: each["out_channels_after"] for each in content["layers"]
    }
    assert [path.name for path in run.files] == ["model.onnx", "model_int8.onnx"]
    assert run.certificate.recipe.model.name == run.report.model
    run.demand_unchanged()


def test_what_was_read_is_not_read_again(made: Path, tmp_path: Path) -> None:
    run = RunFolder.open(Path(shutil.copytree(made, tmp_path / "out")))
    before = run.report
    (run.path / REPORT).unlink()
    assert run.report is before


def test_what_is_no_output_folder_is_refused_in_one_line(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder; give an output folder"):
        RunFolder.open(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"certificate\.json.*give an output folder"):
        RunFolder.open(tmp_path)
    copied = Path(shutil.copytree(made, tmp_path / "out"))
    (copied / REPORT).write_text("[]")
    with pytest.raises(InputError, match="is no report of toolchain shrink"):
        _ = RunFolder.open(copied).report
    (copied / "model.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"model\.onnx: was changed after it was made"):
        RunFolder.open(copied).demand_unchanged()
