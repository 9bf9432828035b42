"""The published checkpoints: nothing is lost, and as much goes as is known to be possible."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolchain.checking.cost import measure_cost
from toolchain.checking.parity import ProofInput, compare, random_inputs, run_network
from toolchain.checking.pictures import photo_input, read_photos
from toolchain.deploy import detect
from toolchain.exporting.metadata import KEY, Provenance, metadata_of
from toolchain.recipe import Recipe, default_recipe, override
from toolchain.records.stages import Source
from toolchain.surgery.removing import shrink
from toolchain.zoo.sources import load_network

AT_MOST = {
    "upstream/eresfd": 91_342,
    "upstream/extd/EXTD_64.pth": 159_536,
    "paper/eresfd/ERES.pth": 91_342,
    "paper/eresfd/ERES10_FPGM.pth": 87_296,
    "paper/eresfd/ERES20_FPGM.pth": 81_244,
    "paper/eresfd/ERES30_FPGM.pth": 75_721,
    "paper/eresfd/ERES40_FPGM.pth": 66_824,
    "paper/eresfd/ERES50_FPGM.pth": 56_042,
    "paper/eresfd/ERES50_L1.pth": 56_042,
    "paper/extd/EXTD.pth": 159_536,
    "paper/extd/EXTD10_FPGM.pth": 149_250,
    "paper/extd/EXTD20_FPGM.pth": 138_408,
    "paper/extd/EXTD30_FPGM.pth": 127_844,
    "paper/extd/EXTD40_FPGM.pth": 112_832,
    "paper/extd/EXTD50_FPGM.pth": 106_160,
}
"""Checkpoint -> deployed parameters that an exact surgery is known to reach."""

EXAMPLE = torch.zeros(1, 3, 128, 160)
SHAPES = [
    (2, 3, 160, 160),
    (1, 3, 192, 256),
    (1, 3, 111, 173),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] if "extd" in name else []) for name in AT_MOST],
)
def test_nothing_is_lost_and_the_known_size_is_reached(
    name: str, shared: Path, photos: list[Path]
) -> None:
    path = shared / "weights" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the reference weights here")
    model = "extd" if "extd" in name else "eresfd"
    loaded = load_network(default_recipe(model), path)
    shrunk, surgery = shrink(loaded.network, EXAMPLE)
    assert measure_cost(shrunk, EXAMPLE).deployed_parameters <= AT_MOST[name]
    parity = compare(
        "soft -> shrunk",
        run_network(loaded.network),
        run_network(shrunk),
        [*random_inputs(SHAPES, seed=3), *_photos(photos[::200], small(loaded.recipe))],
        limit=1e-5,
    )
    assert parity.passed, parity
    for item in surgery.filters:
        assert item.verdict in ("dropped", "folded", "carried", "kept")
        assert item.reason.layers or item.reason.operator or item.reason.code == "unread"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper/eresfd/ERES30_FPGM.pth", "paper/extd/EXTD50_FPGM.pth"])
def test_a_second_surgery_removes_nothing(name: str, shared: Path) -> None:
    path = shared / "weights" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the reference weights here")
    model = "extd" if "extd" in name else "eresfd"
    once, _ = shrink(load_network(default_recipe(model), path).network, EXAMPLE)
    again, second = shrink(once, EXAMPLE)
    assert second.rounds == 1
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in once.parameters())


def small(recipe: Recipe) -> Recipe:
    return override(recipe, {"input.height": 192, "input.width": 256})


def _photos(paths: list[Path], recipe: Recipe) -> list[ProofInput]:
    source = Source(None, "seed", None, trained=True, seed=0)
    metadata = metadata_of(recipe, Provenance(source, None, None, None), dynamic=False)
    specification = detect.Specification.from_json(metadata[KEY])
    return [photo_input(photo, recipe, specification) for photo in read_photos(paths)]
