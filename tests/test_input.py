"""What a network is given: (pixel * scale - mean) / std, in every place that feeds one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from board import specification
from test_io_spec import PADS, SIZE, body, link, operators, recipe

from toolchain.checking.inputs import fault_inputs, noise_inputs
from toolchain.checking.pictures import (
    Photo,
    as_floats,
    as_pixels,
    board_view,
    file_view,
    photo_input,
    smooth_input,
)
from toolchain.deploy import detect
from toolchain.errors import RecipeError
from toolchain.exporting.metadata import KEY, Provenance, metadata_of
from toolchain.lineage.calibration import read_calibration
from toolchain.lineage.onnx_io import onnx_with_io
from toolchain.lineage.tflite_io import _Normalising
from toolchain.recipe import InputSection, Recipe, default_recipe, override, parse_recipe
from toolchain.records.stages import Source

TORCHVISION: dict[str, Any] = {
    "input__scale": 0.00392156862745098,
    "input__mean": [0.485, 0.456, 0.406],
    "input__std": [0.229, 0.224, 0.225],
}
WHOLE: dict[str, Any] = {  # pixels of 102, 51 and 0 become zero
    "input__scale": 0.00392156862745098,
    "input__mean": [0.4, 0.2, 0.0],
    "input__std": [0.25, 0.5, 0.2],
}
GRAY: dict[str, Any] = {"input__color_order": "GRAY", "input__mean": [100.0]}
COLOUR = (255, 128, 0)
"""Blue, green, red."""


def detector(which: Recipe) -> dict[str, Any]:
    """The metadata of the recipe's file."""
    source = Source(None, None, None, True, 0)
    found = metadata_of(which, Provenance(source, None, None, None), dynamic=False)
    table: dict[str, Any] = json.loads(found[KEY])
    return table


def picture() -> Photo:
    return Photo("a", np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8))


# The recipe -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (InputSection(), (-123.0, 151.0)),
        (InputSection(mean=(0.0,), scale=1 / 255), (0.0, 1.0)),
        (InputSection(mean=(0.5,), scale=1 / 255, std=(0.5,)), (-1.0, 1.0)),
        (
            InputSection(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            (-2.117904, 2.64),  # -0.485 / 0.229 and (1 - 0.406) / 0.225
        ),
        (InputSection(color_order="GRAY", mean=(55.0,), std=(10.0,)), (-5.5, 20.0)),
        (InputSection(range=(-3.0, 4.0)), (-3.0, 4.0)),
    ],
)
def test_the_range_is_what_black_and_white_become(
    section: InputSection, expected: tuple[float, float]
) -> None:
    assert section.problem() is None
    assert section.given == pytest.approx(expected, abs=1e-6)


