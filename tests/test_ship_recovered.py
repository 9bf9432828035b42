"""From a recovery to a shipped network, of a detector without anchors that does not ship whole."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_ship import evaluated

from toolchain.errors import InputError
from toolchain.models.registry import build
from toolchain.models.weights import save_native
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import Recipe, default_recipe, override
from toolchain.recipe.loading import parse_assignment
from toolchain.system.files import sha256_of
from toolchain.workflows.member_costs import write_costs
from toolchain.zoo import costs, picking, shipping, sources
from toolchain.zoo.history import TEACHERS, Origins, _fields, history_of
from toolchain.zoo.reading import Member
from toolchain.zoo.recoveries import command_words

YUNET = next(teacher for teacher in TEACHERS if "YuNet" in teacher.name)
WIDTHS = {"backbone.model2.conv1.conv1": 40, "backbone.model5.conv1.conv1": 24}
GONE = {
    "backbone.model2.conv1.conv1": list(range(10, 34)),
    "backbone.model5.conv1.conv1": list(range(40)),
}


@pytest.fixture(scope="module")
def recovered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a recovery leaves, and an evaluation of it."""
    folder = tmp_path_factory.mktemp("recovered")
    prune = dataclasses.replace(
        default_recipe("yunet").prune,
        widths=WIDTHS,
        pruned_channels={group: tuple(gone) for group, gone in GONE.items()},
    )
    network = zero_filters(build("yunet", 1), torch.zeros(1, 3, 160, 128), prune)
    settings = {
        "tool": "toolchain 0.2.0", "model": "yunet", "weights": YUNET.sha256, "rate": None,
        "criterion": "fpgm", "prune.align": 4, "widths": WIDTHS, "pruned_channels": GONE,
        "minutes": 30.0, "steps": None, "batch": 2, "outputs": {}, "blocks": None, "threads": 1,
        "seed": 3, "device": "cpu", "bfloat16": False, "photos": 77, "input.height": 320,
    }  # fmt: skip
    facts = {"model": "yunet", "trained": True, "recovery": settings}
    save_native(network, folder / "model.safetensors", facts)
    record = {**settings, "steps": 500, "images": 8, "seconds": 1800.0, "zeroed": 64}
    (folder / "recover.json").write_text(json.dumps(record))
    evaluated(folder)
    return folder


