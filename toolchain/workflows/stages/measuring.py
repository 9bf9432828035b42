"""The stage that measures: what both networks cost, and what they find on photos."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.checking.cost import measure_cost
from toolchain.checking.latency import compare_latency
from toolchain.checking.parity import run_network, run_onnx
from toolchain.checking.pictures import compare_on_photo
from toolchain.records.parity import Parity
from toolchain.records.stages import Cost, Latency, PhotoComparison
from toolchain.workflows.stages.exporting import BEFORE, Exported
from toolchain.workflows.stages.origin import specification_of


@dataclass(frozen=True)
class Measured:
    """What the file and the network behind it cost."""

    exported: Exported
    parity: Parity
    """The ONNX file's parity with the shrunk network."""
    before: Cost
    after: Cost
    latency: Latency
    photos: tuple[PhotoComparison, ...]


def measure(exported: Exported, parity: Parity) -> Measured:
    """Count parameters and MACs, compare times, and look at photos; takes the file before away."""
    pair, beside = exported.shrunk.pair, exported.folder / BEFORE
    before, after = (measure_cost(network, pair.example) for network in exported.folded)
    example = [tensor.numpy() for tensor in pair.example]
    latency = compare_latency(beside, exported.after, example)
    photos = _compare_photos(exported)
    beside.unlink()
    return Measured(exported, parity, before, after, latency, photos)


def _compare_photos(exported: Exported) -> tuple[PhotoComparison, ...]:
    loaded, pair = exported.shrunk.loaded, exported.shrunk.pair
    if loaded.recipe.anchors is None:
        return ()
    view = specification_of(loaded)
    sides = run_network(pair.soft), run_onnx(exported.after)
    return tuple(compare_on_photo(photo, *sides, loaded.recipe, view) for photo in pair.photos)