def test_one_entry_holds_for_all_channels() -> None:
    section = parse_recipe('model.name = "a:b"\ninput.mean = [0.5]\ninput.std = [2]', "r").input
    assert section.means == (0.5, 0.5, 0.5)
    assert section.stds == (2.0, 2.0, 2.0)
    assert parse_recipe('model.name = "a:b"', "r").input.stds == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("std = [1, 0, 1]", "input.std must be >= 1e-06 and <= 1e+06 (got 0)"),
        ("std = [1, 2]", "input.std must have 1 or 3 entries for RGB (got 2: [1.0, 2.0])"),
        ("std = []", "input.std must have 1 or 3 entries for RGB (got 0: [])"),
        ("scale = 0", "input.scale must be >= 1e-06 and <= 1e+06 (got 0)"),
        ("range = [1, -1]", "input.range must be lowest and highest, [low, high] (got [1.0, -1.0]"),
        ("range = [1]", "input.range must have 2 entries (got 1)"),
        (
            'color_order = "GRAY"',
            "input.mean must have 1 entry for GRAY (got 3: [123.0, 117.0, 104.0])",
        ),
    ],
)
def test_a_wrong_field_is_named(line: str, message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        parse_recipe(f'[model]\nname = "a:b"\n[input]\n{line}\n', "r.toml")
    assert str(refused.value).startswith("r.toml:")
    assert message in str(refused.value)
    field, _, value = line.partition(" = ")
    with pytest.raises(RecipeError, match="command line: input"):
        override(default_recipe("eresfd"), {f"input.{field}": json.loads(value)})


# What the board feeds ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # (0 - .485) / .229, (128 / 255 - .456) / .224, (1 - .406) / .225
        (TORCHVISION, [-2.117904, 0.205182, 2.64]),
        # the same numbers, for blue, green and red: (1 - .485) / .229, ..., -.406 / .225
        (TORCHVISION | {"input__color_order": "BGR"}, [2.248908, 0.205182, -1.804444]),
        # .114 * 255 + .587 * 128 + .299 * 0 = 104.2
        (GRAY, [4.0]),
        ({}, [-123.0, 11.0, 151.0]),
    ],
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_colour_becomes_what_the_recipe_says(
    fields: dict[str, Any], expected: list[float], layout: str
) -> None:
    table = detector(recipe(**fields))
    table["input"]["layout"] = layout
    image = np.full((48, 32, 3), COLOUR, np.uint8)
    tensor, _ = detect.letterbox(image, detect.Specification.from_json(json.dumps(table)), *SIZE)
    planes = tensor if layout == "NCHW" else tensor.transpose(0, 3, 1, 2)
    assert planes.shape == (1, len(expected), *SIZE)
    for plane, value in zip(planes[0], expected, strict=True):
        np.testing.assert_allclose(plane[:, :32], value, atol=1e-5)
        assert not plane[:, 32:].any()


@pytest.mark.parametrize("fields", [{}, TORCHVISION, WHOLE, TORCHVISION | {"input__std": [2.0]}])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_inputs_become_pixels_and_back(fields: dict[str, Any], order: str) -> None:
    which, photo = recipe(**fields, input__color_order=order), picture()
    planes = np.ascontiguousarray(photo.pixels.transpose(2, 0, 1))[None]
    floats = photo_input(photo, which, board_view(which)).image.numpy()
    assert np.array_equal(as_floats(planes, which), floats)
    assert np.array_equal(as_pixels(floats, which), planes)


def test_files_without_a_scale_read_as_before() -> None:
    found = specification()
    assert (found.schema, found.scale, found.std) == (1, 1.0, (1.0, 1.0, 1.0))
    plain = detector(recipe())
    assert plain["schema"] == 1
    assert not {"scale", "std"} & set(plain["input"])


def test_files_with_a_scale_are_refused_by_programs_that_know_none() -> None:
    table = detector(recipe(**TORCHVISION))
    assert table["schema"] == 3
    found = detect.Specification.from_json(json.dumps(table))
    assert (found.scale, found.std) == (0.00392156862745098, (0.229, 0.224, 0.225))
    assert detector(recipe(**GRAY))["schema"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": [1.0, 0.0, 1.0]}, "'input.std' must be numbers above zero"),
        ({"std": [1.0]}, "'input.std' must be three numbers"),
        ({"scale": None}, "'input.scale' must be a number above zero"),
        ({"color_order": "GRAY"}, "'input.mean' must be one number for GRAY"),
    ],
)
def test_metadata_of_a_scale_are_checked(change: dict[str, Any], message: str) -> None:
    table = detector(recipe(**TORCHVISION))
    table["input"] |= change
    with pytest.raises(detect.DetectError, match=message):
        detect.Specification.from_json(json.dumps(table))


# Files that take pixels -------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("pads", [[2, 2, 2, 2], [2, 0, 0, 4], [0, 3, 4, 0]])
def test_scale_and_std_are_folded_where_a_pixel_becomes_zero(
    tmp_path: Path, order: str, pads: list[int]
) -> None:
    which = recipe(**WHOLE, input__dtype="uint8", input__color_order=order)
    with_io = onnx_with_io(body({"pads": pads}), which)
    assert "Transpose" not in operators(with_io)[:5]
    found = link(tmp_path, body({"pads": pads}), with_io, which)
    assert found.passed
    assert found.worst is not None
    assert found.worst < 1e-5
    view = file_view(which)
    colour = (0.0, 51.0, 102.0) if order == "RGB" else (102.0, 51.0, 0.0)
    assert (view.mean, view.scale, view.color_order) == (colour, 1.0, "BGR")


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_where_no_pixel_becomes_zero_operators_scale(tmp_path: Path, order: str) -> None:
    which = recipe(**TORCHVISION, input__dtype="uint8", input__color_order=order)
    with_io = onnx_with_io(body(PADS), which)
    red_first = ["Gather"] if order == "RGB" else []
    expected = ["Transpose", *red_first, "DequantizeLinear", "Sub"]
    assert operators(with_io)[: len(expected)] == expected
    found = link(tmp_path, body(PADS), with_io, which)
    assert found.passed
    assert found.worst is not None
    assert found.worst < 1e-5


