"""Shipped networks: small, exact, and shrunk in full."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from zoo_members import facts_of, make_member

from toolchain.checking.cost import count_parameters
from toolchain.errors import CheckpointError, InputError, ParityError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.models import detector
from toolchain.models.headers import read_metadata
from toolchain.models.registry import build
from toolchain.recipe import default_recipe, override
from toolchain.surgery.removing import shrink
from toolchain.system.files import sha256_of
from toolchain.widths.budget import read_instructions, read_parameters
from toolchain.workflows.member_costs import costs_of
from toolchain.zoo.costs import COSTS, read_costs
from toolchain.zoo.packing import LARGEST, PACKED, packed, unpacked
from toolchain.zoo.picking import best_within, nearest, options_of, paying
from toolchain.zoo.reading import FOLDER, Member, members
from toolchain.zoo.shipping import card_of
from toolchain.zoo.sources import load_member, load_network
from toolchain.zoo.writing import fold_statistics, write_member

LEVELS = ("easy", "medium", "hard")
MEMBERS = [member for model in detector.names() for member in members(model)]
_OF_EACH_KIND = [
    member
    for member in MEMBERS
    if member.path.stem in ("eresfd-0", "eresfd-54k", "eresfd-50", "extd-86k", "yunet-64k")
]
"""Whole, with a width for each group, and with one rate."""


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.path.stem)
def test_a_member_is_a_small_file(member: Member) -> None:
    assert member.path.stat().st_size < {"extd": 700_000}.get(member.model, 420_000)


@pytest.mark.slow
@pytest.mark.parametrize("member", _OF_EACH_KIND, ids=lambda member: member.path.stem)
def test_a_member_loses_all_of_its_zeros(member: Member) -> None:
    """Of all, when they are shipped: ``toolchain ship`` refuses others."""
    loaded = load_network(default_recipe(member.model), member.path)
    assert loaded.source.trained
    example = torch.zeros(1, 3, 128, 160)
    shrunk, surgery = shrink(loaded.network, example)
    assert surgery.count("kept") == 0
    assert bool(surgery.filters) == bool(member.rate or member.widths)
    deployed = sum(count_parameters(fold_batch_norm(shrunk, example)))
    assert deployed == member.facts["deployed_parameters"]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.path.stem)
def test_a_member_has_a_card_that_says_what_its_file_says(member: Member) -> None:
    """After a change of cards, ``toolchain ship`` writes all of them again."""
    assert member.path.with_suffix(".md").read_text(encoding="utf-8") == card_of(member)


def test_every_member_has_its_own_costs_on_every_core_whose_layers_are_known() -> None:
    """After a change of members or of layers' costs, ``toolchain ship`` makes the table again."""
    known = read_costs(FOLDER)
    assert {member.path.stem for member in MEMBERS} == set(known)
    for member in MEMBERS:
        assert known[member.path.stem].sha256 == sha256_of(member.path)
        assert set(member.instructions) == {"cortex-a53", "cortex-a72", "cortex-a76"}
        assert (member.ncnn_bytes or 0) > 4 * member.parameters


@pytest.mark.slow
def test_the_costs_beside_a_member_are_those_of_its_layers() -> None:
    (member,) = (each for each in MEMBERS if each.path.stem == "eresfd-50")
    found = costs_of(member, "0" * 64)
    assert found.instructions == member.instructions
    assert found.weight_bytes == member.ncnn_bytes


def test_a_table_of_costs_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / COSTS).write_text('{"members": {"eresfd-0": {"sha256": "x"}}}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"costs\.json: must hold sha256 and instructions"):
        read_costs(tmp_path)


@pytest.mark.slow
def test_a_long_command_is_packed_in_the_file_and_whole_when_read(tmp_path: Path) -> None:
    long = " && ".join(["toolchain train eresfd --set teach.labels=0.5"] * 200)
    path = make_member(tmp_path, 0.25, command=long)
    assert str(read_metadata(path)["command"]).startswith(PACKED)
    assert len(str(read_metadata(path)["command"])) < 500
    (member,) = members("eresfd", tmp_path)
    assert member.facts["command"] == long
    short = make_member(tmp_path, 0.5, command="toolchain train eresfd")
    assert read_metadata(short)["command"] == "toolchain train eresfd"


@pytest.mark.parametrize(
    "text", ["!", "eA==", packed("a" * 9_000)[len(PACKED) : -8], packed("a" * (LARGEST + 1))[5:]]
)
def test_a_damaged_or_swollen_command_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"^x\.safetensors: its command is damaged, or over"):
        unpacked(PACKED + text, Path("x.safetensors"))
    assert unpacked(packed("a" * LARGEST), Path("x.safetensors")) == "a" * LARGEST


def test_a_card_without_a_network_is_no_card() -> None:
    cards = {path.stem for path in FOLDER.glob("*.md")}
    assert cards == {member.path.stem for member in MEMBERS}


@pytest.mark.slow
def test_the_nearest_is_chosen_and_the_lower_of_two(tmp_path: Path) -> None:
    for rate in (0.0, 0.25, 0.5):
        make_member(tmp_path, rate)
    wanted = {0.0: 0.0, 0.1: 0.0, 0.125: 0.0, 0.13: 0.25, 0.25: 0.25, 0.375: 0.25, 0.9: 0.5}
    for rate, expected in wanted.items():
        chosen = nearest("eresfd", rate, tmp_path)
        assert chosen is not None
        assert chosen.rate == expected
    assert nearest("extd", 0.1, tmp_path) is None
    assert nearest("somebody:net", 0.1) is None


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.3, 0.4, 0.5])
@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_what_a_rate_takes_is_smaller_and_cheaper_on_the_board(model: str, rate: float) -> None:
    whole, taken = (
        members(model)[0],
        load_member(override(default_recipe(model), {"prune.rate": rate})),
    )
    assert taken is not None
    assert taken.member is not None
    assert not taken.recipe.prune.zeroes
    (member,) = (each for each in members(model) if each.facts == taken.member)
    assert member == paying(model, rate)[0]
    assert member.parameters <= (1 - rate) * whole.parameters
    for core, cost in member.instructions.items():
        assert cost <= (1 - 0.5 * rate) * whole.instructions[core], core


