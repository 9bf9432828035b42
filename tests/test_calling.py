"""What networks are called with and what they return, from their code to the ONNX file."""

from __future__ import annotations

import copy
import dataclasses
from collections import namedtuple
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from toolchain.checking import proofs
from toolchain.checking.cost import measure_cost
from toolchain.checking.inputs import fault_inputs, noise, of_each
from toolchain.errors import ExportError, InputError, ModelError
from toolchain.exporting.onnx_file import export_onnx
from toolchain.lineage.format_choice import possible_formats
from toolchain.models.calling import Call, find_call
from toolchain.models.registry import Built
from toolchain.models.sizes import near_sizes, resized, try_on
from toolchain.models.told_inputs import read_shapes
from toolchain.recipe import default_recipe, override
from toolchain.surgery.removing import cut

torch.set_num_threads(1)


class Base(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def run(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.stem(x).relu())
        return found

    def forward(self, x: Any) -> Any:
        return self.run(x)


@dataclasses.dataclass
class Found:
    boxes: Tensor
    levels: list[Tensor]


Pair = namedtuple("Pair", "first second")


class TwoInputs(Base):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.run(x) + 2 * self.run(mask)


class DictInput(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.run(batch["image"] - batch["background"])


class Keywords(Base):
    def forward(self, x: Tensor, *, mask: Tensor | None = None, times: int = 1) -> Tensor:
        assert mask is not None
        return times * self.run(x) + self.run(mask)


class Nested(Base):
    def forward(self, x: Tensor) -> Any:
        out = self.run(x)
        return {"out": out, "levels": [out + 1, Found(out + 2, [out + 3])], "none": None, "n": 4}


class Record(Base):
    def forward(self, x: Tensor) -> Any:
        out = self.run(x)
        return Pair(out, Found(out + 1, []))


class SpaceToDepth(Base):
    def __init__(self) -> None:
        super().__init__(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(nn.functional.pixel_unshuffle(x, 2))


class OneSize(Base):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (32, 32):
            raise Exception("only 32x32")
        return self.run(x)


class Caching(Base):
    grid: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        out = self.run(x)
        if self.grid is None or self.grid.shape != out.shape[2:]:
            self.grid = torch.arange(float(out.shape[2] * out.shape[3])).reshape(out.shape[2:])
        return out + self.grid


class Positions(Base):
    """Attention between all positions."""

    def forward(self, x: Tensor) -> Tensor:
        t = self.stem(x).flatten(2)
        out: Tensor = t @ (t.transpose(1, 2) @ t).softmax(-1)
        return out


def called(network: nn.Module, size: tuple[int, int] | None = (32, 48), *shapes: str) -> Any:
    """Return the network as all rooms call it, and how."""
    return find_call(Built(network.eval(), (network,)), "mine:net", size, shapes)


def random(example: tuple[Tensor, ...], seed: int = 5) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(each.shape, generator=generator) for each in example)


def in_file(network: nn.Module, call: Call, path: Path, inputs: tuple[Tensor, ...]) -> Any:
    """Export, and return the file's outputs by name."""
    export_onnx(
        network,
        call.example,
        path,
        input_names=call.inputs,
        output_names=call.outputs,
        metadata={},
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == list(call.inputs)
    fed = {name: each.numpy() for name, each in zip(call.inputs, inputs, strict=True)}
    found = session.run(None, fed)
    return {each.name: value for each, value in zip(session.get_outputs(), found, strict=True)}


@pytest.mark.slow
def test_an_exported_file_of_two_inputs_gives_what_the_network_gives(tmp_path: Path) -> None:
    network = TwoInputs()
    original = copy.deepcopy(network).eval()
    network, call = called(network)
    assert call.inputs == ("x", "mask")
    x, mask = random(call.example)
    found = in_file(network, call, tmp_path / "two.onnx", (x, mask))
    with torch.no_grad():
        expected = original(x, mask)
    torch.testing.assert_close(torch.from_numpy(found["output"]), expected, atol=1e-5, rtol=1e-5)


def test_a_dictionary_of_inputs_is_taken_apart_by_its_keys(tmp_path: Path) -> None:
    network = DictInput()
    original = copy.deepcopy(network).eval()
    network, call = called(network)
    assert call.inputs == ("image", "background")
    image, background = random(call.example)
    found = in_file(network, call, tmp_path / "dict.onnx", (image, background))
    with torch.no_grad():
        expected = original({"image": image, "background": background})
    torch.testing.assert_close(torch.from_numpy(found["output"]), expected, atol=1e-5, rtol=1e-5)


def test_numbers_beside_tensors_are_kept_as_they_were_given() -> None:
    network = Keywords()
    network.example_inputs = {
        "x": torch.ones(1, 3, 8, 8),
        "mask": torch.ones(1, 3, 8, 8),
        "times": 3,
    }  # type: ignore[assignment]
    original = copy.deepcopy(network).eval()
    network, call = called(network, None)
    x, mask = random(call.example)
    with torch.no_grad():
        (found,) = network(x, mask)
        assert torch.equal(found, original(x, mask=mask, times=3))
    assert call.inputs == ("x", "mask")


def test_outputs_of_any_nesting_come_as_tensors_by_name() -> None:
    network = Nested()
    names = set(network.state_dict())
    original = copy.deepcopy(network).eval()
    network, call = called(network)
    assert call.outputs == ("out", "levels_0", "levels_1_boxes", "levels_1_levels_0")
    assert call.notes == ("Of what the network returns, n (int) is left out.",)
    (x,) = random(call.example)
    with torch.no_grad():
        found, expected = network(x), original(x)["out"]
    for more, each in enumerate(found):
        assert torch.equal(each, expected + more)
    assert set(network.state_dict()) == names
    assert type(copy.deepcopy(network)).__name__ == "Nested"


def test_records_as_outputs_are_shrunk_and_exported(tmp_path: Path) -> None:
    network = Record()
    with torch.no_grad():
        network.stem.weight[:3] = 0
    network, call = called(network)
    assert call.outputs == ("first", "second_boxes")
    done = cut(network, call.example)
    assert done.network.get_parameter("stem.weight").shape[0] == 5
    inputs = random(call.example)
    found = in_file(done.network, call, tmp_path / "record.onnx", inputs)
    with torch.no_grad():
        expected = network(*inputs)
    for name, each in zip(call.outputs, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found[name]), each, atol=1e-5, rtol=1e-5)


def test_the_channels_that_run_are_taken_and_told() -> None:
    _, call = called(SpaceToDepth())
    assert call.example[0].shape == (1, 3, 32, 48)
    assert "takes 3 channels, found by trying; its first convolution reads 12" in call.notes[0]
    _, call = called(Base(4))
    assert (call.example[0].shape, call.notes) == ((1, 4, 32, 48), ())


def test_shapes_that_are_given_come_first() -> None:
    arguments = read_shapes(["1x2x3x4", "mask=1x1x3x4", "ids=1x5:int64"])
    assert [each.shape for each in arguments.by_place] == [(1, 2, 3, 4)]
    assert arguments.by_name["mask"].shape == (1, 1, 3, 4)
    assert arguments.by_name["ids"].dtype == torch.int64
    _, call = called(Base(2), (32, 32), "1x2x16x24")
    assert call.example[0].shape == (1, 2, 16, 24)


@pytest.mark.parametrize(
    "text", ["", "3x", "1x3x-2", "1x3x0", "a=b=1x3", "1x3:word", "1x99999999x99"]
)
def test_a_wrong_shape_is_told(text: str) -> None:
    with pytest.raises(ModelError, match="--input-shape must be NxCxHxW"):
        read_shapes([text])


def test_what_a_network_says_of_its_input_is_taken() -> None:
    network = Base()
    network.input_size = (3, 24, 40)  # type: ignore[assignment]
    assert called(network, None)[1].example[0].shape == (1, 3, 24, 40)
    assert called(network, (16, 16))[1].example[0].shape == (1, 3, 16, 16)
    network = Base()
    network.example_inputs = torch.ones(1, 3, 8, 12)  # type: ignore[assignment]
    assert called(network, None)[1].example[0].shape == (1, 3, 8, 12)


def test_layers_of_one_dimension_are_told_how_to_be_fed() -> None:
    network = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 1))
    with pytest.raises(ModelError, match="Conv1d: give its input by --input-shape 1x2x16000"):
        called(network)
    assert called(network, None, "1x2x64")[1].example[0].shape == (1, 2, 64)


