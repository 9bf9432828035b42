"""A check on an emulated board as an HTML page: every file's cost, and which is best."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.timings import Check, FileCheck, StageCounts
from toolchain.report import wording
from toolchain.report.charts import figures
from toolchain.report.document.frame import page
from toolchain.report.document.markup import items, name, paragraph, section, table, text

HEAD = [
    "file",
    "instructions",
    "ms, estimated",
    "memory, MB",
    "bytes",
    "differs by (of range)",
    "boxes",
    "",
]
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


def check_html(check: Check, over_budget: Sequence[str]) -> str:
    """Return the whole page."""
    passed = check.passed and not over_budget
    verdict = "passed" if passed else "FAILED"
    title = f"{text(check.folder)} on {text(check.name)}"
    over = items([text(sentence) for sentence in over_budget])
    body = [
        section("budget", "Over budget", over) if over_budget else "",
        section("picture", "Instructions of one inference", _picture(check)),
        section("table", "In numbers", paragraph(_conditions(check)), _table(check), _kinds(check)),
        *(_operators(number, file) for number, file in enumerate(check.files) if file.operators),
    ]
    heading = f"<h1>{title} <span class='what'>emulated: {verdict}</span></h1>"
    return page(
        f"{title}: {verdict}",
        heading,
        "\n".join(part for part in body if part),
        definitions=figures.pattern_definitions(),
    )


def boards_html(checks: Sequence[Check]) -> str:
    """Return a page of several boards: which file is best on which."""
    rows = [
        [
            text(check.name),
            name(check.cheapest.file),
            wording.count(check.cheapest.instructions_per_inference),
            f"{check.cheapest.estimate_ms.low:.0f} to {check.cheapest.estimate_ms.high:.0f}",
        ]
        for check in checks
    ]
    head = ["board", "fewest instructions", "instructions", "ms, estimated"]
    body = [section("best", "Which file on which board", table("Best", head, rows, (2, 3)))]
    body += [
        section(f"board-{number}", text(check.name), _picture(check), paragraph(_conditions(check)))
        for number, check in enumerate(checks)
    ]
    title = f"{text(checks[0].folder)} on {len(checks)} boards"
    return page(
        title, f"<h1>{title}</h1>", "\n".join(body), definitions=figures.pattern_definitions()
    )


def _conditions(check: Check) -> str:
    error = check.main.estimate_error.get("worst", 0.0)
    return (
        f"{check.name}, {check.core} at {check.clock_hz / 1e9:g} GHz, under QEMU with the wheels "
        f"that the board gets; input {wording.shape(check.main.size)}, one thread. Instructions "
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


def _picture(check: Check) -> str:
    most = max(file.instructions_per_inference for file in check.files)
    rows = [figures.row(name(file.file), _bar(file, most), _millions(file)) for file in check.files]
    legend = "".join(
        f'<li><svg aria-hidden="true" width="30" height="14"><rect class="part-{kind}" x="1" '
        f'y="1" width="28" height="12"/></svg> <span>{text(label)}</span></li>'
        for _, kind, label in PARTS
    )
    best = f"Fewest instructions: {check.cheapest.file}." if len(check.files) > 1 else ""
    return (
        f'<ul class="legend">{legend}</ul><figure><ol class="rows">{"".join(rows)}</ol>'
        f"<figcaption>Millions of instructions. {text(best)}</figcaption></figure>"
    )


def _bar(file: FileCheck, most: int) -> str:
    pieces, start = [], 0
    for kind, style, label in PARTS:
        count = getattr(file.instructions, kind)
        pieces.append(
            f'<rect class="part-{style}" x="{figures.percent(start / most)}" y="1" height="12" '
            f'width="{figures.percent(count / most)}"><title>{text(label)}</title></rect>'
        )
        start += count
    words = f"{file.file}: {wording.count(file.instructions_per_inference)} instructions"
    return figures.drawing(words, 14, *pieces)


def _millions(file: FileCheck) -> str:
    return f"{file.instructions_per_inference / 1e6:,.1f} M"


def _table(check: Check) -> str:
    rows = [
        [
            name(file.file),
            wording.count(file.instructions_per_inference),
            f"{file.estimate_ms.low:.0f} to {file.estimate_ms.high:.0f}",
            wording.decimal(file.peak_memory_bytes / 1e6, 0),
            wording.count(file.size_bytes),
            wording.difference(file.apart.worst),
            _boxes(file),
            "PASS" if file.parity else "FAIL",
        ]
        for file in check.files
    ]
    return table("Files on the board", HEAD, rows, NUMERIC)


def _kinds(check: Check) -> str:
    rows = [
        [
            name(file.file),
            text(file.runtime),
            *(wording.count(getattr(file.instructions, kind)) for kind, _, _ in PARTS),
            wording.count(file.opening_instructions),
        ]
        for file in check.files
    ]
    head = ["file", "runtime", *(label for _, _, label in PARTS), "to open the file"]
    return table("Instructions by kind", head, rows, (2, 3, 4, 5, 6))


def _operators(number: int, file: FileCheck) -> str:
    """List where a file's instructions go, by type of operator and by operator."""
    total = file.instructions_per_inference
    types = [
        [name(kind), str(count), wording.count(spent), f"{spent / total:.1%}"]
        for kind, (count, spent) in file.operator_types.items()
    ]
    ranked = sorted(file.operators, key=lambda each: -each.instructions)[:DEAREST]
    single = [
        [name(each.name), name(each.type), wording.count(each.instructions),
         f"{each.instructions / total:.1%}"]
        for each in ranked
    ]  # fmt: skip
    return section(
        f"operators-{number}",
        f"Where they go: {text(file.file)}",
        paragraph(
            "As the runtime runs them, by its own profiler, whose own instructions are taken off "
            "evenly: a single operator is right to a few thousand."
        ),
        table("By type", ["type", "operators", "instructions", "share"], types, (1, 2, 3)),
        table("The dearest", ["operator", "type", "instructions", "share"], single, (2, 3)),
    )


def _boxes(file: FileCheck) -> str:
    boxes = file.boxes
    if boxes is None:
        return ""
    return f"{boxes.both} as here, {boxes.missed} missed, {boxes.added} added"
