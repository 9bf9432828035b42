"""From a path to a model that can be evaluated, and to the recipe that says how.

what is given                          whose recipe
an output folder of the toolchain      its certificate's; its model.safetensors is run
a file of an output folder             the same
weights, or a file on its own          the one that is given, or the network's by name
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from toolchain.errors import InputError, ModelError
from toolchain.recipe import Recipe, default_recipe
from toolchain.records.certificate import companions_of
from toolchain.records.run_folder import (
    BOARD_SUFFIXES,
    CERTIFICATE,
    MANIFEST,
    ONNX,
    WEIGHTS,
    RunFolder,
    model_file,
    name_of,
)
from toolchain.system.files import sha256_of

if TYPE_CHECKING:
    from toolchain.evaluating.model import Model

Kind = Literal["network", "onnx", "tflite", "ncnn"]
KINDS: dict[str, Kind] = {".onnx": "onnx", ".tflite": "tflite", ".param": "ncnn"}


@dataclass(frozen=True)
class ModelPlan:
    """What is to be evaluated, before it is opened."""

    path: Path
    """Of a file for a board, or of weights."""
    recipe: Recipe

    @property
    def name(self) -> str:
        """What results call it: where a folder's files have all one name, with the folder's."""
        name = name_of(self.path)
        if not self.path.name.startswith("model"):
            return name
        folder = self.path.absolute().parent
        return f"{folder.parent.name}/{name}" if name != self.path.name else f"{folder.name}/{name}"

    @property
    def kind(self) -> Kind:
        """By its suffix."""
        return KINDS.get(self.path.suffix, "network")

    @property
    def sha256(self) -> str:
        """Of the file, and of those without which it is nothing: an ncnn file's weights."""
        beside = [self.path.with_name(name) for name in companions_of(self.path.name)]
        if not beside:
            return sha256_of(self.path)
        every = [sha256_of(path) for path in (self.path, *beside) if path.is_file()]
        return hashlib.sha256("".join(every).encode()).hexdigest()

    def open(self) -> Model:
        """Open it; raises :class:`ModelError` for what cannot be opened, or does not fit."""
        from toolchain.evaluating.model import file_model, network_model
        from toolchain.zoo.sources import load_network

        if self.kind != "network":
            return file_model(self.path, self.recipe)
        try:
            loaded = load_network(self.recipe, self.path)
        except InputError as error:
            onnx = self.path.with_name(ONNX)
            if not onnx.is_file():
                raise
            raise ModelError(f"{error}; {onnx} needs no code of the network's") from error
        return network_model(self.name, loaded.recipe, loaded.network, loaded.outputs)


def plan_model(path: Path, recipe: Recipe | None = None, model: str | None = None) -> ModelPlan:
    """Tell what ``path`` is, and by which recipe it is evaluated.

    ``recipe`` is of files that are in no output folder; of those that are, its ``[evaluate]``
    takes the place of the folder's. Raises :class:`InputError`.
    """
    path = _file_of(path)
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such file or folder; give weights, a folder that shrink wrote, "
            f"or an ONNX, TFLite or ncnn file"
        )
    folder = folder_of(path)
    if folder is not None:
        found = folder.certificate.recipe
        folder.demand_unchanged([path.absolute().relative_to(folder.path).as_posix()])
        if recipe is not None:
            found = dataclasses.replace(found, evaluate=recipe.evaluate)
        return ModelPlan(path, found)
    if recipe is None and path.suffix in BOARD_SUFFIXES and model is None:
        raise InputError(
            f"{path}: lies in no output folder, so nothing tells what it is given; give the recipe "
            f"that it was made by, with --recipe"
        )
    from toolchain.models.layouts import known_model

    return ModelPlan(path, recipe or default_recipe(known_model(path, model)))


def _file_of(path: Path) -> Path:
    """Return what is run: an output folder's weights, or the file that stands for an ncnn file."""
    return path / WEIGHTS if (path / MANIFEST).is_file() else model_file(path)


def folder_of(path: Path) -> RunFolder | None:
    """Return the output folder that is given, or that knows a file; None if there is none."""
    path = _file_of(path)
    for folder in list(path.absolute().parents)[:3]:
        if (folder / CERTIFICATE).is_file():
            run = RunFolder.open(folder)
            name = path.absolute().relative_to(folder).as_posix()
            if any(file.name == name for file in run.certificate.files):
                return run
    return None
