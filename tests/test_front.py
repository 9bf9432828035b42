"""Average precision against cost: who beats whom, what is drawn, and the command on drawn faces."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from onnx import TensorProto, helper
from widerface import make_wider

from toolchain import cli
from toolchain.arm.layer_costs import costs_of_core
from toolchain.records.front import Front, FrontPoint
from toolchain.records.recommendation import CandidateAccuracy
from toolchain.report.charts.picture import as_file
from toolchain.report.document.markdown import markdown
from toolchain.report.front import front_document, picture, rows
from toolchain.workflows.front import judged, peer_instructions


def point(name: str, instructions: int | None, *levels: float, side: int = 320) -> FrontPoint:
    easy, medium, hard = levels
    accuracy = CandidateAccuracy(easy, medium, hard, "single", 403, f"{side}x{side}")
    return FrontPoint(name, "shipped", "eresfd", (side, side), "0" * 64, accuracy, instructions)


WHOLE = point("eresfd-0", 26_000_000, 0.8, 0.7, 0.5)
SMALL = point("eresfd-50", 15_000_000, 0.6, 0.5, 0.3)
DEAR = point("eresfd-40", 27_000_000, 0.75, 0.7, 0.5)
LARGE = point("eresfd-50", 25_000_000, 0.85, 0.6, 0.55, side=480)
UNKNOWN = point("other", None, 0.9, 0.9, 0.9)


def test_a_point_is_beaten_by_what_costs_no_more_and_finds_no_less_at_any_level() -> None:
    found = judged([WHOLE, SMALL, DEAR, LARGE, UNKNOWN])
    assert [each.beaten_by for each in found] == [None, None, "eresfd-0 320x320", None, None]
    better = judged([WHOLE, replace(LARGE, accuracy=WHOLE.accuracy)])
    assert better[0].beaten_by == "eresfd-50 480x480"  # at any size of input


def test_two_that_are_alike_do_not_beat_each_other() -> None:
    assert [each.beaten_by for each in judged([WHOLE, replace(WHOLE, name="twin")])] == [None, None]


def front() -> Front:
    points = judged([SMALL, LARGE, WHOLE, DEAR, UNKNOWN])
    return Front("Raspberry Pi 4", "cortex-a72", "ncnn 1", 403, "0" * 64, points)


def test_the_table_has_every_point_and_says_what_is_not_known() -> None:
    assert rows(front())[0] == (
        "eresfd-50", "320x320", ".6000", ".5000", ".3000", ".4667", "15.0", ""
    )  # fmt: skip
    assert rows(front())[3][-1] == "eresfd-0 320x320"
    assert rows(front())[4][-2] == "not known"
    text = markdown(front_document(front()))
    assert "counted on the emulated core" in text
    assert all(each.name in text for each in front().points)


def test_the_picture_draws_the_front_as_a_line_and_what_is_beaten_hollow() -> None:
    drawing = ElementTree.fromstring(as_file(picture(front())))
    space = "{http://www.w3.org/2000/svg}"
    assert drawing.tag == f"{space}svg"
    marks = [each.attrib["class"] for each in drawing.iter(f"{space}path")]
    drawn, legend = marks[:4], marks[4:]
    assert sorted(drawn) == ["mark eresfd measured"] * 3 + ["mark eresfd published"]
    assert legend == ["mark eresfd measured", "mark eresfd published"]
    words = [each.text for each in drawing.iter(f"{space}text")]
    assert words[-2:] == ["EResFD, beaten by none", "EResFD, beaten in all"]
    (line,) = drawing.iter(f"{space}polyline")
    across = [float(pair.split(",")[0]) for pair in line.attrib["points"].split()]
    assert (
        len(across) == 2
    )  # at 480 pixels the small one costs less than the whole, and finds as much
    assert across == sorted(across)


def test_the_cost_of_an_onnx_file_is_that_of_its_layers(tmp_path: Path) -> None:
    table = costs_of_core("cortex-a72")
    assert table is not None
    weight = helper.make_tensor("w", TensorProto.FLOAT, [16, 3, 3, 3], [0.5] * 432)
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    free = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, free)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 16, "h", "w"])],
        [weight],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "one.onnx"
    )
    small = peer_instructions(tmp_path / "one.onnx", (64, 64), table)
    large = peer_instructions(tmp_path / "one.onnx", (128, 128), table)
    assert small is not None
    assert large is not None
    # 432 weights at 4,096 places, four multiply-adds to an instruction, and what goes with them
    assert 432 * 4096 / 4 < small < 432 * 4096 * 2
    assert 1.3 < large / small < 4.5
    (tmp_path / "none.onnx").write_bytes(b"no graph")
    assert peer_instructions(tmp_path / "none.onnx", (64, 64), table) is None


@pytest.mark.slow
def test_the_command_looks_once_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = make_wider(tmp_path / "wider", 3), tmp_path / "out"
    words = ["pareto", "--data", str(data), "--model", "eresfd", "--size", "320x320"]
    words += ["--workers", "1", "--out", str(out), "--json"]
    from toolchain.workflows import front as workflow

    some = [
        each for each in workflow.members("eresfd") if each.path.stem in ("eresfd-0", "eresfd-50")
    ]
    monkeypatch.setattr(workflow, "members", lambda _: some)
    assert cli.run(words) == 0, capsys.readouterr().err
    content = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in content["points"]} == {"eresfd-0", "eresfd-50"}
    costs = [each["instructions"] for each in content["points"]]
    assert costs == sorted(costs)
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        f"pareto.{suffix}" for suffix in ("json", "md", "html", "svg")
    }
    assert cli.run(words) == 0
    assert json.loads(capsys.readouterr().out) == content


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_wider(tmp_path / "wider", 1)
    for words, told in (
        (["--model", "eresf"], "--model eresf: "),
        (["--size", "320"], "--size must be HEIGHTxWIDTH"),
        (["--target", "rpi-zero"], "rpi-zero"),
    ):
        assert cli.run(["pareto", "--data", str(data), *words]) != 0
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line
