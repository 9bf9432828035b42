"""Making a whole family in order, and showing how far it is.

OUT/family.html    the members' sizes against their average precision; loads itself again
OUT/family.json    the same as data
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator

from toolchain.errors import InputError
from toolchain.records.stages import Family, FamilyMember
from toolchain.report.document.html import html
from toolchain.report.sweep import sweep_document
from toolchain.system.files import write_bytes
from toolchain.workflows.sweep.job import FamilyJob
from toolchain.workflows.sweep.members import Listeners, make_member, photos_of

Maker = Callable[[FamilyJob], Iterable[FamilyMember]]
"""Gives a member each time that it is known to run, to be done, or to have failed."""


def in_order(listeners: Listeners) -> Maker:
    """Return what makes one member after the other, in this process."""

    def make(job: FamilyJob) -> Iterator[FamilyMember]:
        for rate in job.rates:
            yield FamilyMember(rate, "running")
            yield make_member(job, rate, listeners)

    return make


def run_family(job: FamilyJob, maker: Maker) -> Family:
    """Make all members and keep the page; members that failed are in the result.

    Raises what is wrong for all of them at once: photos, recipe, or a folder that is read-only.
    """
    for rate in job.rates:
        job.training_of(rate)
    _, scored, _ = photos_of(job)
    prune = job.training.recipe.prune
    family = Family(
        job.training.recipe.model.name,
        prune.criterion,
        prune.scope,
        job.protocol,
        len(scored.images),
        tuple(FamilyMember(rate, "waiting") for rate in job.rates),
    )
    _show(job, family)
    for member in maker(job):
        members = tuple(member if one.rate == member.rate else one for one in family.members)
        family = dataclasses.replace(family, members=members)
        _show(job, family)
    return family


def _show(job: FamilyJob, family: Family) -> None:
    content = json.dumps(dataclasses.asdict(family), indent=2)
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        write_bytes(job.out / "family.json", f"{content}\n".encode())
        write_bytes(job.out / "family.html", html(sweep_document(family)).encode())
    except OSError as error:
        raise InputError(f"{job.out}: cannot be written ({error.strerror or error})") from error