@pytest.fixture(scope="module")
def member(recovered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    """It, shipped into a folder of its own, with its costs."""
    folder = tmp_path_factory.mktemp("zoo")
    made = shipping.make_member(shipping.Wanted(recovered, recovered / "eval.json"), folder)
    write_costs(folder)
    yield made
    costs.read_table.cache_clear()


@pytest.mark.slow
def test_a_recovery_is_told_as_it_was(member: Member) -> None:
    facts = member.facts
    assert (facts["teacher_name"], facts["teacher_licence"]) == (YUNET.name, "Apache-2.0")
    assert (facts["images"], facts["hours"], facts["seed"]) == (1_000, 0.5, 3)
    assert facts["criterion"] == "outputs"
    assert facts["aspect_ratio"] is None
    assert "77 photos" in facts["data"]
    assert "without their faces" in facts["data"]
    assert member.widths == WIDTHS
    assert "anchors" not in shipping.write_card(member).read_text()


@pytest.mark.slow
def test_its_command_makes_it_again(member: Member) -> None:
    words = shlex.split(member.facts["command"])
    assert words[:5] == ["toolchain", "recover", "yunet", "--ckpt", "yunet_n_dynamic.onnx"]
    assert words[words.index("--steps") + 1] == "500"
    given = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    recipe = override(default_recipe("yunet"), dict(map(parse_assignment, given)))
    assert recipe.prune.widths == WIDTHS
    assert {group: list(gone) for group, gone in recipe.prune.pruned_channels.items()} == GONE
    assert recipe.input.height == 320


def test_the_share_in_which_filters_came_back_is_part_of_the_command() -> None:
    record = {
        "model": "yunet", "steps": 97, "batch": 1, "threads": 1, "seed": 0, "device": "cpu",
        "bfloat16": False, "outputs": {}, "blocks": None, "soft_share": 0.3, "soft_steps": 31,
    }  # fmt: skip
    words = command_words(record, "net.onnx")
    share = float(words[words.index("--soft-share") + 1])
    assert round(97 * share) == 31  # of minutes it comes to other steps than the share of them
    assert "--soft-share" not in command_words({**record, "soft_share": 0.0}, "net.onnx")
    assert "--average" not in words
    assert command_words({**record, "average": True}, "net.onnx")[-1] == "--average"


def test_a_target_is_part_of_the_command() -> None:
    record = {"rate": 1 / 3, "macs": 0.6, "prune.align": 1}
    assert _fields(record, "yunet")[:4] == ["--align", "1", "--macs", "0.6"]
    assert _fields({"rate": 0.3, "prune.align": 4}, "yunet") == ["--align", "4", "--rate", "0.3"]


@pytest.mark.slow
def test_one_that_went_on_from_it_has_both_commands(
    recovered: Path, member: Member, tmp_path: Path
) -> None:
    """By the very same weights, which is enough for its history."""
    settings = json.loads((recovered / "recover.json").read_text())
    (tmp_path / "recover.json").write_text(
        json.dumps({**settings, "steps": 200, "start": sha256_of(member.path)})
    )
    origins = Origins({sha256_of(member.path): member.path})
    history = history_of(tmp_path, origins)
    first, second = history.command.split(" && ")
    assert first == f"{member.facts['command']} --out out/train/yunet-step-1"
    assert second.endswith("--from out/train/yunet-step-1/model.safetensors")
    assert "--steps 200" in second
    assert (history.images, history.hours) == (1_400, 1.0)
    assert history.teachers == (YUNET,)


@pytest.mark.slow
def test_one_that_is_shipped_may_teach_and_is_named_by_its_own_teachers(
    recovered: Path, member: Member, tmp_path: Path
) -> None:
    settings = json.loads((recovered / "recover.json").read_text())
    taught = {**settings, "weights": sha256_of(member.path), "learn": ["bbox_head.*", "neck"]}
    (tmp_path / "recover.json").write_text(json.dumps(taught))
    history = history_of(tmp_path, Origins({sha256_of(member.path): member.path}))
    assert history.teachers == (YUNET,)
    words = shlex.split(history.command)
    assert words[words.index("--ckpt") + 1] == f"toolchain/zoo/{member.path.name}"
    assert words[words.index("--learn") + 1] == "bbox_head.*,neck"
    with pytest.raises(InputError, match="not known to allow"):
        history_of(tmp_path, Origins({}))


@pytest.mark.slow
def test_it_is_chosen_by_what_the_whole_network_would_cost(member: Member) -> None:
    folder = member.path.parent
    whole = costs.read_table(folder).whole["yunet"]
    saved = 1 - member.instructions[costs.CORE] / whole.instructions[costs.CORE]
    assert 0.05 < saved < 0.5
    assert picking.paying("yunet", saved * 0.99, folder) == (member,)
    assert picking.paying("yunet", saved * 1.01, folder) == ()
    assert picking.nearest("yunet", 0.0, folder) is None


def asked(rate: float) -> Recipe:
    return override(default_recipe("yunet"), {"prune.rate": rate})


@pytest.mark.slow
def test_what_does_not_ship_is_told_with_what_does(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = member.path.parent
    found = sources.load_member(asked(0.1), folder=folder)
    assert found is not None
    assert found.member == member.facts
    assert not found.recipe.prune.zeroes
    monkeypatch.setattr(sources, "members", lambda model: (member,))
    monkeypatch.setattr(sources, "load_member", lambda *_: None)
    with pytest.raises(InputError, match=r"whole network does not ship.*--parameters \d"):
        sources.load_start(asked(0.9), None)
    assert not sources.load_start(asked(0.9), None, untrained=True).source.trained
