"""Files that take pixels, decode boxes and suppress by themselves: the same faces as without."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from lineages import quick
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import toolchain.workflows.stages.measuring as measuring
from toolchain.checking.parity import random_inputs
from toolchain.checking.pictures import as_floats, as_pixels, board_view, file_view
from toolchain.cli import run as run_cli
from toolchain.deploy import detect
from toolchain.detection.finders import file_network, opened
from toolchain.errors import ExportError, InputError, ModelError, ParityError
from toolchain.exporting import extra
from toolchain.exporting.metadata import KEY, Provenance, metadata_of
from toolchain.lineage.format_choice import choose_formats
from toolchain.lineage.links import measure_link
from toolchain.lineage.onnx_boxes import largest_below
from toolchain.lineage.onnx_io import onnx_with_io
from toolchain.lineage.tflite_io import tflite_with_io
from toolchain.lineage.verifying import verify
from toolchain.recipe import Recipe, override, parse_recipe
from toolchain.records.certificate import NAME, Link, read_certificate
from toolchain.records.stages import Source
from toolchain.workflows.pipeline import Job, run_shrink

SIZE = (48, 64)
RECIPE = """
[model]
name = "tiny:Faces"
[input]
height = 48
width = 64
color_order = "RGB"
mean = [123.0, 117.0, 104.0]
[anchors]
sizes = [12, 24]
strides = [4, 8]
aspect_ratio = 1.25
[decode]
score_threshold = 0.5
"""
PLACE = detect.Placement(1.0, 1.0, 0, 0, SIZE[1], SIZE[0])
WITH_CONVERTER = pytest.mark.skipif(extra.lacking() is not None, reason="needs the extra tflite")


def recipe(**fields: object) -> Recipe:
    paths = {name.replace("__", "."): value for name, value in fields.items()}
    return override(parse_recipe(RECIPE, "a recipe"), paths)


def body(conv: dict[str, Any], *, readers: int = 1, bias: bool = True, seed: int = 0) -> bytes:
    """A bare file: a convolution of stride 4 and one of stride 8 on it; bias makes some faces."""
    random = np.random.default_rng(seed)
    graph: dict[str, NDArray[Any]] = {
        "w0": random.normal(0, 0.02, (6, 3, 5, 5)).astype(np.float32),
        "w1": random.normal(0, 0.3, (6, 6, 3, 3)).astype(np.float32),
        "b0": np.array([0.1, 0.2, 0.3, -0.4, 1, 0], np.float32),
        "rows": np.array([1, 6, -1]),
        "parts": np.array([4, 2]),
    }
    inputs = ["w0", "b0"] if bias else ["w0"]
    nodes = [
        helper.make_node("Conv", ["image", *inputs], ["fine"], strides=[4, 4], **conv),
        helper.make_node("Conv", ["fine", "w1"], ["coarse"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["fine", "rows"], ["r0"]),
        helper.make_node("Reshape", ["coarse", "rows"], ["r1"]),
        helper.make_node("Concat", ["r0", "r1"], ["both"], axis=2),
        helper.make_node("Transpose", ["both"], ["all"], perm=[0, 2, 1]),
        helper.make_node("Split", ["all", "parts"], ["loc", "logits"], axis=2),
    ]
    if readers == 2:
        nodes.append(helper.make_node("Relu", ["image"], ["nothing"]))
    count = 12 * 16 + 6 * 8
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "body",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE])],
            [
                helper.make_tensor_value_info("loc", TensorProto.FLOAT, [1, count, 4]),
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, count, 2]),
            ],
            [numpy_helper.from_array(value, name) for name, value in graph.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    for key, text in metadata().items():
        entry = made.metadata_props.add()
        entry.key, entry.value = key, text
    return bytes(made.SerializeToString())


def metadata() -> dict[str, str]:
    source = Source(None, None, None, True, 0)
    return metadata_of(recipe(), Provenance(source, None, None, None), dynamic=False)


PADS = {"pads": [2, 2, 2, 2]}
PLAIN = body(PADS)


def link(tmp_path: Path, bare: bytes, with_io: bytes, which: Recipe) -> Link:
    (tmp_path / "bare.onnx").write_bytes(bare)
    (tmp_path / "model.onnx").write_bytes(with_io)
    inputs = random_inputs([(1, 3, *SIZE)] * 2, seed=3)
    return measure_link(tmp_path, "bare.onnx", "model.onnx", "io_spec", which, inputs)


IO_SPECS = [
    {"input__dtype": "uint8"},
    {"decode__postprocess": "decode"},
    {"decode__postprocess": "nms"},
    {"input__dtype": "uint8", "decode__postprocess": "nms"},
]


@pytest.mark.parametrize("fields", IO_SPECS)
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_an_io_spec_changes_no_face(tmp_path: Path, fields: dict[str, str], order: str) -> None:
    which = recipe(**fields, input__color_order=order)
    found = link(tmp_path, PLAIN, onnx_with_io(PLAIN, which), which)
    assert found.passed
    assert found.worst is not None
    assert found.worst < 1e-5
    ranges = [
        case.largest.output_range or 0.0
        for case in found.parity.cases
        if "bright" not in case.input and "dark" not in case.input
    ]
    assert min(ranges) > 0.01  # something was compared


def operators(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pads", [[2, 2, 2, 2], [2, 0, 0, 4], [0, 3, 4, 0], [2, 2, 1, 1]])
def test_the_border_of_a_folded_mean_is_exact(tmp_path: Path, pads: list[int], bias: bool) -> None:
    which = recipe(input__dtype="uint8")
    bare = body({"pads": pads}, bias=bias)
    with_io = onnx_with_io(bare, which)
    assert "Sub" not in operators(with_io)
    assert "Transpose" not in operators(with_io)[:5]
    found = link(tmp_path, bare, with_io, which)
    assert found.worst is not None
    assert found.worst < 1e-5


@pytest.mark.parametrize(
    ("conv", "readers"), [({"pads": [4, 4, 4, 4], "dilations": [2, 2]}, 1), (PADS, 2)]
)
def test_where_the_mean_cannot_be_folded_an_operator_subtracts_it(
    tmp_path: Path, conv: dict[str, Any], readers: int
) -> None:
    which = recipe(input__dtype="uint8")
    bare = body(conv, readers=readers)
    with_io = onnx_with_io(bare, which)
    assert operators(with_io)[:3] == ["Transpose", "Gather", "DequantizeLinear"]
    assert link(tmp_path, bare, with_io, which).worst == 0


def test_a_wrong_number_in_the_file_breaks_its_link(tmp_path: Path) -> None:
    which = recipe(decode__postprocess="nms", input__dtype="uint8")
    with_io = onnx_with_io(PLAIN, which)
    for name in ("threshold", "overlap", "scale", "log_scale", "bias", "left"):
        model = onnx.load_from_string(with_io)
        (tensor,) = (t for t in model.graph.initializer if t.name == f"io/{name}")
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(values + values.dtype.type(1) / 2, tensor.name))
        if name == "left":
            tensor.CopyFrom(numpy_helper.from_array(values // 2, tensor.name))
        with contextlib.suppress(ParityError):  # another number of faces
            assert not link(tmp_path, PLAIN, model.SerializeToString(), which).passed, name


@pytest.mark.parametrize("threshold", [0.0, 1e-9, 0.02, 0.4, 0.5, 0.731, 0.999999, 1.0])
def test_the_threshold_in_a_file_is_that_of_the_board(threshold: float) -> None:
    below, exact = np.float32(largest_below(threshold)), detect.logit(threshold)
    nearby = [below, np.nextafter(below, np.float32(np.inf)), np.float32(exact), np.float32(0)]
    for evidence in nearby:
        assert (evidence > below) == (float(evidence) >= exact) or math.isinf(evidence)


def faces_of(with_io: bytes, loc: Any, logits: Any, which: Recipe) -> Any:
    """What the end of a file gives for raw outputs."""
    import onnxruntime

    view = file_view(which)
    end = onnx.utils.Extractor(onnx.load_from_string(with_io)).extract_model(
        ["loc", "logits"], list(view.outputs)
    )
    session = onnxruntime.InferenceSession(end.SerializeToString())
    outputs = session.run(list(view.outputs), {"loc": loc[None], "logits": logits[None]})
    return detect.decode(outputs[0][0], outputs[1][0], view, *SIZE, PLACE)


@pytest.mark.parametrize("kind", ["decode", "nms"])
@pytest.mark.parametrize("most", [750, 3])
def test_ties_and_what_is_not_finite_are_as_on_the_board(kind: str, most: int) -> None:
    which = recipe(decode__postprocess=kind, decode__max_detections=most)
    with_io = onnx_with_io(PLAIN, which)
    view = board_view(which)
    for seed in range(10):
        random = np.random.default_rng(seed)
        loc = random.normal(0, 1, (240, 4)).astype(np.float32)
        logits = np.zeros((240, 2), np.float32)
        logits[:, 1] = random.integers(-8, 3, 240)  # many are equal, some at the threshold
        logits[random.integers(0, 240, 6)] = [0, np.nan]
        loc[random.integers(0, 240, 6), random.integers(0, 4, 6)] = np.nan
        if kind == "nms":
            logits[random.integers(0, 240, 3)] = [0, np.inf]
        logits[[50, 100, 200]] = [[40, 60], [40, 61], [40, 62]]
        loc[[50, 100, 200]] = 0
        boxes, scores = detect.decode(loc, logits, view, *SIZE, PLACE)
        found, their = faces_of(with_io, loc, logits, which)
        assert len(boxes) >= 3
        np.testing.assert_allclose(found, boxes, atol=1e-4)
        np.testing.assert_allclose(their, scores, atol=1e-6)


@pytest.mark.parametrize("shape", [(480, 640), (48, 64), (50, 40), (300, 200), (20, 90)])
def test_pixels_are_fitted_as_floats_are(shape: tuple[int, int]) -> None:
    which = recipe(input__dtype="uint8")
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    floats, place = detect.letterbox(photo, board_view(which), *SIZE)
    pixels, same = detect.letterbox(photo, file_view(which), *SIZE)
    assert place == same
    assert pixels.dtype == np.uint8
    assert np.array_equal(as_pixels(np.asarray(floats), which), pixels.transpose(0, 3, 1, 2))
    planes = np.asarray(pixels.transpose(0, 3, 1, 2), np.uint8)
    assert np.array_equal(as_floats(planes, which), floats)


def test_a_picture_of_the_right_size_is_not_copied() -> None:
    photo = np.zeros((*SIZE, 3), np.uint8)
    pixels, _ = detect.letterbox(photo, file_view(recipe(input__dtype="uint8")), *SIZE)
    assert np.shares_memory(photo, pixels)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder whose files take pixels and give faces."""
    root = tmp_path_factory.mktemp("io_specs")
    photo = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    cv2.imwrite(str(root / "photo.png"), photo)
    which = recipe(input__dtype="uint8", decode__postprocess="nms", decode__score_threshold=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "compare_latency", quick)
        job = Job(which, root / "out", photos=(root / "photo.png",), formats=("onnx", "int8"))
        run_shrink(job)
    return root / "out"


