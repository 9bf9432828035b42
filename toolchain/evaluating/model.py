"""A network, or a file of it, as something that an evaluation can run.

All kinds are run alike: an input is what the network itself takes, float32 (1, C, H, W), however
the file lies its axes and whatever type it takes; a picture becomes one as it does on the board.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from toolchain.checking.parity import Outputs, Runner, run_network
from toolchain.checking.pictures import as_fed, board_view
from toolchain.deploy import detect
from toolchain.errors import InputError, ModelError
from toolchain.exporting.io_spec import has_io_spec
from toolchain.lineage.links import open_end
from toolchain.recipe import Recipe
from toolchain.records.run_folder import name_of

Picture: TypeAlias = str | os.PathLike[str] | NDArray[np.uint8]
"""A picture's path, or its pixels (H, W, 3), blue green red, or (H, W), grey."""


class Model:
    """What an evaluation is given: ``model(picture)`` gives all outputs.

    Attributes:
        name: of the file or the weights.
        recipe: what it was made by; ``recipe.task.labels`` and the like.
        outputs: names of the outputs, in their order; none where they are not known.
    """

    def __init__(
        self, name: str, recipe: Recipe, run: Runner, outputs: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.recipe = recipe
        self.outputs = outputs
        self._run = run

    def __call__(self, picture: Picture) -> Outputs:
        """Return all outputs for a picture, in the network's order, each with a batch of 1."""
        return self.run(self.feed(picture))

    def feed(self, picture: Picture) -> NDArray[np.float32]:
        """Return a picture as the network takes it, (1, C, H, W), by the recipe's ``[input]``.

        Raises :class:`InputError` for what is no picture.
        """
        pixels = _pixels(picture)
        size = self.recipe.input.height, self.recipe.input.width
        try:
            tensor, _ = detect.letterbox(pixels, board_view(self.recipe), *size)
        except detect.DetectError as error:
            raise InputError(str(error)) from error
        return np.asarray(tensor, np.float32)

    def run(self, *inputs: Any) -> Outputs:
        """Return all outputs for inputs as the network takes them: arrays or tensors.

        A batch of several is run one by one, as on the board, and its outputs are put together.
        Numbers of 64 bits are narrowed to 32, which is what networks take.
        """
        arrays = [_narrowed(each) for each in inputs]
        batches = {len(each) for each in arrays if each.ndim}
        if len(batches) != 1 or batches == {1}:
            return self._run(*map(_tensor, arrays))
        one_by_one = [
            self._run(*(_tensor(each[index : index + 1]) for each in arrays))
            for index in range(batches.pop())
        ]
        return [np.concatenate(parts) for parts in zip(*one_by_one, strict=True)]


def network_model(
    name: str, recipe: Recipe, network: torch.nn.Module, outputs: tuple[str, ...] = ()
) -> Model:
    """Return a network in memory as a model."""
    return Model(name, recipe, run_network(network.eval()), outputs)


def file_model(path: Path, recipe: Recipe) -> Model:
    """Open a file for a board: ONNX, TFLite, or ncnn.

    Raises :class:`ModelError` if it cannot be opened.
    """
    try:
        run = _with_spec(path, recipe) if _has_spec(path, recipe) else open_end(path, recipe)
    except Exception as error:  # runtimes' errors share no root but Exception
        raise ModelError(f"{path}: cannot be opened ({detect.one_line(error)})") from error
    return Model(name_of(path), recipe, run, _outputs(path))


def _outputs(path: Path) -> tuple[str, ...]:
    """Return the names of a file's outputs, as it says of itself; none if it does not."""
    try:
        names = json.loads(detect.open_network(path, 1).metadata or "{}").get("outputs", ())
    except (detect.DetectError, ValueError, AttributeError):
        return ()
    return tuple(map(str, names))


def _has_spec(path: Path, recipe: Recipe) -> bool:
    return has_io_spec(recipe) and path.suffix != ".param" and path.parent.name != "bare"


def _with_spec(path: Path, recipe: Recipe) -> Runner:
    """Run a file with an I/O spec: it takes pixels, and gives what the recipe says."""
    network = detect.open_network(path, 1)
    specification = detect.specification_of(network)

    def run(image: torch.Tensor) -> Outputs:
        fed: Any = as_fed(image.numpy(), recipe)
        if specification.layout == "NHWC":
            fed = np.ascontiguousarray(fed.transpose(0, 2, 3, 1))
        return list(network.run(specification, fed))

    return run


def _pixels(picture: Picture) -> NDArray[np.uint8]:
    if isinstance(picture, str | os.PathLike):
        try:
            return detect.read_image(Path(picture))
        except detect.DetectError as error:
            raise InputError(str(error)) from error
    pixels = np.asarray(picture)
    if pixels.ndim == 2 and pixels.dtype == np.uint8:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return pixels


def _narrowed(value: Any) -> NDArray[Any]:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
