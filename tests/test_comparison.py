"""Files of many networks side by side: what is told of them, and on the real emulated board."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import onnx
import pytest
from conftest import ARM_CACHE
from onnx import TensorProto, helper

from toolchain.arm.sysroot import Sysroot
from toolchain.cli import run as run_cli
from toolchain.records.timings import ComparedCandidate, Comparison
from toolchain.report.costs.comparison import comparison_document, notes
from toolchain.report.document.html import html
from toolchain.report.document.markdown import markdown

FIRST = ComparedCandidate(
    "wide/model.onnx", "onnxruntime 1", (96, 128), 4000, 1_000_000, 400_000, 1.0, 2.5, 1.0, 1.0,
    1.0, True, 0.0,
)  # fmt: skip
SECOND = ComparedCandidate(
    "narrow <1>/model.tflite", "ai-edge-litert 2", (96, 128), 2000, 600_000, 300_000, 0.6, 1.25,
    0.51, 0.5, 0.55, True, 2.5e-6,
)  # fmt: skip
COMPARISON = Comparison(
    "rpi4", "Raspberry Pi 4B", "cortex-a72", 1, 40, 5.0, "Linux x86_64, 2 processors", "Some CPU",
    0.2, (FIRST, SECOND), (),
)  # fmt: skip


def save_relu(path: Path, side: int, repeats: int) -> Path:
    """A file of so many convolutions of 1 by 1 pixel, on an image of ``side``."""
    nodes, weights, name = [], [], "image"
    for number in range(repeats):
        weights.append(helper.make_tensor(f"w{number}", TensorProto.FLOAT, [3, 3, 1, 1], [0.5] * 9))
        nodes.append(helper.make_node("Conv", [name, f"w{number}"], [f"y{number}"]))
        name = f"y{number}"
    shape = [1, 3, side, side]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)], weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, path)
    return path


def test_figures_are_told_as_they_are() -> None:
    told = markdown(comparison_document(COMPARISON))
    assert "| `wide/model.onnx` | " in told
    assert " | 4,000 | 1,000,000 | 1.000 | 40.0% | 0.0e+00 |" in told
    assert "| 600,000 | 0.600 | 50.0% | 2.5e-06 | 1.25 | 0.510 | 0.50 to 0.55 |" in told
    assert "cortex-a72 under QEMU, one thread, counted exactly; onnxruntime 1, ai-edge-" in told
    page = html(comparison_document(COMPARISON))
    assert "narrow &lt;1&gt;/model.tflite: 0.600 of the instructions, 0.510 of the time" in page
    assert 'width="30.0000%"' in page  # multiply-adds: half of 0.6
    assert 'width="51.0000%"' in page


def test_what_makes_figures_doubtful_is_said() -> None:
    assert notes(COMPARISON) == []
    other = dataclasses.replace(SECOND, size=(48, 64), parity=False)
    found = notes(dataclasses.replace(COMPARISON, candidates=(FIRST, other), notes=("busy",)))
    assert found[0] == "busy"
    assert "inputs of different sizes" in found[1]
    assert found[2].endswith("as here: narrow <1>/model.tflite.")


def test_what_is_no_number_is_not_told_as_one() -> None:
    other = dataclasses.replace(SECOND, apart=None, parity=False)
    told = markdown(comparison_document(dataclasses.replace(COMPARISON, candidates=(FIRST, other))))
    assert "| 50.0% | no number | 1.25 |" in told


@pytest.mark.long
def test_files_are_run_on_the_board_and_here(
    ready: Sysroot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready.emulator.exists()
    long = save_relu(tmp_path / "long.onnx", 32, 8)
    short = save_relu(tmp_path / "short.onnx", 32, 2)
    common = ["--seconds", "0", "--cache", str(ARM_CACHE), "--out", str(tmp_path / "out"), "--json"]
    assert run_cli(["compare", str(long), str(short), *common]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["label"] for each in found["candidates"]] == ["long.onnx", "short.onnx"]
    first, second = found["candidates"]
    assert (first["share"], first["ratio"]) == (1, 1)
    assert second["share"] == second["instructions"] / first["instructions"] < 0.5
    assert second["parity"]
    assert found["rounds"] == 5
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".html"}
    assert run_cli(["compare", str(long), str(long), *common]) == 2
    assert "long.onnx: is there twice" in capsys.readouterr().err