@pytest.mark.slow
def test_io_specs_are_links_of_the_lineage_and_are_verified(out: Path) -> None:
    certificate = read_certificate(out / NAME)
    assert certificate.is_complete
    assert [each.name for each in certificate.links][2:] == [
        "chain/exported.onnx -> chain/simplified.onnx",
        "chain/simplified.onnx -> chain/heads.onnx",
        "chain/heads.onnx -> chain/bare/model.onnx",
        "chain/bare/model.onnx -> model.onnx",
        "chain/simplified.onnx -> chain/bare/model_int8.onnx",
        "chain/bare/model_int8.onnx -> model_int8.onnx",
    ]
    spec = next(link for link in certificate.links if link.after == "model.onnx")
    names = [case.input for case in spec.parity.cases]
    assert names[0].startswith("random ")
    assert names[-1] == "a crowd of random raw outputs"
    assert {"all zero", "bright", "dark", "a ramp"} < set(names)
    assert any(name.startswith("photo ") for name in names)
    assert spec.kind == "exact"
    for page in ("report.html", "report.md"):
        assert "chain/bare/model_int8.onnx" in re.sub("<wbr/?>", "", (out / page).read_text())
    found = verify(out, 5, lambda _name: None)
    assert found.passed, [check.problem for check in found.links]


