"""Names of an earlier version: read, with one line about it, and never written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchain.cli import run
from toolchain.errors import RecipeError
from toolchain.recipe import default_recipe, override, parse_recipe, renamed
from toolchain.recipe.writing import as_toml
from toolchain.records.certificate import read_certificate
from toolchain.system.files import digest_of
from toolchain.zoo.reading import FOLDER, members

HEAD = '[model]\nname = "eresfd"\n'


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "_TOLD", set())


def test_old_keys_of_a_recipe_are_read_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        f"{HEAD}[prune]\nrate = 0.1\ngone = {{stem = [3, 1]}}\n"
        "[teach]\nsettle_share = 0.25\nlocal_share_begun = 0.3\n"
    )
    for _ in range(2):  # told once
        recipe = parse_recipe(text, "old.toml")
    assert recipe.prune.pruned_channels == {"stem": (3, 1)}
    assert recipe.teach.recalibration_share == 0.25
    assert recipe.teach.local_share_warm_start == 0.3
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 3
    assert (
        "toolchain: prune.gone is called prune.pruned_channels now; the old name is read in "
        "this version only"
    ) in told
    assert parse_recipe(as_toml(recipe), "new.toml") == recipe
    assert not capsys.readouterr().err


def test_old_keys_of_set_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = override(default_recipe("extd"), {"teach.settle_share_begun": 0.2})
    assert recipe.teach.recalibration_share_warm_start == 0.2
    assert "teach.recalibration_share_warm_start now" in capsys.readouterr().err


def test_both_names_at_once_are_refused() -> None:
    text = f"{HEAD}[teach]\nsettle_share = 0.1\nrecalibration_share = 0.2\n"
    with pytest.raises(RecipeError, match="is the old name of recalibration_share, which is"):
        parse_recipe(text, "r.toml")


@pytest.mark.parametrize("key", renamed.KEYS)
def test_every_new_key_is_a_field_and_no_old_one_is(key: str) -> None:
    recipe = default_recipe("eresfd")
    section, _, field = key.partition(".")
    assert not hasattr(getattr(recipe, section), field)
    section, _, field = renamed.KEYS[key].partition(".")
    assert hasattr(getattr(recipe, section), field)


def test_an_old_command_is_run_under_its_new_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = str(tmp_path / "nowhere")
    assert run(["family", "eresfd", "--data", missing]) == 2
    told = capsys.readouterr().err
    assert "the command family is called sweep now" in told
    assert missing in told.replace("\n", "")


def test_shipped_networks_of_an_earlier_version_speak_the_new_names() -> None:
    found = {member.path.stem: member for model in ("eresfd", "extd") for member in members(model)}
    assert found["eresfd-54k"].pruned_channels
    for name, member in found.items():
        said = json.dumps(member.facts) + (FOLDER / f"{name}.md").read_text()
        assert not any(f"{old}=" in said or f"| {old} |" in said for old in renamed.KEYS)
        assert not set(renamed.SETTINGS) & set(member.facts["training"])


def test_a_certificate_of_an_earlier_version_is_read_without_a_word(
    tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = read_certificate(made / "certificate.json")
    content = json.loads((made / "certificate.json").read_bytes())
    content["recipe"]["prune"]["gone"] = content["recipe"]["prune"].pop("pruned_channels")
    teach = content["recipe"]["teach"]
    teach["settle_share"] = teach.pop("recalibration_share")
    for link in content["links"]:
        link["mixture"] = link.pop("mixed_precision")
    del content["sha256_of_the_rest"]
    content["sha256_of_the_rest"] = digest_of(content)
    (tmp_path / "certificate.json").write_text(json.dumps(content))
    assert read_certificate(tmp_path / "certificate.json") == now
    assert capsys.readouterr().err == ""
