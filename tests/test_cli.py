"""The command line as a stranger uses it: one line per error, the right code, clean output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from toolchain import cli
from toolchain.checking.proofs import Pair
from toolchain.recipe import Recipe
from toolchain.surgery import removing
from toolchain.workflows.stages import shrinking

SMALL = ["--size", "96x128"]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, quick_latency: None) -> None:
    monkeypatch.chdir(Path(__file__).parent)


@pytest.mark.slow
def test_json_is_all_that_is_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = cli.run(["shrink", "tiny:Tiny", "--rate", "0.25", "--json", "--out", str(out), *SMALL])
    assert code == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((out / "report.json").read_text())
    assert "export" in printed.err
    assert "\x1b" not in printed.out + printed.err


@pytest.mark.long
def test_every_size_gets_a_folder(
    tmp_path: Path, quick_latency: None, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--size", "96x128", "--size", "96X64"]
    options = ["--untrained", "--formats", "onnx", "--out", str(tmp_path / "a")]
    assert cli.run(["shrink", "eresfd", *sizes, *options]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-96x128", "a-96x64"]
    assert cli.run(["shrink", "eresfd", *sizes, *options, "--json"]) == 2
    assert "give one --size" in capsys.readouterr().err


@pytest.mark.slow
def test_the_result_is_told_with_figures_and_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["shrink", "eresfd", "--rate", "0.25", "--align", "1", "--untrained"]
    arguments += ["--formats", "onnx"]
    assert cli.run([*arguments, *SMALL, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for expected in ("UNTRAINED", "91,342", "51,782", "detect.py", "report.html", str(out)):
        assert expected in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["shrink"], "Missing argument"),
        (["shrink", "yolo"], "no recipe for model 'yolo'; there are: eresfd, extd"),
        (["shrink", "eresfd", "--rate", "1.5"], "prune.rate must be >= 0 and < 1 (got 1.5)"),
        (["shrink", "eresfd", "--rate", "nan"], "prune.rate must be"),
        (["shrink", "eresfd", "--rate", "many"], "--rate"),
        (["shrink", "eresfd", "--criterion", "taste"], "fpgm"),
        (["shrink", "eresfd", "--size", "big"], "--size must be HEIGHTxWIDTH"),
        (["shrink", "eresfd", "--size", "4x4"], "input.height must be >= 16"),
        (["shrink", "eresfd", "--ckpt", "nowhere.pth"], "nowhere.pth"),
        (["shrink", "eresfd", "--recipe", "nowhere.toml"], "nowhere.toml"),
        (["shrink", "eresfd", "--photo", "nowhere.jpg"], "nowhere.jpg"),
        (["shrink", "eresfd", "--fast"], "--fast"),
        (["shrink", "eresfd", "--untrained", "--ckpt", "a.pth"], "those of a.pth; give one"),
        (["shrink", "tiny:number"], "must return a torch.nn.Module (got int)"),
        (["shrink", "tiny:raises"], "ValueError: no luck"),
        (["shrink", "tiny:absent"], "no callable 'absent'"),
        (["shrink", "absent:factory"], "cannot import 'absent'"),
        (["inspect", "nowhere.pth"], "nowhere.pth"),
        (["inspect", "tiny.py"], "text file"),
        (["bake"], "bake"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")] if arguments[0] == "shrink" else []
    assert cli.run([*arguments, *out]) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith("[")]
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("toolchain: ")
    assert words in lines[0]
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_failed_proof_is_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removing, "demand_agreement", lambda *_: None)
    assert cli.run(["shrink", "tiny:unlucky", *SMALL, "--out", str(tmp_path / "out")]) == 1
    assert "nothing is exported" in capsys.readouterr().err


@pytest.mark.slow
def test_inspect_tells_what_is_zero_and_what_could_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from toolchain.models.registry import build

    network = build("eresfd")
    hidden = network.base.conv4.res_layer[0]
    with torch.no_grad():
        hidden.weight[:3] = 0
    torch.save(network.state_dict(), tmp_path / "soft.pth")
    assert cli.run(["inspect", str(tmp_path / "soft.pth"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layout"] == "eresfd/flat"
    assert found["parameters"] == 92_208
    assert found["deployed_parameters_before"] == 91_342
    assert found["deployed_parameters_after"] == 91_342 - 3 * (16 * 9 + 1 + 16 * 9)
    zeroed = {item["layer"]: item["zeroed_filters"] for item in found["layers"]}
    assert zeroed["base.conv4.res_layer.0"] == 3
    assert cli.run(["inspect", str(tmp_path / "soft.pth")]) == 0
    assert "base.conv4.res_layer.0" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["shrink", "--help"], ["inspect", "-h"]])
def test_help_is_there(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 0
    assert "Usage" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("toolchain ")


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from toolchain import cli; cli.run(['--help']); print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip().endswith("False")


@pytest.mark.slow
def test_a_photo_is_an_input_of_the_proof_for_a_network_without_boxes_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    prove = shrinking.prove_surgery

    def watched(pair: Pair, recipe: Recipe) -> object:
        seen.extend(each.name for each in pair.pictures)
        return prove(pair, recipe)

    monkeypatch.setattr(shrinking, "prove_surgery", watched)
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    out = tmp_path / "out"
    words = ["shrink", "tiny:Tiny", "--photo", str(tmp_path / "a.png"), "--formats", "onnx"]
    assert cli.run([*words, "--rate", "0.25", "--out", str(out), *SMALL]) == 0
    assert "photo a.png" in seen
    printed = capsys.readouterr()
    assert "does not apply" not in printed.out
    assert cli.run(["bundle", str(out), "--target", "local", "--out", str(tmp_path / "b")]) == 0
    (archive,) = (tmp_path / "b").glob("*.tar.gz")
    assert "out-local" in archive.name
