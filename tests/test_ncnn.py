"""ncnn files: what is rewritten gives the same, and what breaks is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny import Faces
from torch import Tensor, nn

from toolchain.checking.ncnn import run_ncnn
from toolchain.deploy.detector.errors import DetectError
from toolchain.deploy.detector.ncnn_facts import BIN, METADATA, PARAM, Level, Patches
from toolchain.deploy.detector.ncnn_file import NcnnRunner
from toolchain.deploy.detector.ncnn_maps import joined
from toolchain.deploy.detector.ncnn_patches import patches_of
from toolchain.errors import ExportError
from toolchain.exporting.graph import Graph
from toolchain.exporting.ncnn.align import align_widths
from toolchain.exporting.ncnn.convert import convert
from toolchain.exporting.ncnn.ends import find_ends
from toolchain.exporting.ncnn.ncnn_file import prepare, write_ncnn
from toolchain.exporting.onnx_file import export_onnx
from toolchain.exporting.rewriting import Rewrites
from toolchain.records.run_folder import NCNN_FOLDER
from toolchain.records.stages import Rewritten
from toolchain.system.sessions import open_session

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


class Uneven(nn.Module):
    """Widths of no block: a stream, what is laid beside it, a depthwise layer, slopes."""

    def __init__(self, stream: int = 6, beside: int = 5, inner: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, stream, 3, 2, 1)
        self.inner = nn.Conv2d(stream, inner, 3, padding=1)
        self.slopes = nn.PReLU(inner)
        self.end = nn.Conv2d(inner, stream, 3, padding=1)
        self.beside = nn.Conv2d(stream, beside, 1)
        self.depthwise = nn.Conv2d(
            beside + stream, beside + stream, 3, 1, 1, groups=beside + stream
        )
        self.down = nn.Conv2d(beside + stream, stream, 3, 2, 1)
        self.head = nn.Conv2d(stream, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, H, W) -> (1, 2, H / 2, W / 2)."""
        x = self.stem(x).relu()
        x = x + self.end(self.slopes(self.inner(x)))
        wide = self.depthwise(torch.cat([self.beside(x).relu(), x], 1))
        up = nn.functional.interpolate(self.down(wide), size=x.shape[2:], mode="nearest")
        out: Tensor = self.head(x + up)
        return out


def exported(
    network: nn.Module,
    path: Path,
    names: Sequence[str],
    size: int = 32,
    rewrites: tuple[str, ...] = (),
) -> onnx.ModelProto:
    torch.manual_seed(0)
    example = torch.zeros(1, 3, size, size)
    export_onnx(
        network.eval(), example, path, output_names=names, metadata={}, rewrites=Rewrites(rewrites)
    )
    return onnx.load(path)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("faces") / "m.onnx"
    return exported(Faces(), path, ["loc", "logits"], 64, ("heads",))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    torch.manual_seed(2)
    return exported(Uneven(), tmp_path_factory.mktemp("uneven") / "m.onnx", ["map"])


@pytest.fixture(scope="module")
def folder(faces: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("folder")
    write_ncnn(faces, place, texts={"detector": "{}"}, for_detect=True)
    return place / NCNN_FOLDER


def image_of(model: onnx.ModelProto, seed: int = 3) -> np.ndarray:
    sides = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(seed).standard_normal(sides).astype(np.float32)


def outputs_of(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    session = open_session(model.SerializeToString())
    return session.run(None, {model.graph.input[0].name: image})


def assert_same(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-5 * max(1.0, np.abs(b).max())


def test_widths_are_filled_up_and_nothing_changes(uneven: onnx.ModelProto) -> None:
    image = image_of(uneven)
    filled = prepare(uneven, for_detect=False).model
    assert_same(outputs_of(filled, image), outputs_of(uneven, image))
    graph = Graph(filled)
    widths = [
        graph.input_constant(node, 1).shape[0] for node in graph.nodes if node.op_type == "Conv"
    ]
    assert [width % 4 for width in widths[:-1]] == [0] * (len(widths) - 1)
    assert widths[-1] == 2, "what the network gives keeps its width"


def test_a_width_that_is_read_by_an_operator_that_is_not_known_stays() -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
        onnx.helper.make_node("Softmax", ["a"], ["b"], name="odd", axis=1),
        onnx.helper.make_node("Conv", ["b", "v"], ["y"], name="last"),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in (("w", (6, 3, 1, 1)), ("v", (4, 6, 1, 1)))
    ]
    sides = {"x": [1, 3, 8, 8], "y": [1, 4, 8, 8]}
    entry, end = (onnx.helper.make_tensor_value_info(n, 1, s) for n, s in sides.items())
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [entry], [end], weights))
    graph = Graph(onnx.shape_inference.infer_shapes(model))
    assert align_widths(graph) == 0


