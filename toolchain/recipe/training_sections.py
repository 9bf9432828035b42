"""What a recipe says of training: by labels, by a teacher, and on which crops."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from toolchain.recipe.checking import Range, Section
from toolchain.recipe.numbers import Positive, Share

Epochs = typing.Annotated[int, Range(0, 100_000)]


@dataclass(frozen=True)
class TrainSection(Section, name="train"):
    """Training by the data set's own faces: soft filter pruning, then the zeros held.

    The values are those of "Filter-Pruning of Lightweight Face Detectors Using a Geometric Median
    Criterion" (WACV workshops 2024), but for ``batch``, which it does not tell.
    """

    epochs: Epochs = 200
    """With soft filter pruning: what was zeroed may come back."""
    choose_every: typing.Annotated[int, Range(1, 100_000)] = 1
    """Epochs after which filters are chosen anew and zeroed. The paper says 1; the scripts that
    were published with it use 5."""
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Positive = 1e-3
    momentum: Share = 0.9
    """Momentum of ``sgd``."""
    weight_decay: typing.Annotated[float, Range(0, 1)] = 5e-4
    drops: tuple[Epochs, ...] = (50, 100)
    """Epochs at which the learning rate is multiplied by ``drop_factor``."""
    drop_factor: Positive = 0.1
    hold_epochs: Epochs = 10
    """After the soft ones, with the zeros held."""
    hold_learning_rate: Positive = 1e-3
    hold_drops: tuple[Epochs, ...] = (5,)
    """The same as ``drops``, counted from where the zeros are held."""
    batch: typing.Annotated[int, Range(1, 4096)] = 16
    """Crops in a step."""


@dataclass(frozen=True)
class CropSection(Section, name="crops"):
    """How the square crops that a network learns from are drawn; shares are probabilities."""

    side: typing.Annotated[int, Range(16, 8192)] = 480
    """Pixels of a crop's side. In smaller crops the coarsest levels are all border."""
    near_face: Share = 0.4
    """Share of crops that are centred near a face, scaled to a side drawn from ``face_sides``."""
    face_sides: tuple[Positive, Positive] = (8.0, 390.0)
    """Pixels, smallest and largest, drawn evenly on a logarithmic scale."""
    own_scale: Share = 0.6
    """Share of the other crops that keep the photo's scale; the rest draw from ``scales``."""
    scales: tuple[Positive, Positive] = (0.35, 1.6)
    """Smallest and largest."""
    smallest_face: typing.Annotated[float, Range(0, 8192)] = 6.0
    """Pixels: smaller faces of a crop are no targets."""
    brightness: typing.Annotated[float, Range(0, 255)] = 24.0
    """Largest shift of all colours, of 255."""
    contrast: Share = 0.2
    """Largest change of the contrast, as a share."""
    saturation: Share = 0.3
    """Largest change of the saturation, as a share."""


@dataclass(frozen=True)
class TeachSection(Section, name="teach"):
    """Training with a teacher: block by block first, then end to end."""

    batch: typing.Annotated[int, Range(1, 4096)] = 1
    """Crops in a step."""
    local_share: typing.Annotated[float, Range(0, 1)] = 0.4
    """Of the crops, learnt from block by block."""
    local_share_warm_start: typing.Annotated[float, Range(0, 1)] = 0.2
    """The same, of a training that starts from weights: blocks learn to do without what goes."""
    layer_share: typing.Annotated[float, Range(0, 1)] = 0.0
    """Of what is learnt block by block, what is learnt layer by layer before it; batch norm is
    frozen from the start then."""
    solved: typing.Annotated[int, Range(0, 1_000_000)] = 0
    """Further crops, at the start of a training from random weights, by which all layers are solved
    in closed form; batch norm is frozen from the start then."""
    recalibration_share: typing.Annotated[float, Range(0, 0.5)] = 0.1
    """Of the crops, at the start, with batch norm by the batch; then it is averaged and frozen."""
    recalibration_share_warm_start: typing.Annotated[float, Range(0, 0.5)] = 0.05
    """The same, of a training that starts from weights; at most what is learnt block by block."""
    local_rate: Positive = 1e-2
    """Adam's learning rate block by block; falls to zero as a cosine, as the next one does."""
    local_rate_warm_start: Positive = 3e-3
    """The same, of a training that starts from weights."""
    joint_rate: Positive = 8e-4
    """End to end."""
    features: typing.Annotated[float, Range(0, 1000)] = 10.0
    """Weight of the teacher's features, end to end; in the last quarter a tenth of it."""
    labels: typing.Annotated[float, Range(0, 100)] = 0.0
    """Weight of the data set's own faces beside the teacher's word, end to end."""
    soft_share: typing.Annotated[float, Range(0, 0.95)] = 0.0
    """Of the end-to-end steps, with soft filter pruning: filters are chosen anew, zeroed, and may
    come back. 0 chooses once, in the teacher, before the first step."""
    choices: typing.Annotated[int, Range(1, 10_000)] = 10
    """How often filters are chosen in that share."""
