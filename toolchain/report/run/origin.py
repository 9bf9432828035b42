"""Which files were written, and how the run came about: weights, command, versions, stages."""

from __future__ import annotations

from toolchain.records.stages import Report
from toolchain.report import wording
from toolchain.report.document.model import Beside, Code, Paragraph, Section, Table, parts
from toolchain.report.run import facts


def files(report: Report) -> Section:
    """Return the files that were written."""
    rows = tuple(
        (
            Code(artifact.name),
            wording.count(artifact.size_bytes),
            Code(wording.short_hash(artifact.sha256)),
        )
        for artifact in report.artifacts
    )
    if not rows:
        return Section("files", "Files", (Paragraph("No files were written."),))
    head = ("file", "bytes", "SHA-256, first digits")
    return Section("files", "Files", (Table("Files that were written", head, rows, (1,)),))


def origin(report: Report) -> Section:
    """Return how the report came about."""
    seconds = [(stage.name, wording.decimal(stage.seconds, 1)) for stage in report.stages]
    total = wording.decimal(sum(stage.seconds for stage in report.stages), 1)
    stages = Table("Seconds by stage", ("stage", "seconds"), (*seconds, ("all", total)), (1,))
    versions = Table("Versions", ("package", "version"), tuple(report.versions.items()))
    return Section(
        "origin",
        "How it was made",
        (
            Paragraph(f"Weights: {facts.source_words(report)}"),
            Paragraph(("Command: ", Code(report.command))),
            Beside(parts(stages, versions if report.versions else None)),
        ),
    )
