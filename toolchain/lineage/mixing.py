"""int8 where it holds, float where it must be: which layers cost most, and how many stay in float.

All of a file goes to int8 first. Where that breaks the link, each layer is put into int8 alone, the
worst of them stay in float, and more of them until the link holds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from toolchain.checking.parity import Outputs, ProofInput, compare_outputs
from toolchain.exporting.units import Quantiser
from toolchain.lineage.links import LEAST_OF_INT8, open_end
from toolchain.recipe import Recipe
from toolchain.records.certificate import Attempt, LayerNoise, Link, MixedPrecision

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of the layers, kept in float one after the other until the link holds."""

MakeLink = Callable[[bytes, str], Link]
"""Writes an int8 file and measures its link; the text says what is in float."""


def mixed_link(
    quantiser: Quantiser, make: MakeLink, noises: Callable[[], tuple[LayerNoise, ...]]
) -> Link:
    """Return the link of the first file that holds, or of the last that does not.

    ``noises`` is asked for every layer, the worst first, if all in int8 does not hold.
    """
    data = quantiser.quantised(quantiser.operators)
    link = make(data, "")
    if link.passed:
        return link
    attempts = [_attempt(0, data, link)]
    layers = noises()
    of_layer = {unit.name: unit.operators for unit in quantiser.units}
    for share in SHARES:
        count = math.ceil(share * len(layers))
        kept = {name for layer in layers[:count] for name in of_layer[layer.layer]}
        data = quantiser.quantised([name for name in quantiser.operators if name not in kept])
        link = make(data, f"{count} of {len(layers)} layers in float")
        attempts.append(_attempt(count, data, link))
        if link.passed:
            break
    marked = [
        dataclasses.replace(layer, in_float=index < count) for index, layer in enumerate(layers)
    ]
    return dataclasses.replace(link, mixed_precision=MixedPrecision(tuple(marked), tuple(attempts)))


def _attempt(count: int, data: bytes, link: Link) -> Attempt:
    return Attempt(count, len(data), link.mean, link.lost, link.problems)


def layer_noises(
    quantiser: Quantiser, source: Path, recipe: Recipe, images: Sequence[Tensor], room: Path
) -> tuple[LayerNoise, ...]:
    """Return what each layer alone in int8 costs on inputs (1, C, H, W), the worst first.

    ``room`` is a folder for what lies between.
    """
    before = open_end(source, recipe)
    shown = [ProofInput(f"input {index}", (image,)) for index, image in enumerate(images)]
    expected = [before(image) for image in images]
    found = []
    alone = room / f"alone{source.suffix}"
    for unit in quantiser.units:
        alone.write_bytes(quantiser.quantised(unit.operators))
        after = open_end(alone, recipe)
        noises = [
            _noise(proof, outputs, after(proof.image), recipe)
            for proof, outputs in zip(shown, expected, strict=True)
        ]
        found.append(LayerNoise(unit.name, max(noises), in_float=False))
    return tuple(sorted(found, key=lambda layer: -layer.noise))


def _noise(proof: ProofInput, before: Outputs, after: Outputs, recipe: Recipe) -> float:
    """Return the largest mean difference of channels of one scale, as a share of their range."""
    limit = recipe.proof.int8_limit
    case = compare_outputs(proof, before, after, limit=limit, least_range=LEAST_OF_INT8)
    share = case.mean.share(limit)
    return math.inf if share is None else share