def test_an_io_spec_without_its_scale_breaks_its_link(tmp_path: Path) -> None:
    which = recipe(**WHOLE, input__dtype="uint8")
    other = recipe(**WHOLE | {"input__std": [0.25, 0.5, 0.19]}, input__dtype="uint8")
    assert not link(tmp_path, body(PADS), onnx_with_io(body(PADS), other), which).passed


def test_files_that_take_pixels_say_nothing_of_scales() -> None:
    import onnx

    model = onnx.load_from_string(
        onnx_with_io(body(PADS), recipe(**TORCHVISION, input__dtype="uint8"))
    )
    (text,) = (entry.value for entry in model.metadata_props if entry.key == KEY)
    found = detect.Specification.from_json(text)
    # 255 * .406 = 103.5, in float32 a little more; 255 * .456 = 116.28; 255 * .485 = 123.675
    assert (found.schema, found.mean, found.scale) == (2, (104.0, 116.0, 124.0), 1.0)


@pytest.mark.parametrize("fields", [{}, TORCHVISION, WHOLE])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_the_front_of_a_tflite_file_gives_what_photos_become(
    fields: dict[str, Any], order: str
) -> None:
    which = recipe(**fields, input__color_order=order)
    pixels = picture().pixels[None]
    found = _Normalising(which)(torch.from_numpy(pixels)).numpy().transpose(0, 3, 1, 2)
    expected = as_floats(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), which)
    np.testing.assert_allclose(found, expected, atol=1e-6 if fields else 0)


# Synthetic inputs -------------------------------------------------------------------------------


def test_synthetic_inputs_lie_in_the_recipes_range() -> None:
    given = (-2.0, 4.0)
    example = torch.zeros(1, 3, 40, 56)
    smooth = smooth_input(example, 0, given).image
    assert (float(smooth.min()), float(smooth.max())) == given  # clipped at both ends
    (noise,) = noise_inputs([(1, 3, 100, 100)], 0, given)
    assert float(noise.image.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(noise.image.std()) == pytest.approx(1.5, rel=0.02)
    found = {each.name: each.image for each in fault_inputs(example, 0, given)}
    assert set(found["bright"].unique().tolist()) == {4.0}
    assert set(found["dark"].unique().tolist()) == {-2.0}
    assert (float(found["a ramp"].min()), float(found["a ramp"].max())) == given
    assert float(found["a bright pixel in the middle"].max()) == 4.0


def test_synthetic_calibration_lies_in_the_recipes_range() -> None:
    which = recipe(**TORCHVISION)
    low, high = which.input.given
    found = read_calibration(None, which, torch.zeros(1, 3, *SIZE))
    assert min(float(image.min()) for image in found.inputs) == pytest.approx(low, abs=1e-5)
    assert max(float(image.max()) for image in found.inputs) == pytest.approx(high, abs=1e-5)


# Training ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, TORCHVISION, GRAY, {"input__color_order": "BGR"}])
def test_crops_are_fed_as_photos_are(fields: dict[str, Any]) -> None:
    from toolchain.train.batches import _Collate, _Feed
    from toolchain.train.crops import Crop

    which, photo = recipe(**fields), picture()
    crop = Crop(photo.pixels, np.zeros((0, 4), np.float32))
    pixels, _, _ = _Collate(None, which.input)([crop])
    expected = photo_input(photo, which, board_view(which)).image
    torch.testing.assert_close(_Feed(which.input, "cpu")(pixels), expected, rtol=0, atol=1e-6)
