"""Calibration as Python gives it: loaders of all kinds, and one line for what is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import toolchain as tc
from toolchain.errors import InputError
from toolchain.library import calibrating
from toolchain.library.calibrating import range_of, read_given
from toolchain.lineage.calibration import given_calibration

SHAPE = (1, 1, 4, 6)
IMAGES = torch.arange(7.0).reshape(7, 1, 1, 1).expand(7, *SHAPE[1:]).contiguous()


def read(given: Any) -> Tensor:
    found = read_given(given, SHAPE, ["image"])
    assert isinstance(found, list)
    assert {tuple(each.shape) for each in found} == {SHAPE}
    assert {each.dtype for each in found} == {torch.float32}
    return torch.cat(found)


@pytest.mark.parametrize(
    "given",
    [
        IMAGES,
        list(IMAGES),
        [*IMAGES[:, None]],
        IMAGES.numpy().astype(np.float64),
        DataLoader(TensorDataset(IMAGES, torch.zeros(7)), batch_size=3),
        [(IMAGES[:4], torch.zeros(4)), (IMAGES[4:], torch.zeros(3))],
        [{"image": each, "label": 3} for each in IMAGES],
        [{"pixel_values": IMAGES, "mask": torch.ones(7, 4, 6)}],
        (each for each in IMAGES),
        IMAGES.to(torch.uint8),
    ],
    ids="batch singles ones array loader pairs dicts fitting generator bytes".split(),
)
def test_inputs_are_taken_as_a_loader_gives_them(given: Any) -> None:
    assert torch.equal(read(given), IMAGES)


def test_paths_stay_paths() -> None:
    assert read_given("photos", SHAPE, []) == Path("photos")
    assert read_given(["a.png", Path("b.png")], SHAPE, []) == (Path("a.png"), Path("b.png"))
    assert read_given((each for each in ["a.png"]), SHAPE, []) == (Path("a.png"),)
    assert read_given(None, SHAPE, []) is None


def test_a_loader_without_end_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[Tensor]:
        while True:
            yield IMAGES

    monkeypatch.setattr(calibrating, "MOST_INPUTS", 10)
    assert len(read(endless())) == 10
    monkeypatch.setattr(calibrating, "MOST_BYTES", 4 * 24 * 3)
    assert len(read(endless())) == 3


def failing() -> Iterator[Tensor]:
    yield IMAGES
    raise FileNotFoundError("no such file: 2.npy")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"must hold at least one input \(got none\)"),
        ([IMAGES[:0]], r"got \(0, 1, 4, 6\) in item 0"),
        (3, r"must be a folder, paths, a batch, or a loader \(got int\)"),
        ([object()], r"must be paths, arrays or tensors \(got object in item 0\)"),
        (["a.png", IMAGES], r"paths, or inputs, throughout \(got Tensor in item 1\)"),
        ([IMAGES, IMAGES[:, :, :3]], r"got \(7, 1, 3, 6\) in item 1\)$"),
        (torch.zeros(2, 4, 6, 1), r"got \(1, 4, 6, 1\) in item 0\); channels.*permute\(2, 0, 1\)"),
        ([torch.zeros(2, 4, 6, 1)], r"channels come first: permute\(0, 3, 1, 2\)"),
        ([IMAGES, IMAGES / 0], r"item 1 holds \d+ values that are NaN or infinite"),
        (failing(), r"failed at item 1: FileNotFoundError: no such file: 2.npy"),
        ([{"a": IMAGES, "b": IMAGES}], r"item 0 has 'a', 'b', of which 2 fit.*call it 'image'"),
        ([{}], r"item 0 has no entries, of which 0 fit"),
    ],
)  # fmt: skip
def test_what_is_no_input_is_told_in_a_line(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(given)


def test_every_fifth_input_is_held_out() -> None:
    found = given_calibration(list(IMAGES[:, None]))
    assert [float(each.mean()) for each in found.held_out_inputs] == [4.0]
    assert [float(each.mean()) for each in found.inputs] == [0, 1, 2, 3, 5, 6]
    assert found.notes == (
        "int8 was calibrated on 7 inputs; 100 that differ are better.",
        "7 of 7 calibration inputs hold one value only.",
    )
    assert range_of(list(IMAGES)) == (0.0, 6.0)


class Narrow(nn.Module):
    """Adds up what lies near 1000: whoever calibrates it on other inputs loses all."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.last(torch.relu(self.first((image - 1000) * 4))))


@pytest.mark.slow
def test_int8_is_judged_on_what_was_held_out(tmp_path: Path, quick_latency: None) -> None:
    """Smooth shapes of the network's whole range are nothing that it will ever see."""
    torch.manual_seed(1)
    images = 1000 + torch.rand(30, 1, 12, 12)
    loader = DataLoader(TensorDataset(images, torch.zeros(30)), batch_size=8)
    files = tc.export(
        Narrow(), tmp_path / "out", example=images[:1], formats=["onnx", "int8"],
        calibration=loader, value_range=(0.0, 2000.0),
    )  # fmt: skip
    assert files.complete
    (link,) = [each for each in files.certificate.links if each.after == "model_int8.onnx"]
    assert {case.input for case in link.parity.cases} == {f"held out {index}" for index in range(6)}
    assert link.on_shapes is not None
    assert link.on_shapes > 0.05
    assert tc.verify(tmp_path / "out", factory=Narrow).passed