def test_no_member_is_beaten_in_accuracy_size_and_cost() -> None:
    for model in ("eresfd", "extd", "yunet"):
        for member, other in itertools.permutations(members(model), 2):
            more = min(other.facts["accuracy"][k] - member.facts["accuracy"][k] for k in LEVELS)
            cheaper = all(other.instructions[c] <= n for c, n in member.instructions.items())
            smaller = other.parameters <= member.parameters
            assert not (more >= 0 and cheaper and smaller), (member.path.stem, other.path.stem)


@pytest.mark.parametrize(("most", "expected"), [(26_400_000, "eresfd-82k"), (15e6, "eresfd-50")])
def test_instructions_choose_as_parameters_do(most: float, expected: str) -> None:
    assert best_within("eresfd", instructions=int(most)).path.stem == expected


def test_a_budget_that_nothing_meets_is_told_with_what_would(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"cheapest eresfd .* 14\.8 M .* plan eresfd --size 320x320"
    ):
        best_within("eresfd", instructions=10**6)
    with pytest.raises(InputError, match="within both"):
        best_within("eresfd", 23_390, 15_000_000)


@pytest.mark.slow
def test_the_one_that_finds_most_within_so_many_parameters_is_chosen(tmp_path: Path) -> None:
    known = {"eresfd-0": (90_000, 0.9), "eresfd-20": (60_000, 0.7), "eresfd-52k": (52_000, 0.8)}
    for name, (parameters, precision) in known.items():
        widths = {"base.m0.b2_5.0.res_layer.0": 4} if name.endswith("k") else {}
        make_member(
            tmp_path, 0.2 if name == "eresfd-20" else 0.0, deployed_parameters=parameters,
            training={"widths": widths} if widths else {},
            accuracy={"protocol": "single", "photos": 403, "overlaps": None,
                      **dict.fromkeys(("easy", "medium", "hard"), precision)},
        )  # fmt: skip
    assert [member.path.stem for member in members("eresfd", tmp_path)] == list(known)
    for parameters, expected in {
        95_000: "eresfd-0",
        89_999: "eresfd-52k",
        52_000: "eresfd-52k",
    }.items():
        assert best_within("eresfd", parameters, folder=tmp_path).path.stem == expected
    assert nearest("eresfd", 0.5, tmp_path).path.stem == "eresfd-20"  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"smallest eresfd .* has 52,000 parameters, .* 51,999;"):
        best_within("eresfd", 51_999, folder=tmp_path)
    with pytest.raises(InputError, match="no network of somebody:net is shipped"):
        best_within("somebody:net", 10**9, folder=tmp_path)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.path.stem)
def test_the_options_on_a_card_take_that_network(member: Member) -> None:
    options = options_of(member)
    assert " ".join(f"--{name} {value}" for name, value in options.items()) in card_of(member)
    if "rate" in options:
        fields = {"prune.rate": float(options["rate"]), "prune.align": int(options.get("align", 4))}
        taken = load_member(override(default_recipe(member.model), fields))
        assert taken is not None
        assert taken.member == member.facts
    elif "parameters" in options:
        assert best_within(member.model, read_parameters(options["parameters"])) == member
    else:
        most = read_instructions(options["instructions"])
        assert best_within(member.model, instructions=most) == member


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"widths": {"a": "4"}}}, "training.widths must be whole numbers by group"),
        ({"training": {"widths": [4]}}, "training.widths must be whole numbers by group"),
        ({"rate": 1.5}, "rate must be >= 0 and <= 1"),
        ({"trained": False}, "only trained networks are shipped"),
        ({"hours": "long"}, "hours must be of type float"),
        ({"accuracy": {"protocol": "single"}}, "does not say accuracy.photos"),
        ({"bad_at": [1]}, "bad_at must be a list of texts"),
    ],
)
def test_facts_that_are_none_are_not_written(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=words):
        write_member(build("eresfd"), tmp_path / "eresfd-20.safetensors", facts_of(**changes))
    assert list(tmp_path.iterdir()) == []


def test_statistics_are_folded_without_a_difference() -> None:
    network = build("eresfd", 3).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 3, 96, 96, generator=generator) * 60)
    folded = fold_statistics(network)
    image = torch.randn(1, 3, 128, 96, generator=generator) * 60
    with torch.no_grad():
        for before, after in zip(network.eval()(image), folded(image), strict=True):
            assert float((before - after).abs().max()) < 1e-5 * float(before.max() - before.min())


@pytest.mark.slow
def test_a_file_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, facts = build("eresfd", 2), facts_of(0.0)
    write_member(network, tmp_path / "good.safetensors", facts)
    monkeypatch.setattr("toolchain.zoo.writing.fold_statistics", lambda _: build("eresfd", 1))
    with pytest.raises(ParityError, match="differs"):
        write_member(network, tmp_path / "bad.safetensors", facts)
    assert [path.name for path in tmp_path.iterdir()] == ["good.safetensors"]