def test_a_size_that_does_not_run_is_told_with_one_that_does() -> None:
    with pytest.raises(ModelError, match=r"does not run on 1x3x64x64.*only 32x32.*runs at 32x32"):
        called(OneSize(), (64, 64))


def test_any_exception_at_another_size_means_that_it_does_not_run() -> None:
    example = (torch.zeros(1, 3, 32, 32),)
    assert try_on(OneSize(), example).runs
    trial = try_on(OneSize(), resized(example, (33, 35)))
    assert (trial.runs, trial.reason) == (False, "Exception: only 32x32")


def test_a_trial_leaves_the_network_as_it_was() -> None:
    network = Caching().eval()
    assert try_on(network, (torch.zeros(1, 3, 8, 8),)).runs
    assert network.grid is None


def test_a_size_that_takes_too_much_memory_is_not_tried() -> None:
    network, example = Positions().eval(), (torch.zeros(1, 3, 64, 64),)
    # 1,024 positions, so 4 MiB of scores; at 640x640 102,400 of them take 39 GiB.
    assert try_on(network, resized(example, (80, 72)), example).runs
    assert try_on(network, resized(example, (640, 640)), example).too_large


@pytest.mark.parametrize(
    ("size", "near"),
    [
        ((64, 64), ((96, 64), (69, 73))),
        ((100, 100), ((124, 76), (107, 113))),
        ((49, 10), ((61, 8), (53, 11))),
        ((224, 224), ((288, 160), (239, 253))),
    ],
)
def test_sizes_that_are_tried_lie_near(size: tuple[int, int], near: object) -> None:
    assert near_sizes(*size) == near


