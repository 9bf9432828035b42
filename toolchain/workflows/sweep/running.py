"""Making a whole sweep in order, and showing how far it is.

OUT/sweep.html    the members' sizes against their average precision; loads itself again
OUT/sweep.json    the same as data
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator

from toolchain.errors import InputError
from toolchain.records.training import Sweep, SweepMember
from toolchain.report.document.html import html
from toolchain.report.sweep import sweep_document
from toolchain.system.files import write_bytes
from toolchain.workflows.sweep.job import Making
from toolchain.workflows.sweep.members import Listeners

Maker = Callable[[Making], Iterable[SweepMember]]
"""Gives a member each time that it is known to run, to be done, or to have failed."""


def in_order(listeners: Listeners) -> Maker:
    """Return what makes one member after the other, in this process."""

    def make(job: Making) -> Iterator[SweepMember]:
        for rate in job.rates:
            yield SweepMember(rate, "running")
            yield job.make(rate, listeners)

    return make


def run_sweep(job: Making, maker: Maker) -> Sweep:
    """Make all members and keep the page; members that failed are in the result.

    Raises what is wrong for all of them at once: photos, recipe, or a folder that is read-only.
    """
    sweep = job.begun()
    _show(job, sweep)
    for member in maker(job):
        members = tuple(member if one.rate == member.rate else one for one in sweep.members)
        sweep = dataclasses.replace(sweep, members=members)
        _show(job, sweep)
    return sweep


def _show(job: Making, sweep: Sweep) -> None:
    content = json.dumps(dataclasses.asdict(sweep), indent=2)
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        write_bytes(job.out / "sweep.json", f"{content}\n".encode())
        write_bytes(job.out / "sweep.html", html(sweep_document(sweep)).encode())
    except OSError as error:
        raise InputError(f"{job.out}: cannot be written ({error.strerror or error})") from error
