"""The paper's tables, made from a folder of checkpoints."""

from __future__ import annotations

import csv
from pathlib import Path

import onnx
import pytest
import torch
from widerface import make_wider

from toolchain import cli
from toolchain.models.registry import build
from toolchain.recipe import Recipe, default_recipe, override
from toolchain.workflows import tables
from toolchain.workflows.tables import count_weights, find_checkpoints, variant_of


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("ERES10_FPGM.pth", ("pruned", "fpgm", 10.0)),
        ("EXTD50_L1.pth", ("pruned", "l1", 50.0)),
        ("ERES.pth", ("reproduced", None, None)),
        ("EXTD_64.pth", ("original", None, None)),
        ("eresfd_16.pth", ("original", None, None)),
        ("mine.pth", ("own", None, None)),
        ("ERES10_FPGM.safetensors", ("own", None, None)),
    ],
)
def test_a_published_name_tells_the_row(name: str, variant: tuple[object, ...]) -> None:
    assert variant_of(name) == variant


def test_checkpoints_are_found_at_any_depth_and_five_files_are_one(tmp_path: Path) -> None:
    network = build("eresfd")
    (tmp_path / "deep").mkdir()
    torch.save(network.state_dict(), tmp_path / "deep" / "ERES.pth")
    for part in ("base", "loc", "conf", "act_loc", "act_conf"):
        state = getattr(network, part).state_dict() if hasattr(network, part) else {}
        torch.save(state, tmp_path / f"eresfd_16.pth.{part}.pth")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(b"text")
    found = [path.relative_to(tmp_path).as_posix() for path in find_checkpoints(tmp_path)]
    assert found == ["deep/ERES.pth", "eresfd_16.pth"]


def test_weights_of_a_file_are_counted(tmp_path: Path) -> None:
    tensors = [
        onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 3], [0.0] * 6),
        onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [4], [1] * 4),
    ]
    graph = onnx.helper.make_graph([], "g", [], [], tensors)
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    assert count_weights(tmp_path / "m.onnx") == 6


@pytest.mark.long
def test_the_tables_hold_soft_and_shrunk_and_resume(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    quick_latency: None,
) -> None:
    network = build("eresfd", 3)
    with torch.no_grad():
        network.base.conv4.res_layer[0].weight[:5] = 0
    weights = tmp_path / "weights"
    weights.mkdir()
    torch.save(network.state_dict(), weights / "ERES10_FPGM.pth")
    data = make_wider(tmp_path / "wider", 4)
    out = tmp_path / "tables"
    command = ["tables", "--data", str(data), "--weights", str(weights), "--out", str(out)]
    command += ["--protocol", "single"]
    monkeypatch.setattr(tables, "default_recipe", small)
    assert cli.run(command) == 0
    printed = capsys.readouterr().out
    assert "ERES10_FPGM" in printed
    (row,) = [
        row
        for row in csv.DictReader((out / "tables.csv").read_text().splitlines())
        if row["file"] == "ERES10_FPGM.pth"
    ]
    assert 92_208 - int(row["nonzero_parameters"]) == 5 * 16 * 9 + zeros(network)
    assert int(row["deployed_after"]) < int(row["deployed_before"]) == 91_342
    assert row["paper_nonzero_parameters"] == "87368"
    assert row["soft_easy"] == row["shrunk_easy"]
    assert row["equal_to_4_decimals"] == "True"
    assert "<svg" in (out / "tables.html").read_text()

    def refuse(*_: object) -> None:
        raise AssertionError("what is there must not be made again")

    monkeypatch.setattr(tables, "run_shrink", refuse)
    monkeypatch.setattr("toolchain.detection.running.open_finder", refuse)
    before = (out / "tables.csv").read_text()
    assert cli.run(command) == 0
    assert (out / "tables.csv").read_text() == before


def small(model: str) -> Recipe:
    return override(default_recipe(model), {"input.height": 96, "input.width": 128})


def zeros(network: torch.nn.Module) -> int:
    """Scalars that are zero from the start: the shifts of batch norm, and the heads' biases."""
    return sum(
        int((parameter == 0).sum())
        for name, parameter in network.named_parameters()
        if name.endswith("bias")
    )