def test_what_a_network_caches_is_there_when_it_is_exported(tmp_path: Path) -> None:
    network, call = called(Caching())
    inputs = random(call.example)
    found = in_file(network, call, tmp_path / "caching.onnx", inputs)
    with torch.no_grad():
        expected = copy.deepcopy(network)(*inputs)
    torch.testing.assert_close(torch.from_numpy(found["output"]), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.slow
def test_a_size_that_cannot_be_free_is_told_in_our_words(tmp_path: Path) -> None:
    class Fixed(Base):
        def forward(self, x: Tensor) -> Tensor:
            return self.run(x).reshape(1, 2, 16, 24).flatten(1)

    network, call = called(Fixed())
    export_onnx(
        network, call.example, tmp_path / "fixed.onnx", output_names=call.outputs, metadata={}
    )
    surgery = cut(network, call.example).surgery
    pair = proofs.Pair(
        network, network, None, surgery, call.example, call.example, (), (), call.outputs
    )
    recipe = override(default_recipe("mine:net"), {"input.height": 32, "input.width": 48})
    assert proofs.prove_file(pair, recipe, tmp_path / "fixed.onnx", dynamic=False).passed
    with pytest.raises(ExportError, match="--dynamic: height and width cannot be left free"):
        proofs.prove_file(pair, recipe, tmp_path / "fixed.onnx", dynamic=True)


def test_inputs_of_a_proof_have_the_shapes_of_all_tensors() -> None:
    example = (torch.zeros(1, 3, 8, 6), torch.zeros(1, 2, 5), torch.arange(4).reshape(1, 4))
    made = noise([example], 0, (-1.0, 1.0))
    made += of_each(example, lambda image, index: fault_inputs(image, index, (-1.0, 1.0)))
    assert len(made) > 5
    for proof in made:
        assert [each.shape for each in proof.tensors] == [each.shape for each in example]
        assert torch.equal(proof.tensors[2], example[2])
    assert not torch.equal(made[0].tensors[0].flatten()[:10], made[0].tensors[1].flatten())


def test_the_cost_of_two_inputs_is_that_of_both() -> None:
    network, call = called(TwoInputs())
    # Both run through the stem, 3 * 8 * 9 products at 16 x 24 places, and the head, 8 * 2.
    assert measure_cost(network, call.example).macs == 2 * 16 * 24 * (3 * 8 * 9 + 8 * 2)


def test_other_formats_are_refused_for_several_inputs() -> None:
    example = (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    names = ("x", "mask")
    formats, note = possible_formats(None, ("onnx", "int8"), None, example, names)
    assert formats == ("onnx",)
    assert note == (
        "ONNX alone: other files are made of networks of one image, and this takes 1x3x8x8 and "
        "1x3x8x8 (x, mask)."
    )
    with pytest.raises(InputError, match="--formats int8: other files are made of networks of one"):
        possible_formats(["int8"], ("onnx", "int8"), None, example, names)
    assert possible_formats(None, ("onnx", "int8"), None, example[:1], names[:1])[0] == (
        "onnx",
        "int8",
    )
