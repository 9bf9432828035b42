"""The ONNX file: valid, the same function, the same bytes, small, and silent about the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import exports
import onnx
import pytest
import torch
from torch import Tensor, nn

from toolchain.checking.cost import measure_cost
from toolchain.checking.parity import compare, demand, random_inputs, run_network, run_onnx
from toolchain.errors import ExportError, ProofError
from toolchain.exporting import onnx_file
from toolchain.exporting.onnx_file import export_onnx
from toolchain.exporting.rewriting import Rewrites
from toolchain.models.registry import build
from toolchain.recipe import REWRITES
from toolchain.records.stages import Artifact
from toolchain.system.files import sha256_of

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
SIZE = (96, 64)
METADATA = {"detector": '{"schema": 1}', "another": "text, too"}


def export(
    network: nn.Module,
    path: Path,
    shape: tuple[int, int, int, int] = (1, 3, 12, 10),
    names: Sequence[str] = ("y",),
    metadata: Mapping[str, str] = METADATA,
    dynamic: bool = False,
) -> Artifact:
    example = torch.zeros(shape)
    return export_onnx(
        network.eval(),
        example,
        path,
        output_names=names,
        metadata=metadata,
        dynamic=dynamic,
        rewrites=Rewrites(REWRITES),
    )


def dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]


def assert_same_function(
    network: nn.Module, path: Path, shapes: Sequence[tuple[int, int, int, int]]
) -> None:
    inputs = random_inputs(shapes, seed=3)
    link = "network -> file"
    sides = run_network(network), run_onnx(path)
    result = demand(compare(link, *sides, inputs, limit=1e-4))
    ranges = [case.largest.output_range or 0.0 for case in result.cases]
    assert min(ranges) > 0.1, "the outputs say nothing"


def lively(network: nn.Module) -> nn.Module:
    """Give batch norms statistics that are not the identity."""
    generator = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def told_of_the_machine(path: Path) -> list[bytes]:
    """Words in a file that come from where it was made: folders, sources, stack traces."""
    words = [b"site-packages", b"/home", b"/usr", b"/tmp", b"Traceback", b'File "']
    words += [b".py", b"pkg.torch", b"namespace", b"onnxsim", bytes(ROOT), bytes(path.parent)]
    data = path.read_bytes()
    return [word for word in words if word in data]


# A small network --------------------------------------------------------------------------------


class Small(nn.Module):
    """A block that is used twice, and two outputs."""

    def __init__(self, seed: int = 2) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, 32, 1)
        self.block = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.PReLU(32)
        )
        self.head = nn.Conv2d(32, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.block(self.block(self.stem(x)))
        return self.head(y), y.mean((2, 3))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path, Artifact]:
    network = lively(Small())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    artifact = export(network, path, names=("map", "mean"))
    after = network.state_dict()
    assert list(after) == list(before), "the export changed the network"
    assert all(torch.equal(after[key], before[key]) for key in before)
    return network, path, artifact


def test_artifact_tells_name_size_and_digest(small: tuple[nn.Module, Path, Artifact]) -> None:
    _, path, artifact = small
    assert artifact == Artifact("small.onnx", path.stat().st_size, sha256_of(path))
    assert [file.name for file in path.parent.iterdir()] == ["small.onnx"]


def test_names_and_shapes_are_those_that_were_asked_for(
    small: tuple[nn.Module, Path, Artifact],
) -> None:
    graph = onnx.load(small[1]).graph
    assert [(value.name, dimensions(value)) for value in graph.input] == [("image", [1, 3, 12, 10])]
    assert [(value.name, dimensions(value)) for value in graph.output] == [
        ("map", [1, 2, 12, 10]),
        ("mean", [1, 32]),
    ]
    types = {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    assert types == {onnx.TensorProto.FLOAT}


def test_metadata_is_as_it_was_given(small: tuple[nn.Module, Path, Artifact]) -> None:
    model = onnx.load(small[1])
    assert {entry.key: entry.value for entry in model.metadata_props} == METADATA
    assert len(model.metadata_props) == 2


def test_batch_norm_is_folded(small: tuple[nn.Module, Path, Artifact]) -> None:
    kinds = [node.op_type for node in onnx.load(small[1]).graph.node]
    assert kinds.count("Conv") == 4
    assert "BatchNormalization" not in kinds


def test_the_small_file_is_the_same_function(small: tuple[nn.Module, Path, Artifact]) -> None:
    assert_same_function(small[0], small[1], [(1, 3, 12, 10)])


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes_and_another_one_does_not(
    tmp_path: Path, small: tuple[nn.Module, Path, Artifact]
) -> None:
    network, path, _ = small
    data, names, again = path.read_bytes(), ("map", "mean"), tmp_path / "again.onnx"
    export(network, again, names=names, metadata=dict(reversed(METADATA.items())))
    assert again.read_bytes() == data
    export(network, again, names=names, metadata={**METADATA, "another": "other"})
    assert again.read_bytes() != data
    export(lively(Small(3)), again, names=names)
    assert again.read_bytes() != data


def test_the_small_file_says_nothing_of_the_machine(
    small: tuple[nn.Module, Path, Artifact],
) -> None:
    assert told_of_the_machine(small[1]) == []


def test_the_small_file_holds_every_weight_once(small: tuple[nn.Module, Path, Artifact]) -> None:
    values = sum(
        onnx.numpy_helper.to_array(tensor).size for tensor in onnx.load(small[1]).graph.initializer
    )
    weights = 32 * 3 + 32 + 32 * 32 * 9 + 32 + 2 * 32 + 2  # the PReLU's one slope is none of them
    assert weights <= values <= weights + 16, "16 for the shapes that operators need"


# The detectors ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["eresfd", "extd"])
def detector(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Module, Path]:
    """A detector and its file, exported twice, so that the second can be compared.

    The first is an export of another's, with these weights put in.
    """
    network, other = lively(build(request.param, 5)), lively(build(request.param, 6))
    folder = tmp_path_factory.mktemp(request.param)
    export(other, folder / "other.onnx", (1, 3, *SIZE), ("loc", "logits"))
    export(network, folder / "model.onnx", (1, 3, *SIZE), ("loc", "logits"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "_export", exports.REAL)
        export(network, folder / "again.onnx", (1, 3, *SIZE), ("loc", "logits"))
    return network, folder / "model.onnx"


@pytest.mark.slow
def test_file_passes_the_checker(detector: tuple[nn.Module, Path]) -> None:
    model = onnx.load(detector[1])
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain for opset in model.opset_import} == {""}, "only standard operators"
    assert all(opset.version >= 17 for opset in model.opset_import)
    assert not model.functions


@pytest.mark.slow
def test_file_is_the_same_function(detector: tuple[nn.Module, Path]) -> None:
    assert_same_function(*detector, [(1, 3, *SIZE)] * 2)


@pytest.mark.slow
def test_file_has_the_names_and_shapes_that_the_board_expects(
    detector: tuple[nn.Module, Path],
) -> None:
    """24 x 16, 12 x 8, 6 x 4, 3 x 2, 2 x 1 and 1 x 1 cells."""
    graph = onnx.load(detector[1]).graph
    cells = 384 + 96 + 24 + 6 + 2 + 1
    values = [(value.name, dimensions(value)) for value in [*graph.input, *graph.output]]
    assert values == [
        ("image", [1, 3, *SIZE]),
        ("loc", [1, cells, 4]),
        ("logits", [1, cells, 2]),
    ]


@pytest.mark.slow
def test_file_is_the_same_bytes_again(detector: tuple[nn.Module, Path]) -> None:
    assert detector[1].read_bytes() == detector[1].with_name("again.onnx").read_bytes()


@pytest.mark.slow
def test_file_says_nothing_of_the_machine(detector: tuple[nn.Module, Path]) -> None:
    assert told_of_the_machine(detector[1]) == []


@pytest.mark.slow
def test_file_holds_every_weight_once(detector: tuple[nn.Module, Path]) -> None:
    """EXTD uses its blocks six times; the graph around the weights is at most 15 %."""
    network, path = detector
    cost = measure_cost(network, torch.zeros(1, 3, *SIZE))
    weights = 4 * cost.deployed_parameters
    assert weights < path.stat().st_size <= 1.15 * weights


@pytest.mark.slow
@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_a_dynamic_file_is_the_same_function_at_every_size(tmp_path: Path, model: str) -> None:
    network = lively(build(model, 5))
    path = tmp_path / "d.onnx"
    export(network, path, (1, 3, *SIZE), ("loc", "logits"), dynamic=True)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    image = dimensions(onnx.load(path).graph.input[0])
    assert image[:2] == [1, 3]
    assert all(isinstance(size, str) and size for size in image[2:])
    assert_same_function(network, path, [(1, 3, *SIZE), (1, 3, 160, 224), (1, 3, 101, 67)])


# What cannot be exported ------------------------------------------------------------------------


@torch.library.custom_op("toolchain_tests::unheard_of", mutates_args=())
def unheard_of(x: Tensor) -> Tensor:
    return x.clone()


@unheard_of.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class OwnOperator(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = unheard_of(x)
        return out


class Branches(nn.Module):
    """What it computes depends on the values that it sees."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if float(x.sum()) > 0 else x


