"""What both ends of a link are given: noise, faults, shapes, photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.checking.inputs import fault_inputs, noise, of_each
from toolchain.checking.parity import ProofInput
from toolchain.checking.pictures import Photo, board_view, photo_input, smooth_input
from toolchain.checking.proofs import Pair
from toolchain.lineage.calibration import Calibration
from toolchain.recipe import Recipe

COMPARED_PHOTOS = 8
"""At most so many photos, or inputs that were held out, are inputs of an approximate link."""
NEW_SHAPES = 4
"""So many where there are no photos."""
DECIDING = 64
"""At most so many inputs on which decisions are counted."""


@dataclass(frozen=True)
class LinkInputs:
    """Inputs of a run's links; photos are those held out from calibration, and the run's own."""

    pair: Pair
    recipe: Recipe
    calibration: Calibration | None

    @property
    def photos(self) -> tuple[Photo, ...]:
        """All photos, on which boxes are compared."""
        held_out = self.calibration.held_out if self.calibration else ()
        return (*held_out, *self.pair.photos)

    def of_exact(self) -> list[ProofInput]:
        """Return the inputs of an exact link."""
        example, seed = self.pair.example, self.recipe.model.seed
        given = self.recipe.input.given
        return [
            *noise([example], seed, given),
            *of_each(example, lambda image, index: fault_inputs(image, seed + index, given)),
            *self.shapes(1),
            *self._shown(),
        ]

    def of_approximate(self) -> list[ProofInput]:
        """Return the inputs of an approximate link: like photos."""
        return self._shown() or self.shapes(NEW_SHAPES)

    def deciding(self) -> list[ProofInput]:
        """Return inputs on which decisions are counted: photos, or shapes; those int8 learnt last.

        Networks that find boxes are judged by these.
        """
        if self.recipe.anchors is not None:
            return []
        learnt = self.calibration.inputs if self.calibration else ()
        is_photos = self.calibration is not None and self.calibration.facts.kind == "photos"
        shown = [*self._held_out(DECIDING), *self._fed(self.pair.photos)]
        more = [ProofInput(f"calibration {index}", (image,)) for index, image in enumerate(learnt)]
        return [*shown, *more][:DECIDING] if is_photos else self.shapes(DECIDING)

    def shapes(self, count: int) -> list[ProofInput]:
        """Return smooth shapes at the recipe's size, none of which int8 is calibrated on."""
        seed, given = self.recipe.model.seed, self.recipe.input.given
        return of_each(
            self.pair.example,
            lambda image, other: [
                smooth_input(image, seed + other + index, given) for index in range(count)
            ],
        )

    @property
    def is_judged_on_own(self) -> bool:
        """True where a network of one's own is judged on what was held out from calibration."""
        found = self.calibration
        held_out = found is not None and bool(found.held_out or found.held_out_inputs)
        return self.recipe.anchors is None and held_out

    def _shown(self) -> list[ProofInput]:
        if self.recipe.anchors is None:
            return self._held_out(COMPARED_PHOTOS)
        return self._fed(self.photos[:COMPARED_PHOTOS])

    def _held_out(self, most: int) -> list[ProofInput]:
        """Return what was held out from calibration: photos as they are fed, or inputs."""
        if self.calibration is None:
            return []
        ready = enumerate(self.calibration.held_out_inputs[:most])
        inputs = [ProofInput(f"held out {index}", (each,)) for index, each in ready]
        return [*self._fed(self.calibration.held_out[:most]), *inputs]

    def _fed(self, photos: Sequence[Photo]) -> list[ProofInput]:
        view = board_view(self.recipe)
        return [photo_input(photo, self.recipe, view) for photo in photos]
