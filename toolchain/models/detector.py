"""What the toolchain knows of a detector: its description, one record per network.

A detector is one file, ``toolchain/models/NAME.py``, which ends with its record ``DETECTOR``, and
one recipe, ``recipes/NAME.toml``, which has its anchors or its task, its input and the layers that
pruning leaves alone. :func:`register` adds one that lies elsewhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolchain.errors import ModelError
from toolchain.recipe.loading import models_with_recipe

if TYPE_CHECKING:
    from torch import nn

FACES = ("loc", "logits")
"""How exported files call the outputs of a network with anchors."""


@dataclass(frozen=True)
class Detector:
    """A network, what it gives, how its checkpoints were published, and how it learns.

    One whose recipe has anchors gives ``loc`` (N, P, 4) and ``logits`` (N, P, 2).

    Blocks are named by shell patterns over whole module names up to a further dot.
    """

    name: str
    factory: Callable[[], nn.Module]
    """Makes the network with random weights."""
    blocks: tuple[str, ...] = ()
    """Blocks that learn locally from a teacher's; none if it cannot learn from a teacher."""
    features: tuple[str, ...] = ()
    """Blocks whose outputs are features in the end-to-end loss."""
    scores: tuple[str, ...] = ()
    """The convolutions that score, one per level, fine to coarse; the last filter of each is the
    face's. None where levels do not score so."""
    sums: tuple[str, ...] = ()
    """Blocks that end in a sum of what their last layer gives and what they were given."""
    marks: tuple[str, ...] = ()
    """Parameters by whose names its state dict is recognised; all must be there."""
    layouts: tuple[str, ...] = ("flat",)
    """How its checkpoints were published: ``flat`` (a state dict), and ``epoch-weight`` if also
    as {"epoch": ..., "weight": state dict}."""
    outputs: tuple[str, ...] = FACES
    """How exported files call its outputs."""
    convolutions: tuple[str, ...] = ()
    """Its convolutions in the order in which published ONNX files hold them, batch norm folded
    into them; none if it was not published so."""


_REGISTERED: dict[str, Detector] = {}


def register(detector: Detector) -> Detector:
    """Make a detector known by its name, and return it."""
    _REGISTERED[detector.name] = detector
    return detector


def names() -> list[str]:
    """Return the names of all detectors: of those that ship, and of those that were registered."""
    return sorted({*models_with_recipe(), *_REGISTERED})


def find(name: str) -> Detector | None:
    """Return the detector ``name``; None for any other network."""
    if name not in _REGISTERED and name in models_with_recipe():
        _REGISTERED[name] = importlib.import_module(f"toolchain.models.{name}").DETECTOR
    return _REGISTERED.get(name)


def detectors() -> list[Detector]:
    """Return all detectors, by name."""
    return [found for name in names() if (found := find(name)) is not None]


def teachable(name: str) -> Detector:
    """Return the detector ``name``, which can learn from a teacher; or raise."""
    found = find(name)
    if found is None or not found.blocks:
        known = ", ".join(each.name for each in detectors() if each.blocks)
        raise ModelError(
            f"a teacher is known for {known} only (got {name}); its blocks must be named in a "
            f"toolchain.models.detector.Detector"
        )
    return found
