"""The card of a shipped network: where it comes from, how good it is, and what it is bad at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolchain.records.members import MemberFacts, trained_pruned_channels, trained_widths
from toolchain.report import wording
from toolchain.report.document.model import (
    Code,
    CodeBlock,
    Document,
    Items,
    Paragraph,
    Section,
    Table,
    Words,
    parts,
)
from toolchain.report.members import LEVELS, conditions, figures

PARAMETER_BYTES = 4
"""A float32 number."""

OWN_FILTERS = (
    "A student of the same widths ends near its teacher's own filters: it learns to give what the "
    "teacher gives, layer by layer. So these weights are to be seen as made from the teacher's, "
    "and not as found without them."
)


SOLVED = (
    "Its layers were solved in closed form, for what the teacher's layers give: at the teacher's "
    "own widths that finds the teacher's filters again, whatever the random weights were at the "
    "start. What was learnt after that is little."
)


def card(facts: MemberFacts, asked: str | None = None, instructions: int | None = None) -> Document:
    """Return the card, from the file's facts.

    ``asked`` are the options by which ``shrink`` takes it; None: those of its rate or parameters.
    ``instructions``: what it takes on a board, if that is known.
    """
    title = f"{facts['model']}, {_which(facts)}"
    bad_at: tuple[Words, ...] = tuple(facts["bad_at"])
    return Document(
        title,
        title,
        "",
        _lead(facts, asked or _asked(facts), instructions),
        (
            _accuracy(facts),
            Section("bad-at", "What it is bad at", (_list(bad_at),)),
            _origin(facts),
            _training(facts),
            Section("terms", "Terms", (Paragraph(facts["terms"]),)),
        ),
    )


def _which(facts: MemberFacts) -> str:
    if trained_widths(facts):
        return f"{wording.count(facts['deployed_parameters'])} parameters"
    if facts["rate"]:
        return f"{wording.percentage(facts['rate'])} of its filters removed"
    return "all filters"


def _zeros(facts: MemberFacts, asked: str) -> str:
    if trained_widths(facts):
        by_cost, recovered = "--instructions" in asked, bool(facts["training"].get("recovery"))
        if by_cost:
            within = " within so many instructions on a board"
        else:  # a recovery's record does not tell what its plan was to meet
            within = "" if recovered else " within so many parameters"
        words = (
            f"Each group of layers has a width of its own: a plan chose those that lose least"
            f"{within}. In training the other filters were held at zero "
            f"({_choice(facts)}); they are in the file, and the command removes them."
        )
        if by_cost or recovered:
            return words
        return (
            f"{words} It takes more computation than a network of as many parameters that lost the "
            f"same share everywhere: the plan keeps what works at full resolution."
        )
    if facts["rate"]:
        return (
            f"In training {wording.percentage(facts['rate'])} of its filters were held at zero "
            f"({_choice(facts)}, scope {facts['scope']}); they are in the file, and the "
            f"command removes them."
        )
    return "No filter was held at zero in training."


def _choice(facts: MemberFacts) -> str:
    if trained_pruned_channels(facts):
        return "chosen by what the outputs lose without each"
    return f"criterion {facts['criterion']}"


def _asked(facts: MemberFacts) -> str:
    if trained_widths(facts):
        return f"--parameters {facts['deployed_parameters']}"
    return f"--rate {facts['rate']:g}" + (" --align 1" if facts["rate"] else "")


def _lead(facts: MemberFacts, asked: str, instructions: int | None) -> tuple[Paragraph, ...]:
    parameters = facts["deployed_parameters"]
    command = Code(f"toolchain shrink {facts['model']} {asked}")
    ratio = facts["aspect_ratio"]
    anchors = f" Its anchors are {ratio:g} times as high as wide." if ratio else ""
    cost = "" if instructions is None else _cost(instructions)
    return (
        Paragraph(
            ("A face detector, trained; ", command, f" takes it. {_zeros(facts, asked)}{anchors}")
        ),
        Paragraph(
            f"Deployed it has {wording.count(parameters)} parameters, scalars outside layers "
            f"included: {wording.count(PARAMETER_BYTES * parameters)} bytes as float32 numbers."
            f"{cost}"
        ),
    )


def _cost(instructions: int) -> str:
    return (
        f" On a Raspberry Pi 4 ncnn takes about {instructions / 1e6:.1f} M instructions for "
        f"320x320, estimated from its layers."
    )


def _accuracy(facts: MemberFacts) -> Section:
    accuracy = facts["accuracy"]
    heads = tuple(level.capitalize() for level in LEVELS)
    caption = f"Average precision {conditions(accuracy)}"
    table = Table(caption, heads, (tuple(figures(accuracy)),), (0, 1, 2))
    return Section("accuracy", "Accuracy", (table,))


def _origin(facts: MemberFacts) -> Section:
    title = "Where it comes from"
    data = f"Data: {facts['data']}"
    if not facts["teacher_sha256"]:
        return Section("origin", title, (Items((data, "Teacher: none")),))
    digest = Code(facts["teacher_sha256"])
    lines: tuple[Words, ...] = (
        data,
        (f"Teacher: {facts['teacher_name']}, SHA-256 ", digest),
        f"The teacher's licence: {facts['teacher_licence']}",
    )
    solved = facts["training"].get("teach.solved")
    words = f"{OWN_FILTERS} {SOLVED}" if solved else OWN_FILTERS
    return Section("origin", title, (Items(lines), Paragraph(words)))


def _training(facts: MemberFacts) -> Section:
    lines = (
        f"Crops: {wording.count(facts['images'])}",
        f"Seed: {facts['seed']}",
        f"Hours: {wording.decimal(facts['hours'], 1)}",
    )
    rows = tuple((name, str(value)) for name, value in _settings(facts["training"]))
    return Section(
        "training",
        "How it was trained",
        parts(
            Items(lines),
            Paragraph("The command that makes it again:"),
            CodeBlock(_command(facts["command"])),
            Table("Settings", ("setting", "value"), rows) if rows else None,
        ),
    )


def _command(command: str) -> tuple[str, ...]:
    """Return a command's lines, one for each of several that follow each other."""
    *before, last = command.split(" && ")
    return (*(f"{line} &&" for line in before), last)


def _settings(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield names and values, those of a table within a table as ``table.name``."""
    for name, value in sorted(settings.items()):
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _list(lines: tuple[Words, ...]) -> Items | Paragraph:
    return Items(lines) if lines else Paragraph("Nothing was said.")