def test_files_with_an_io_spec_find_the_faces_of_the_bare_ones(out: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (70, 60, 3), np.uint8)
    for name in ("model.onnx", "model_int8.onnx"):
        ours, theirs = (detect.Detector(out / path) for path in (name, f"chain/bare/{name}"))
        assert ours.specification.dtype == "uint8"
        expected = theirs.detect(photo)
        assert len(expected[0])
        for mine, bare in zip(ours.detect(photo), expected, strict=True):
            np.testing.assert_allclose(mine, bare, atol=1e-3)
        asked = float(expected[1][0]) - 1e-4
        assert len(ours.detect(photo, asked)[0]) == len(theirs.detect(photo, asked)[0]) > 0


def test_all_around_an_int8_network_stays_in_float(out: Path) -> None:
    nodes = onnx.load(out / "model_int8.onnx").graph.node
    own = [node for node in nodes if node.name.startswith("io/")]
    assert {"Exp", "NonMaxSuppression"} <= {node.op_type for node in own}
    assert all(node.op_type != "QuantizeLinear" for node in own)


def test_a_threshold_below_the_files_own_is_refused(out: Path) -> None:
    detector = detect.Detector(out / "model.onnx")
    with pytest.raises(detect.DetectError, match=r"--threshold 0.1: .* below 0.3; ask for no less"):
        detector.detect(np.zeros((9, 9, 3), np.uint8), 0.1)
    assert detect.main([str(out / "model.onnx"), "x.png", "--threshold", "0.1"]) == 2


