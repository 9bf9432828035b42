"""Calibration as Python gives it: loaders of all kinds, and one line for what is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import toolchain as tc
from toolchain.errors import InputError
from toolchain.library import calibrating
from toolchain.library.calibrating import range_of, read_given
from toolchain.lineage.calibration import given_calibration, read_calibration
from toolchain.recipe import parse_recipe

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


@pytest.mark.parametrize("fit", ["letterbox", "stretch", "crop"])
@pytest.mark.parametrize("order", ["RGB", "BGR", "GRAY"])
def test_a_folder_is_fed_as_the_recipe_says(order: str, fit: str, tmp_path: Path) -> None:
    """x = (pixel * scale - mean) / std by channel; a wide photo, red at the left, else blue."""
    pixels = np.zeros((20, 80, 3), np.uint8)
    pixels[:, :40, 2], pixels[:, 40:, 0] = 200, 100
    cv2.imwrite(str(tmp_path / "wide.png"), pixels)
    recipe = parse_recipe(
        f'[model]\nname = "a:b"\n[input]\nheight = 20\nwidth = 40\ncolor_order = "{order}"\n'
        f'fit = "{fit}"\nscale = 0.01\nmean = [0.5]\nstd = [0.25]\n',
        "r.toml",
    )
    channels = 1 if order == "GRAY" else 3
    (found,) = read_calibration(tmp_path, recipe, torch.zeros(1, channels, 20, 40)).inputs
    image = found[0].numpy()
    assert (image.shape, image.dtype) == ((channels, 20, 40), np.float32)
    shown = {"letterbox": (5, 9), "stretch": (5, 17), "crop": (5, 17)}[fit]
    red = {"RGB": [200, 0, 0], "BGR": [0, 0, 200], "GRAY": [0.299 * 200]}[order]
    expected = (np.array(red) * 0.01 - 0.5) / 0.25
    assert image[:, shown[0], shown[1]] == pytest.approx(expected, abs=0.03)
    if fit == "letterbox":  # what is left over is zero, below 10 rows of picture
        assert (image[:, 10:] == 0).all()
    else:
        blue = {"RGB": [0, 0, 100], "BGR": [100, 0, 0], "GRAY": [0.114 * 100]}[order]
        assert image[:, 19, 22] == pytest.approx((np.array(blue) * 0.01 - 0.5) / 0.25, abs=0.03)
