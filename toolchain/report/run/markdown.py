"""The report as Markdown, to read in a terminal or on GitHub."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.parity import Parity
from toolchain.records.stages import Report
from toolchain.report import wording
from toolchain.report.document.marks import code, name, plain, table
from toolchain.report.run import facts, filters
from toolchain.report.run.lineage import chain_markdown

REASONS_SHOWN = 10
"""How many reasons for keeping filters are listed; the rest are counted in one line."""


def markdown(report: Report) -> str:
    """Return the whole page; it ends with a line feed."""
    sections = [
        _head(report),
        _before_and_after(report),
        _parity(report),
        chain_markdown(report),
        _zeroed_filters(report),
        _photos(report),
        _files(report),
        _next_steps(report),
        _notes(report),
        _origin(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(report: Report) -> str:
    proved = facts.proved(report)
    before, after = report.cost_before, report.cost_after
    lines = [
        f"# {plain(report.model)}: pruned, shrunk, exported, "
        f"{'and proved' if proved else 'but NOT PROVED'}"
    ]
    if not report.source.trained:
        lines.append(f"> **UNTRAINED. {plain(facts.untrained_words(report))}**")
    lines.append(
        f"**{'PROVED' if proved else 'FAILED'}.** {plain(facts.verdict_words(report))} "
        f"{wording.count(before.deployed_parameters)} → "
        f"{wording.count(after.deployed_parameters)} deployed parameters; "
        f"{plain(facts.pruning_words(report))}."
    )
    return "\n\n".join(lines)


def _before_and_after(report: Report) -> str:
    comparisons = facts.comparisons(report)
    rows = [
        [row.measure, row.before_words, row.after_words, row.change_words] for row in comparisons
    ]
    lines = [
        "## Before and after",
        table(["measure", "before", "after", "change"], rows, numeric=(1, 2)),
    ]
    lines.append("\n".join(f"- {row.measure}: {plain(row.detail)}." for row in comparisons))
    if report.latency is None:
        lines.append("Time was not measured in this run.")
    uncounted = facts.uncounted_words(report)
    if uncounted:
        lines.append(f"**{plain(uncounted)}**")
    return "\n\n".join(lines)


def _parity(report: Report) -> str:
    return "\n\n".join(["## Parity", *map(_link, facts.links(report))])


def _link(parity: Parity) -> str:
    verdict = "PASS" if parity.passed else "**FAIL**"
    sentence = f"{verdict}: {plain(facts.parity_words(parity))}."
    rows = [
        [*map(plain, words[:-1]), _case(words[-1])]
        for words in (facts.parity_row(parity, case) for case in parity.cases)
    ]
    if not rows:
        return sentence
    return f"{sentence}\n\n{table(facts.PARITY_HEAD, rows, numeric=facts.PARITY_NUMERIC)}"


def _case(words: str) -> str:
    return words if words == "within" else f"**{words}**"


def _zeroed_filters(report: Report) -> str:
    surgery = report.surgery
    rows = [
        [verdict.label, wording.count(number), verdict.meaning]
        for verdict, number in filters.verdict_counts(surgery)
    ]
    lines = ["## Zeroed filters", filters.filters_words(surgery)]
    if surgery.filters:
        lines.append(table(["verdict", "filters", "meaning"], rows, numeric=(1,)))
    reasons = filters.kept_reasons(surgery.filters)
    if reasons:
        lines.append("Why filters were kept, commonest first:")
        lines.append(_reasons(reasons))
    return "\n\n".join(lines)


def _reasons(reasons: Sequence[filters.KeptReason]) -> str:
    shown, rest = reasons[:REASONS_SHOWN], reasons[REASONS_SHOWN:]
    rows = [
        [
            wording.count(reason.filters),
            plain(reason.words),
            f"{name(reason.example.layer)} filter {reason.example.index}",
        ]
        for reason in shown
    ]
    if rest:
        words = f"{wording.plural(len(rest), 'other reason')}, all in report.json"
        rows.append([wording.count(sum(reason.filters for reason in rest)), words, ""])
    return table(["filters", "reason", "for example"], rows, numeric=(0,))


def _photos(report: Report) -> str:
    rows = [
        [
            plain(photo.name),
            wording.count(len(photo.before.boxes)),
            wording.count(len(photo.after.boxes)),
            facts.box_words(photo),
        ]
        for photo in report.photos
    ]
    if not rows:
        return ""
    head = ["photo", "faces before", "faces after", "largest box difference"]
    return f"## Photos\n\n{table(head, rows, numeric=(1, 2))}"


def _files(report: Report) -> str:
    rows = [
        [
            name(artifact.name),
            wording.count(artifact.size_bytes),
            name(wording.short_hash(artifact.sha256)),
        ]
        for artifact in report.artifacts
    ]
    if not rows:
        return "## Files\n\nNo files were written."
    return f"## Files\n\n{table(['file', 'bytes', 'SHA-256'], rows, numeric=(1,))}"


def _next_steps(report: Report) -> str:
    steps = [plain(step.words).format(*map(code, step.names)) for step in facts.next_steps(report)]
    return "## What to do next\n\n" + "\n".join(
        f"{number}. {step}" for number, step in enumerate(steps, start=1)
    )


def _notes(report: Report) -> str:
    if not report.notes:
        return ""
    return "## Notes\n\n" + "\n".join(f"- {plain(note)}" for note in report.notes)


def _origin(report: Report) -> str:
    versions = ", ".join(plain(f"{package} {text}") for package, text in report.versions.items())
    rows = [[plain(stage.name), wording.decimal(stage.seconds, 1)] for stage in report.stages]
    rows.append(["all", wording.decimal(sum(stage.seconds for stage in report.stages), 1)])
    return "\n\n".join(
        [
            "## How it was made",
            f"- Weights: {plain(facts.source_words(report))}\n"
            f"- Command: {code(report.command)}\n"
            f"- Versions: {versions or 'not recorded'}",
            table(["stage", "seconds"], rows, numeric=(1,)),
        ]
    )