def test_a_detectors_ends_are_found_by_what_they_do(faces: onnx.ModelProto) -> None:
    ends = find_ends(faces)
    assert ends is not None
    assert ends.levels == (Level((0, 1, 2, 3), (4,), 5),) * 2


def test_a_network_that_computes_at_its_end_keeps_it(uneven: onnx.ModelProto) -> None:
    assert find_ends(uneven) is None


def test_the_largest_of_some_scores_is_that_of_the_background() -> None:
    maps = [np.arange(8 * 2 * 3, dtype=np.float32).reshape(8, 2, 3)]
    loc, logits = joined(maps, [Level((0, 1, 2, 3), (4, 6, 5), 7)])
    assert loc.shape == (1, 6, 4)
    assert loc[0, 1].tolist() == [1, 7, 13, 19]
    assert logits[0, 1].tolist() == [37, 43]


@pytest.mark.parametrize("cut", [Patches(5, 4, 2), Patches(4, 4, 0), Patches(3, 2, 1)])
@pytest.mark.parametrize("size", [(16, 24), (13, 18)])
def test_patches_are_what_the_first_layer_reads(cut: Patches, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).standard_normal((1, 3, *size)).astype(np.float32)
    laid_out = patches_of(image, cut)
    padded = np.pad(image[0], ((0, 0), (cut.padding,) * 2, (cut.padding,) * 2))
    row = cut.kernel * 3
    vectors = -(-row // 4)
    found = laid_out.reshape(cut.kernel, vectors, laid_out.shape[1], -1, 4)
    for y in range(found.shape[2]):
        for x in range(found.shape[3]):
            top, left = y * cut.stride, x * cut.stride
            square = padded[:, top : top + cut.kernel, left : left + cut.kernel]
            ours = found[:, :, y, x].reshape(cut.kernel, -1)[:, :row]
            assert np.array_equal(ours, square.transpose(1, 2, 0).reshape(cut.kernel, row))


def test_a_detectors_file_gives_what_the_network_gives(
    faces: onnx.ModelProto, folder: Path
) -> None:
    runner = NcnnRunner(folder, 1)
    assert runner.facts.patches == Patches(5, 4, 2)
    image = image_of(faces)
    assert_same(runner.run(runner.fed(image)), outputs_of(faces, image))


def test_any_network_keeps_its_input_and_outputs(uneven: onnx.ModelProto, tmp_path: Path) -> None:
    told: list[Rewritten] = []
    write_ncnn(uneven, tmp_path, texts={}, for_detect=False, on_done=told.append)
    runner = NcnnRunner(tmp_path / NCNN_FOLDER / PARAM, 1)
    image = image_of(uneven)
    assert_same(runner.run(runner.fed(image)), outputs_of(uneven, image))
    assert [each.name for each in told if each.changed] == ["ncnn align"]


def test_the_param_file_stands_for_the_weights(folder: Path, tmp_path: Path) -> None:
    facts = json.loads((folder / METADATA).read_text())
    assert f"weights_{facts['bin_sha256']}" in (folder / PARAM).read_text()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda place: (place / BIN).write_bytes((place / BIN).read_bytes()[:-8]), f"{BIN} is not"),
        (lambda place: (place / PARAM).write_text("7767517\n"), f"{PARAM} is not the one"),
        (lambda place: (place / BIN).unlink(), f"has no {BIN} that can be read"),
        (lambda place: (place / METADATA).unlink(), f"has no {METADATA} that can be read"),
        (lambda place: (place / METADATA).write_text("{"), f"{METADATA} is not JSON"),
        (lambda place: (place / METADATA).write_text("[]"), f"{METADATA} is not as the toolchain"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    break_it: object, message: str, folder: Path, tmp_path: Path
) -> None:
    for name in (PARAM, BIN, METADATA):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert callable(break_it)
    break_it(tmp_path)
    with pytest.raises(DetectError, match=message):
        NcnnRunner(tmp_path, 1)


def test_a_file_that_opens_and_does_not_run_says_so(folder: Path, tmp_path: Path) -> None:
    for name in (PARAM, BIN):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    facts = json.loads((folder / METADATA).read_text())
    facts["blobs"] = [f"not_{blob}" for blob in facts["blobs"]]
    (tmp_path / METADATA).write_text(json.dumps(facts))
    run = run_ncnn(tmp_path / PARAM)
    with pytest.raises(ExportError, match=r"does not run: ncnn .* cannot run it"):
        run(torch.zeros(facts["input"]["shape"]))


def test_an_operator_that_the_runtime_does_not_know_is_named() -> None:
    node = onnx.helper.make_node("Det", ["x"], ["y"], name="odd")
    entry = onnx.helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])
    end = onnx.helper.make_tensor_value_info("y", 1, [1, 3])
    graph = onnx.helper.make_graph([node], "g", [entry], [end])
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    with pytest.raises(ExportError, match="it does not know the operator Det"):
        convert(model)
