"""A file on its own made ready for a bundle: given what ``detect.py`` reads, by a recipe.

The copy is one file, of one size, with metadata that say how pictures are fed and what the outputs
mean. A file that has such metadata already stays as it is.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx

from toolchain.bench.entries import Entry, entries_of, is_channels_last
from toolchain.bench.external import whole_sha256
from toolchain.bench.feeds import Told, feed_of
from toolchain.bench.runs import PACKAGES
from toolchain.deploy import detect
from toolchain.errors import InputError, first_line
from toolchain.exporting.metadata import KEY, Provenance, metadata_of
from toolchain.exporting.onnx_file import set_metadata
from toolchain.exporting.task_metadata import Ends
from toolchain.recipe import Recipe, default_recipe
from toolchain.records.certificate import companions_of
from toolchain.records.run_folder import NCNN, ONNX, name_of
from toolchain.records.stages import Source

PLAIN = "file:alone"
"""The model of the recipe that stands in where none is given."""
MOST_BYTES = 2**31 - 2**20
"""Of one ONNX file; protobuf holds no more."""


@dataclass(frozen=True)
class Ready:
    """A file that the board's program can run."""

    path: Path
    recipe: Recipe
    card: bytes
    """What the bundle tells of it."""


def made_ready(path: Path, recipe: Recipe | None, told: Told, folder: Path) -> Ready:
    """Write a file into ``folder`` as the board's program takes it; see the module.

    Raises :class:`InputError` where the file cannot be run, or where nobody says how a picture is
    fed to it.
    """
    if path.suffix not in PACKAGES:
        raise InputError(f"{path}: is no model file; give an ONNX, a TFLite or an ncnn file")
    card = _card(path)
    if _has_metadata(path):
        if recipe is not None or not told.says_nothing:
            raise InputError(
                f"{path.name}: says itself what it takes and gives; leave out --recipe, --size, "
                f"--input-shape and --inputs"
            )
        return Ready(_copied(path, folder), default_recipe(PLAIN), card)
    if path.suffix != ".onnx":
        raise InputError(
            f"{path.name}: has no metadata, which are written into ONNX files alone; give the ONNX "
            f"file that it was made of"
        )
    feed = feed_of(path, told)
    shapes = [tuple(map(int, array.shape)) for array in feed.arrays]
    entries = entries_of(path)
    wanted = _recipe_for(path, recipe, entries, shapes)
    model = _whole(path, entries, shapes)
    set_metadata(model, _metadata(path, wanted, model, entries, shapes))
    made = folder / ONNX
    try:
        onnx.save(model, made)
    except ValueError as error:
        raise InputError(f"{path.name}: cannot be written ({first_line(error)})") from error
    return Ready(made, wanted, card)


def _has_metadata(path: Path) -> bool:
    try:
        return detect.open_network(path, 1).metadata is not None
    except detect.DetectError:
        return False  # what is wrong with it is told where it is run


def _copied(path: Path, folder: Path) -> Path:
    """Copy a file, with those that belong to it, under the name that an output folder has."""
    name = {".onnx": ONNX, ".tflite": "model.tflite", ".param": NCNN}[path.suffix]
    made = folder / name
    made.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, made)
    for each in companions_of(path.name):
        shutil.copyfile(path.with_name(each), made.with_name(each))
    return made


def _whole(path: Path, entries: list[Entry], shapes: list[tuple[int, ...]]) -> Any:
    """Return the model with all its weights inside, and its inputs of these shapes."""
    model: Any = onnx.load(path)
    if model.ByteSize() > MOST_BYTES:
        raise InputError(f"{path.name}: is larger than the 2 GB that one ONNX file holds")
    by_name = {each.name: each for each in model.graph.input}
    for entry, shape in zip(entries, shapes, strict=True):
        for side, length in zip(by_name[entry.name].type.tensor_type.shape.dim, shape, strict=True):
            side.dim_value = length
    return model


def _picture(entries: list[Entry], shapes: list[tuple[int, ...]]) -> tuple[int, int, int] | None:
    """Return channels, height and width of the only input, if that may be a picture's floats."""
    if len(entries) != 1 or entries[0].dtype != "float32" or len(shapes[0]) != 4:
        return None
    _, *sides = shapes[0]
    channels, height, width = (sides[2], *sides[:2]) if is_channels_last(shapes[0]) else sides
    return (channels, height, width) if channels in (1, 3) and shapes[0][0] == 1 else None


def _recipe_for(
    path: Path, recipe: Recipe | None, entries: list[Entry], shapes: list[tuple[int, ...]]
) -> Recipe:
    picture = _picture(entries, shapes)
    if recipe is None:
        if picture is not None:
            raise InputError(
                f"{path.name}: how a photo becomes its input ({entries[0].words}) is not known; "
                f"give a recipe by --recipe whose [input] says scale, mean, std and color_order, "
                f'and whose [task] says what the outputs mean (kind = "raw": arrays)'
            )
        return default_recipe(PLAIN)
    if picture is None:
        return recipe
    channels, height, width = picture
    if channels != recipe.input.channels:
        raise InputError(
            f"{path.name}: takes {channels} channels, and color_order = "
            f"{recipe.input.color_order!r} of the recipe's [input] gives {recipe.input.channels}"
        )
    return dataclasses.replace(
        recipe, input=dataclasses.replace(recipe.input, height=height, width=width, dtype="float32")
    )


def _metadata(
    path: Path, recipe: Recipe, model: Any, entries: list[Entry], shapes: list[tuple[int, ...]]
) -> Mapping[str, str]:
    outputs = tuple(str(each.name) for each in model.graph.output)
    last = _picture(entries, shapes) is not None and is_channels_last(shapes[0])
    layout: Literal["NCHW", "NHWC"] = "NHWC" if last else "NCHW"
    ends = Ends(
        tuple(
            (entry.name, (shape[0], shape[3], *shape[1:3]) if last else shape, entry.dtype)
            for entry, shape in zip(entries, shapes, strict=True)
        ),
        outputs,
    )
    source = Source(path.name, "", whole_sha256(path), trained=True, seed=recipe.model.seed)
    origin = Provenance(source, None, None, None)
    found = metadata_of(recipe, origin, dynamic=False, layout=layout, ends=ends)
    content = json.loads(found[KEY])
    content["model"] = path.stem
    picture = _picture(entries, shapes)
    if recipe.anchors is None and picture is None:
        content["input"] = None  # of whole numbers, or of several pictures: arrays are fed
    if recipe.anchors is not None:
        if len(outputs) != 2 or picture is None:
            raise InputError(
                f"{path.name}: [anchors] of the recipe are for one picture of floats and two "
                f"outputs, boxes and logits of two classes (it takes {entries[0].words} and gives "
                f"{', '.join(outputs)}); say what it gives by [task]"
            )
        content["input"]["name"], content["outputs"] = entries[0].name, list(outputs)
    return {KEY: json.dumps(content, sort_keys=True)}


def _card(path: Path) -> bytes:
    return (
        f"# {path.stem}\n\n{name_of(path)}, of SHA-256 `{whole_sha256(path)}`, was not made by the "
        "toolchain, or lies outside its output folder: what it is good at, and under which terms "
        "it may be used, is known to those who brought it.\n"
    ).encode()
