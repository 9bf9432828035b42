"""A check on an emulated board: every file's cost, and which is best."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.timings import Check, FileCheck, StageCounts
from toolchain.report import wording
from toolchain.report.charts.bars import Segment, legend, stacked
from toolchain.report.document import model as doc

HEAD = (
    "file",
    "instructions",
    "ms, estimated",
    "memory, MB",
    "bytes",
    "differs by (of range)",
    "boxes",
    "",
)
NUMERIC = (1, 2, 3, 4, 5)
DEAREST = 15
"""Operators that are listed one by one."""
PARTS = (
    ("multiply_add", "live", "multiply-add"),
    ("memory", "carried", "load or store"),
    ("branch", "removed_live", "branch"),
    ("other", "dropped", "other"),
)
"""Kind of instruction, how it is drawn, and what it is called."""


def check_document(check: Check, over_budget: Sequence[str]) -> doc.Document:
    """Return the document of one board."""
    verdict = "passed" if check.passed and not over_budget else "FAILED"
    subject = f"{check.folder} on {check.name}"
    over = (
        doc.Section("budget", "Over budget", (doc.Items(tuple(over_budget)),))
        if over_budget
        else None
    )
    numbers = (doc.Paragraph(_conditions(check)), _table(check), _kinds(check))
    return doc.Document(
        title=f"{subject}: {verdict}",
        heading=subject,
        subject=f"emulated: {verdict}",
        lead=(),
        blocks=doc.parts(
            over,
            doc.Section("picture", "Instructions of one inference", (_picture(check),)),
            doc.Section("table", "In numbers", numbers),
            *(
                _operators(number, file)
                for number, file in enumerate(check.files)
                if file.operators
            ),
        ),
    )


def boards_document(checks: Sequence[Check]) -> doc.Document:
    """Return the document of several boards: which file is best on which."""
    rows = tuple(
        (
            check.name,
            doc.Code(check.cheapest.file),
            wording.count(check.cheapest.instructions_per_inference),
            _estimate(check.cheapest),
        )
        for check in checks
    )
    head = ("board", "fewest instructions", "instructions", "ms, estimated")
    best = doc.Section(
        "best", "Which file on which board", (doc.Table("Best", head, rows, (2, 3)),)
    )
    boards = [
        doc.Section(
            f"board-{number}",
            check.name,
            (_picture(check), doc.Paragraph(_conditions(check)), _table(check), _kinds(check)),
        )
        for number, check in enumerate(checks)
    ]
    title = f"{checks[0].folder} on {len(checks)} boards"
    return doc.Document(title, title, "", (), (best, *boards))


def _conditions(check: Check) -> str:
    fed = check.main.fed or wording.shape(check.main.size)
    error = check.main.estimate_error.get("worst", 0.0)
    return (
        f"{check.name}, {check.core} at {check.clock_hz / 1e9:g} GHz, under QEMU with the wheels "
        f"that the board gets; input {fed}, one thread. Instructions "
        f"are exact. Milliseconds are estimated from them, never measured: where the factor was "
        f"fitted ({check.fitted_on}), such estimates were wrong by {error:.0%} at worst."
        f"{_program(check)}"
    )


def _program(check: Check) -> str:
    program = check.program
    if program is None:
        return ""
    return (
        f" detect.py itself, run there with {check.main.file}: {program.both} faces as here, "
        f"{program.missed} missed, {program.added} added.{_stages(check.stages)}"
    )


def _stages(stages: StageCounts | None) -> str:
    if stages is None:
        return ""
    return (
        f" Outside the network it takes {wording.count(stages.fitting)} instructions to fit the "
        f"photo and {wording.count(stages.decoding)} to decode, {stages.outside:.1%} of the "
        f"network's {wording.count(stages.network)}."
    )


def _picture(check: Check) -> doc.Figure:
    most = max(file.instructions_per_inference for file in check.files)
    best = f" Fewest instructions: {check.cheapest.file}." if len(check.files) > 1 else ""
    return doc.Figure(
        f"Millions of instructions.{best}",
        bars=tuple(doc.Bar(doc.Code(f.file), _bar(f, most), _millions(f)) for f in check.files),
        legend=legend(*((kind, label) for _, kind, label in PARTS)),
        told=True,
    )


def _bar(file: FileCheck, most: int) -> doc.Drawing:
    words = f"{file.file}: {wording.count(file.instructions_per_inference)} instructions"
    segments = [
        Segment(style, getattr(file.instructions, kind) / most, label)
        for kind, style, label in PARTS
    ]
    return stacked(words, segments)


def _millions(file: FileCheck) -> str:
    return f"{file.instructions_per_inference / 1e6:,.1f} M"


def _estimate(file: FileCheck) -> str:
    return f"{file.estimate_ms.low:.0f} to {file.estimate_ms.high:.0f}"


def _table(check: Check) -> doc.Table:
    return doc.Table("Files on the board", HEAD, tuple(map(_cells, check.files)), NUMERIC)


def _cells(file: FileCheck) -> tuple[doc.Words, ...]:
    return (
        doc.Code(file.file),
        wording.count(file.instructions_per_inference),
        _estimate(file),
        wording.decimal(file.peak_memory_bytes / 1e6, 0),
        wording.count(file.size_bytes),
        wording.difference(file.apart.worst),
        _boxes(file),
        "PASS" if file.parity else "FAIL",
    )


def _kinds(check: Check) -> doc.Table:
    rows: tuple[tuple[doc.Words, ...], ...] = tuple(
        (
            doc.Code(file.file),
            file.runtime,
            *(wording.count(getattr(file.instructions, kind)) for kind, _, _ in PARTS),
            wording.count(file.opening_instructions),
        )
        for file in check.files
    )
    head = ("file", "runtime", *(label for _, _, label in PARTS), "to open the file")
    return doc.Table("Instructions by kind", head, rows, (2, 3, 4, 5, 6))


def _operators(number: int, file: FileCheck) -> doc.Section:
    """List where a file's instructions go, by type of operator and by operator."""
    total = file.instructions_per_inference
    types = tuple(
        (doc.Code(kind), str(count), wording.count(spent), f"{spent / total:.1%}")
        for kind, (count, spent) in file.operator_types.items()
    )
    ranked = sorted(file.operators, key=lambda each: -each.instructions)[:DEAREST]
    single = tuple(
        (
            doc.Code(each.name),
            doc.Code(each.type),
            wording.count(each.instructions),
            f"{each.instructions / total:.1%}",
        )
        for each in ranked
    )
    return doc.Section(
        f"operators-{number}",
        f"Where they go: {file.file}",
        (
            doc.Paragraph(
                "As the runtime runs them, by its own profiler, whose own instructions are taken "
                "off evenly: a single operator is right to a few thousand."
            ),
            doc.Table("By type", ("type", "operators", "instructions", "share"), types, (1, 2, 3)),
            doc.Table("The dearest", ("operator", "type", "instructions", "share"), single, (2, 3)),
        ),
    )


def _boxes(file: FileCheck) -> str:
    boxes = file.boxes
    if boxes is None:
        return ""
    return f"{boxes.both} as here, {boxes.missed} missed, {boxes.added} added"
