"""How far a recovery is: its loss, by block too, its agreement on the way, its zero filters."""

from __future__ import annotations

from toolchain.records.training import RecoveryProgress
from toolchain.report import wording
from toolchain.report.document.frame import REFRESH_SECONDS
from toolchain.report.document.model import Beside, Code, Document, Paragraph, Section, Table, parts
from toolchain.report.recovery.agreement import agreement
from toolchain.report.training.losses import losses
from toolchain.report.training.progress import broken, phase_of, seconds_left, settings
from toolchain.report.training.zeros import zeros


def recovery_document(progress: RecoveryProgress) -> Document:
    """Return the whole document; a browser loads it again until the recovery is done."""
    training = progress.training
    asked = training.settings
    share = training.step / training.steps if training.steps else 1.0
    state = "done" if training.is_done else f"{share:.0%} done, {phase_of(training)}"
    return Document(
        title=f"{asked.get('model')} at rate {asked.get('rate')}: recovery",
        heading=str(asked.get("model")),
        subject=f"recovery, {state}",
        lead=(Paragraph(_words(progress)),),
        blocks=parts(
            Beside((losses(training), agreement(training)), wide=True),
            _blocks(progress),
            zeros(training),
            settings(training),
            broken(training),
        ),
        refresh_seconds=None if training.is_done else REFRESH_SECONDS,
    )


def _words(progress: RecoveryProgress) -> str:
    training = progress.training
    left = seconds_left(training)
    words = [
        f"{wording.count(training.step)} of {wording.plural(training.steps, 'step')}",
        wording.plural(training.photos, "photo"),
        f"{wording.percentage(training.zeroed_share)} of the parameters held at zero",
    ]
    if left is not None:
        words.append(f"at this pace {wording.duration(left)} left")
    return "; ".join(words)


def _blocks(progress: RecoveryProgress) -> Section | None:
    """Return the section of losses by block; none of a run that took no step block by block."""
    if not progress.blocks:
        return None
    rows = tuple(
        (Code(name), f"{first:.3g}", f"{latest:.3g}")
        for name, (first, latest) in progress.blocks.items()
    )
    table = Table(
        "A block's mean squared error as a share of what the same block of the network before "
        "varies, in this run",
        ("block", "at first", "latest"),
        rows,
        numeric=(1, 2),
    )
    return Section("blocks", "Loss by block", (table,))