class Complains(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            raise RuntimeError("no export of me\nnor of mine")
        return x * 2


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (OwnOperator(), "toolchain_tests.unheard_of"),
        (Branches(), "data-dependent"),
        (Complains(), "no export of me"),
    ],
    ids=["operator", "branches", "complains"],
)
def test_a_network_that_cannot_be_exported_is_told_with_the_reason(
    tmp_path: Path, network: nn.Module, reason: str
) -> None:
    with pytest.raises(ExportError) as caught:
        export(network, tmp_path / "m.onnx")
    message = str(caught.value)
    assert message.startswith("the network cannot be exported to ONNX (")
    assert len(message.splitlines()) == 1
    assert "\x1b" not in message, "no colours in a message"
    assert reason in message
    assert list(tmp_path.iterdir()) == [], "no half-made file"


def test_a_failed_export_is_a_failed_proof() -> None:
    assert issubclass(ExportError, ProofError)
    assert ExportError.exit_code == 1


@pytest.mark.parametrize("names", [("map",), ("map", "mean", "more")])
def test_a_name_too_few_or_too_many_is_refused(tmp_path: Path, names: Sequence[str]) -> None:
    with pytest.raises(ExportError, match="2 outputs"):
        export(Small(), tmp_path / "m.onnx", names=names)
    assert list(tmp_path.iterdir()) == []
