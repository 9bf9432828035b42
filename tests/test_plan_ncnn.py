"""``plan`` by the costs of ncnn, from the budget to the shrunk file, on a board of arithmetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from toolchain.arm.sysroot import Sysroot
from toolchain.cli import run as run_cli
from toolchain.exporting.ncnn.extra import lacking_ncnn
from toolchain.exporting.ncnn.opened import layers_of
from toolchain.recipe import load_recipe
from toolchain.records.run_folder import NCNN
from toolchain.widths import looking
from toolchain.workflows import plans

FIXED = 3_000
"""That a whole file takes beyond its layers."""


def weights_of(kind: str, words: Sequence[str]) -> int:
    """A convolution costs its weights; nothing else costs anything."""
    given = dict(word.split("=") for word in words if "=" in word)
    return int(given["6"]) if kind == "Convolution" else 0


def count(
    layers: Sequence[tuple[str, str, object]], files: Sequence[Path], *_: object
) -> tuple[list[int], list[int]]:
    whole = []
    for folder in files:
        text = (folder / Path(NCNN).name).read_text(encoding="utf-8")
        whole.append(FIXED + sum(weights_of(words[0], words[4:]) for words in layers_of(text)))
    return [weights_of(kind, params.split()) for kind, params, _ in layers], whole


@pytest.mark.slow
@pytest.mark.skipif(lacking_ncnn() is not None, reason="needs the extra ncnn")
@pytest.mark.parametrize("budget", [["--latency", "0.6"], ["--instructions", "6k"]])
def test_what_is_predicted_of_ncnn_is_what_the_shrunk_file_takes(
    budget: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "site" / "ncnn-1.0.dist-info").mkdir(parents=True)
    sysroot = Sysroot(tmp_path, tmp_path, tmp_path / "site", tmp_path, tmp_path)
    monkeypatch.setattr("toolchain.arm.sysroot.prepare", lambda *_: sysroot)
    monkeypatch.setattr(looking, "count_layers", count)
    monkeypatch.setattr(plans, "count_layers", count)
    monkeypatch.setattr(looking, "conditions_of", lambda _board: ("arithmetic",))
    monkeypatch.chdir(Path(__file__).parent)
    out = tmp_path / "plan"
    common = ["--size", "64x64", "--cache", str(tmp_path), "--out", str(out), "--json"]
    assert run_cli(["plan", "tiny:Convolutions", *budget, *common]) == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert made["board"]["runtime"] == "ncnn 1.0"
    assert made["unpruned"] == FIXED + 9 * (3 * 16 + 16 * 12 + 12 * 16) + 16 * 2
    assert made["predicted"] == made["measured"] <= made["budget"]
    assert all(group["after"] % 4 == 0 for group in made["groups"])
    assert any(group["after"] < group["before"] for group in made["groups"])
    assert load_recipe(out / "plan.toml").prune.widths
    assert (out / "shrunk" / NCNN).is_file()
