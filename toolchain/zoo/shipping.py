"""From a finished training to a network that is shipped: measured, proved, and with its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from toolchain.checking.cost import count_parameters
from toolchain.errors import CheckpointError, InputError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.models import detector
from toolchain.models.layouts import Checkpoint, read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into
from toolchain.records.accuracy import OVERLAPS
from toolchain.records.members import MemberAccuracy, MemberFacts, trained_widths
from toolchain.report.cards import card
from toolchain.report.document.markdown import markdown
from toolchain.surgery.removing import shrink
from toolchain.system.files import sha256_of, write_bytes
from toolchain.zoo.balanced import RECORD as BALANCE_RECORD
from toolchain.zoo.balanced import facts_now, read_balanced
from toolchain.zoo.costs import CORE
from toolchain.zoo.history import (
    History,
    Origins,
    demand_one_training,
    entry,
    history_of,
    read_record,
    record_path,
)
from toolchain.zoo.picking import options_of
from toolchain.zoo.reading import FOLDER, Member, checked_facts, member_name, members
from toolchain.zoo.writing import write_member

LOOK_SIZE = (160, 128)
"""Height and width at which the surgery looks at a network: its coarsest level has two cells."""

PROTOCOL = "single"
"""By which all that is shipped is measured, so that it can be compared."""

BAD_AT = (
    "Faces below about 10 pixels.",
    "Faces that are turned far away, covered for the most part, or out of focus.",
)

OWN_TERMS = "Under the project's licence, Apache-2.0."
PHOTOS_TERMS = "The photos of WIDER FACE, which it learnt from, are for research use."


@dataclass(frozen=True)
class Wanted:
    """What a network is made from, and what no file tells of it."""

    training: Path
    """The output folder of a finished training."""
    evaluation: Path
    """An eval.json that speaks of that training's weights."""
    starts: tuple[Path, ...] = ()
    """Weights that the training, or one before it, started from, if they are not shipped."""
    teacher_name: str | None = None
    teacher_licence: str | None = None
    """Of a teacher that is not known here."""
    data: str | None = None
    bad_at: tuple[str, ...] = BAD_AT
    terms: str | None = None
    """In words; None: what the training's settings and its teachers' licences say."""


def make_member(wanted: Wanted, folder: Path | None = None) -> Member:
    """Write the network to ``folder`` (where the shipped ones lie); return it.

    Raises :class:`InputError` where the files are not of one training, where the evaluation is of
    other weights or of a sample, and where a teacher's licence is not known;
    :class:`CheckpointError` where zero filters cannot all be removed; :class:`ParityError` as
    :func:`write_member`.
    """
    folder = folder or FOLDER
    if not folder.is_dir():
        raise InputError(f"{folder}: must be a folder that is there")
    weights = wanted.training / "model.safetensors"
    if (wanted.training / BALANCE_RECORD).is_file():
        return _make_balanced(wanted, folder, weights)
    record, checkpoint = read_record(wanted.training), read_checkpoint(weights)
    settings = demand_one_training(record, checkpoint.metadata, weights)
    history = history_of(wanted.training, _origins(wanted, folder))
    accuracy = accuracy_of(wanted.evaluation, checkpoint, weights)
    network = build(str(checkpoint.model))
    load_into(network, checkpoint, str(checkpoint.model))
    facts = _facts(wanted, settings, checkpoint, history, accuracy)
    is_pruned = bool(facts["rate"] or trained_widths(facts))
    facts["deployed_parameters"] = deployed_parameters(network, weights, is_pruned=is_pruned)
    path = folder / f"{member_name(facts)}.safetensors"
    write_member(network, path, checked_facts(facts, path))
    return Member(facts["model"], facts["rate"], path, facts)


def _make_balanced(wanted: Wanted, folder: Path, weights: Path) -> Member:
    """Write a shipped network anew, its levels balanced."""
    found = read_balanced(wanted.training, _members_in(folder))
    checkpoint = read_checkpoint(weights)
    accuracy = accuracy_of(wanted.evaluation, checkpoint, weights)
    network = build(found.member.model)
    load_into(network, checkpoint, found.member.model)
    is_pruned = bool(found.member.rate or found.member.widths)
    deployed = deployed_parameters(network, weights, is_pruned=is_pruned)
    facts = facts_now(found, accuracy, deployed)
    path = folder / found.member.path.name
    write_member(network, path, checked_facts(facts, path))
    return Member(facts["model"], facts["rate"], path, facts)


def _members_in(folder: Path) -> tuple[Member, ...]:
    return tuple(member for model in detector.names() for member in members(model, folder))


def write_card(member: Member) -> Path:
    """Write a member's card beside it, from its facts; return where."""
    path = member.path.with_suffix(".md")
    write_bytes(path, card_of(member).encode())
    return path


