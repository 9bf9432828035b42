"""The stages of the surgery and of its proof."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from toolchain.checking.inputs import of_each
from toolchain.checking.parity import ProofInput
from toolchain.checking.pictures import Photo, board_view, photo_input, smooth_input, takes_photos
from toolchain.checking.proofs import Pair, SurgeryProof, prove_surgery
from toolchain.models.sizes import Example
from toolchain.pruning.removal import account
from toolchain.surgery.removing import cut
from toolchain.workflows.stages.origin import specification_of
from toolchain.workflows.stages.zeroing import Zeroed
from toolchain.zoo.sources import Loaded


@dataclass(frozen=True)
class Shrunk:
    """A network before and after its surgery, proved to be the same function."""

    loaded: Loaded
    pair: Pair
    proof: SurgeryProof


def make_pair(zeroed: Zeroed, look: Example, photos: tuple[Photo, ...] = ()) -> Pair:
    """Cut; raises :class:`~toolchain.errors.AnalysisError`."""
    loaded, soft = zeroed.loaded, zeroed.soft
    made = cut(soft, look)
    removal = account(loaded.network, soft, made.surgery, zeroed.asked)
    return Pair(
        soft,
        made.network,
        made.exact,
        dataclasses.replace(made.surgery, removal=removal),
        loaded.example,
        look,
        photos,
        tuple(_pictures(loaded, photos)),
        loaded.outputs,
    )


def _pictures(loaded: Loaded, photos: tuple[Photo, ...]) -> list[ProofInput]:
    """Return smooth shapes, and photos where the network takes such."""
    recipe, example = loaded.recipe, loaded.example
    seed, given = recipe.model.seed, recipe.input.given
    shapes = of_each(example, lambda image, index: [smooth_input(image, seed + index, given)])
    if recipe.anchors is not None:
        view = specification_of(loaded)
    elif takes_photos(example):
        view = board_view(recipe)
    else:
        return shapes
    return [*shapes, *(photo_input(photo, recipe, view) for photo in photos)]


def prove(zeroed: Zeroed, pair: Pair) -> Shrunk:
    """Prove the surgery; raises :class:`~toolchain.errors.ParityError`."""
    return Shrunk(zeroed.loaded, pair, prove_surgery(pair, zeroed.loaded.recipe))