def test_a_live_page_asks_for_no_score_below_the_files_own(out: Path) -> None:
    from toolchain.deploy.detector.live.watching import Watcher

    detector: Any = detect.Detector(out / "model.onnx")
    nothing: Any = None
    assert Watcher(detector, nothing, nothing, "a").lowest == 0.3
    bare: Any = detect.Detector(out / "chain" / "bare" / "model.onnx")
    assert Watcher(bare, nothing, nothing, "a").lowest < 0.3


def test_int8_faces_at_the_threshold_may_come_and_go_on_a_board(out: Path) -> None:
    from toolchain.arm.comparing import compare_with_here, subject_of
    from toolchain.checking.pictures import read_photos

    photos = read_photos([out.parent / "photo.png"])
    for name, holds in (("model_int8.onnx", True), ("model.onnx", False)):
        subject = subject_of(out, [name], photos)
        there = {each: tuple(run_here(out / name, image)) for each, image in subject.inputs.items()}
        assert compare_with_here(out / name, subject, there).holds
        noise = next(each for each in subject.inputs if each.startswith("random"))
        there[noise] = tuple(output[:, :-1] for output in there[noise])
        assert compare_with_here(out / name, subject, there).holds is holds


def run_here(path: Path, image: Any) -> Any:
    from toolchain.bench.runs import open_run

    return open_run(path, image, 1)()


def test_average_precision_of_files_that_suppress_is_refused(out: Path) -> None:
    with pytest.raises(ModelError, match=r"evaluate its folder's chain/bare/model.onnx"):
        file_network(out / "model.onnx", opened(out / "model.onnx", 1))


def test_a_bench_feeds_pixels(out: Path) -> None:
    from toolchain.bench.interleaving import measure

    found = measure(out, 1, None, 0.0, lambda _stage: None)
    assert [file.name for file in found.files] == ["model.onnx", "model_int8.onnx"]
    assert found.size == SIZE
    assert found.files[1].mean_share  # of int8, not of the I/O spec


