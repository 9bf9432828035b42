"""A shipped network whose levels were balanced takes its own place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from test_ship import evaluated, make
from zoo_members import make_member

from toolchain.balancing.heads import shifted
from toolchain.errors import InputError
from toolchain.models.eresfd import DETECTOR
from toolchain.models.weights import save_native
from toolchain.recipe import default_recipe
from toolchain.system.files import sha256_of
from toolchain.zoo.reading import members
from toolchain.zoo.sources import load_network

SHIFTS = (0.5, 0.0, -0.25, 0.0, 0.0, 1.0)


def balanced(folder: Path, start: Path, record: Mapping[str, object] | None = None) -> Path:
    """Write what balancing the weights in ``start`` leaves; ``record`` overrides its record."""
    loaded = load_network(default_recipe("eresfd"), start)
    told = {
        "weights": sha256_of(start),
        "strides": [4, 8, 16, 32, 64, 128],
        "shifts": list(SHIFTS),
    }
    folder.mkdir(parents=True)
    facts = {"model": "eresfd", "trained": True, "aspect_ratio": 1.25, "balance": told}
    network = shifted(loaded.network, DETECTOR.scores, SHIFTS)
    save_native(network, folder / "model.safetensors", facts)
    written = {
        **told,
        "sizes": ["own", "320x320"],
        "counts": {"large": 2.0},
        "sample": {"split": "train", "limit": 500},
        "seconds": 1_800.0,
    }
    (folder / "balance.json").write_text(json.dumps({**written, **(record or {})}))
    return folder


@pytest.mark.slow
def test_a_balanced_member_takes_its_own_place(tmp_path: Path) -> None:
    start = make_member(tmp_path, 0.0, command="toolchain train eresfd --first")
    (before,) = members("eresfd", tmp_path)
    old = load_network(default_recipe("eresfd"), start).network
    run = balanced(tmp_path / "run", start)
    member = make(run, tmp_path)
    assert members("eresfd", tmp_path) == (member,)
    assert member.path == start
    facts = member.facts
    assert facts["command"] == (
        "toolchain train eresfd --first --out out/train/eresfd-step-1 && toolchain balance "
        "out/train/eresfd-step-1/model.safetensors --data WIDER --split train "
        "--size own --size 320x320 --weigh large=2 --limit 500"
    )
    assert facts["accuracy"]["easy"] == 0.876543
    assert facts["hours"] == before.facts["hours"] + 0.5
    assert facts["training"]["balance.shifts"] == list(SHIFTS)
    same = {"teacher_name", "teacher_sha256", "images", "data", "terms", "seed"}
    assert {name: facts[name] for name in same} == {name: before.facts[name] for name in same}  # type: ignore[literal-required]
    network = load_network(default_recipe("eresfd"), start).network
    for level, shift in enumerate(SHIFTS):
        moved = (network.conf[level].bias - old.conf[level].bias).detach()[-1]  # type: ignore[index, operator, union-attr]
        assert float(moved) == pytest.approx(shift, abs=1e-6)


def test_what_is_no_balancing_of_a_member_is_refused(tmp_path: Path) -> None:
    start = make_member(tmp_path, 0.0)
    other = balanced(tmp_path / "other", start, {"weights": "0" * 64})
    with pytest.raises(InputError, match="none of those shipped"):
        make(other, tmp_path, evaluated(other))
    moved = balanced(tmp_path / "moved", start, {"shifts": [0.0] * 6})
    with pytest.raises(InputError, match="holds other shifts"):
        make(moved, tmp_path, evaluated(moved))
    torn = balanced(tmp_path / "torn", start)
    (torn / "balance.json").write_text("{")
    with pytest.raises(InputError, match="must be the record of toolchain balance"):
        make(torn, tmp_path, evaluated(torn))