def card_of(member: Member) -> str:
    """Return the card of a member of the folder that it lies in."""
    asked = " ".join(f"--{name} {value}" for name, value in options_of(member).items())
    return markdown(card(member.facts, asked, member.instructions.get(CORE)))


def write_cards(folder: Path | None = None) -> list[Path]:
    """Write the cards of all members in ``folder`` (the shipped ones) again; return where."""
    return [write_card(member) for member in _members_in(folder or FOLDER)]


def _origins(wanted: Wanted, folder: Path) -> Origins:
    members_here = [member.path for member in _members_in(folder)]
    try:
        starts = {sha256_of(path): path for path in (*members_here, *wanted.starts)}
    except OSError as error:
        raise InputError(f"--start: {error.filename} cannot be read ({error.strerror})") from error
    return Origins(starts, wanted.teacher_name, wanted.teacher_licence)


def accuracy_of(path: Path, weights: Checkpoint, weights_path: Path) -> MemberAccuracy:
    """Return what ``toolchain evaluate`` found for these very weights, from its eval.json."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        results = [content, *content.get("others", [])]
        found = [result for result in results if result["subject"]["sha256"] == weights.sha256]
        (result,) = [item for item in found if item["protocol"]["name"] == PROTOCOL]
        sample, levels = result["sample"], result["ap"]
        ratio = result["subject"]["settings"].get("anchor height / width")
        if sample["split"] != "val" or sample["limit"] is not None:
            raise InputError(f"{path}: must be of all photos of val that are there, not a sample")
        if weights.aspect_ratio and ratio != f"{weights.aspect_ratio:g}":
            raise InputError(
                f"{path}: its anchors are {ratio} times as high as wide, those of the weights "
                f"{weights.aspect_ratio:g}; evaluate without --anchor-ratio"
            )
        easy, medium, hard = (round(float(levels[name]), 6) for name in ("easy", "medium", "hard"))
        photos, overlaps = int(sample["images"]), result["subject"]["settings"].get(OVERLAPS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: holds no result of {weights_path} (SHA-256 {weights.sha256}) by protocol "
            f"{PROTOCOL}; make it by: toolchain evaluate {weights_path} --data WIDER"
        ) from error
    return {
        "protocol": PROTOCOL, "photos": photos, "overlaps": overlaps, "easy": easy,
        "medium": medium, "hard": hard,
    }  # fmt: skip


def deployed_parameters(network: nn.Module, path: Path, *, is_pruned: bool) -> int:
    """Return how many parameters are left when all zero filters are removed, by removing them.

    Raises :class:`CheckpointError` naming ``path`` where some stay, or there are none although
    its training says so.
    """
    example = torch.zeros(1, 3, *LOOK_SIZE)
    shrunk, surgery = shrink(network, example)
    kept, zeroed = surgery.count("kept"), len(surgery.filters)
    if kept or bool(zeroed) != is_pruned:
        raise CheckpointError(
            f"{path}: of {zeroed} zero filters {kept} cannot be removed; what is shipped must lose "
            f"all of them, and have some where its rate or widths say so (train in scope group)"
        )
    return sum(count_parameters(fold_batch_norm(shrunk, example)))


def _facts(
    wanted: Wanted,
    settings: Mapping[str, object],
    checkpoint: Checkpoint,
    history: History,
    accuracy: MemberAccuracy,
) -> MemberFacts:
    path, teachers = record_path(wanted.training), history.teachers
    return MemberFacts(
        model=entry(settings, "model", str, path),
        rate=entry(settings, "rate", float, path),
        criterion=entry(settings, "criterion", str, path),
        scope=entry(settings, "scope", str, path),
        deployed_parameters=0,
        aspect_ratio=checkpoint.aspect_ratio,
        trained=True,
        teacher_name="; ".join(teacher.name for teacher in teachers),
        teacher_licence="; ".join(teacher.licence for teacher in teachers),
        teacher_sha256="; ".join(teacher.sha256 for teacher in teachers),
        data=wanted.data or _data(settings, path),
        images=history.images,
        seed=entry(settings, "seed", int, path),
        hours=round(history.hours, 3),
        command=history.command,
        accuracy=accuracy,
        bad_at=list(wanted.bad_at),
        terms=wanted.terms or _terms(history),
        training=settings,
    )


def _data(settings: Mapping[str, object], path: Path) -> str:
    photos = f"{entry(settings, 'photos', int, path):,} photos given as WIDER FACE's train list"
    if settings.get("recovery"):
        return f"{photos}, as crops, without their faces"
    if settings.get("teacher") is None or settings.get("teach.labels"):
        return f"{photos}, as crops, with their faces"
    return f"{photos}, as crops; their faces only told where to crop"


def _terms(history: History) -> str:
    teachers = [f"The teacher {item.name} is under {item.licence}." for item in history.teachers]
    return " ".join([OWN_TERMS, *teachers, PHOTOS_TERMS])