@pytest.mark.long
def test_a_board_is_fed_pixels(out: Path, ready: Any, tmp_path: Path) -> None:
    from toolchain.arm.checking import check_folder
    from toolchain.arm.targets import find_target
    from toolchain.checking.pictures import read_photos

    photos = read_photos([out.parent / "photo.png"])
    target = find_target("rpi4")
    for place in (out, out / "model.onnx"):
        names = ["model.onnx"] if place == out else None
        shown = photos if place == out else ()
        found = check_folder(place, names, target, ready, shown, tmp_path, lambda _stage: None)
        assert found.files[0].parity
        assert found.files[0].size == SIZE
    assert found.files[0].outputs


def test_io_specs_that_cannot_be_had_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(message: str, which: Recipe, **options: Any) -> None:
        with pytest.raises(InputError, match=message):
            run_shrink(Job(which, tmp_path / "out", **options))

    assert run_cli(["shrink", "eresfd", "--input", "uint8", "--dynamic"]) == 2
    assert "--input uint8 needs files of one size; leave out --dynamic" in capsys.readouterr().err
    assert run_cli(["shrink", "tiny:Tiny", "--size", "32x48", "--postprocess", "nms"]) == 2
    assert "--postprocess is for face detectors" in capsys.readouterr().err
    grey = recipe(input__dtype="uint8", input__color_order="GRAY", input__mean=[1.0])
    refused("--input uint8 is for pictures of three channels, .* GRAY; leave it out", grey)
    without = dataclasses.replace(recipe(input__dtype="uint8"), anchors=None)
    refused(r"--input uint8 is for face detectors; .* has no \[anchors\]", without)


def test_tflite_files_do_not_suppress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.lineage.format_choice.lacking", lambda: None)
    formats, note = choose_formats(None, "nms")
    assert formats == ("onnx",)
    assert note is not None
    assert "no non-maximum suppression; ask for --postprocess decode" in note
    with pytest.raises(ExportError, match="no non-maximum suppression"):
        tflite_with_io(b"", recipe(decode__postprocess="nms"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"postprocess": "all"}, "'postprocess' must be"),
        ({"postprocess": None}, "'postprocess' must be"),
        ({"input": {"layout": "NCHW"}}, "'input.layout' must be 'NHWC' for uint8"),
        ({"input": {"color_order": "RGB"}}, "'input.color_order' must be 'BGR' for uint8"),
        ({"input": {"mean": [0.5, 0, 0]}}, "'input.mean' must be whole"),
        ({"input": {"dtype": "int8"}}, "'input.dtype' must be"),
    ],
)
def test_metadata_of_an_io_spec_are_checked(change: dict[str, Any], message: str) -> None:
    import json

    model = onnx.load_from_string(onnx_with_io(PLAIN, recipe(input__dtype="uint8")))
    (text,) = (entry.value for entry in model.metadata_props if entry.key == KEY)
    table = json.loads(text)
    assert table["schema"] == 2
    for key, value in change.items():
        table[key] = {**table[key], **value} if isinstance(value, dict) else value
    with pytest.raises(detect.DetectError, match=message):
        detect.Specification.from_json(json.dumps(table))


@WITH_CONVERTER
@pytest.mark.slow
def test_tflite_files_take_pixels_and_decode(tmp_path: Path) -> None:
    which = recipe(input__dtype="uint8", decode__postprocess="decode")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "compare_latency", quick)
        report = run_shrink(Job(which, tmp_path / "out", formats=("tflite", "fp16", "int8")))
    assert report.certificate is not None
    assert report.certificate.is_complete
    for name in ("model.tflite", "model_fp16.tflite", "model_int8.tflite"):
        detector = detect.Detector(tmp_path / "out" / name, threads=1)
        assert detector.specification.postprocess == "decode"
    assert verify(tmp_path / "out", 5, lambda _name: None).passed
