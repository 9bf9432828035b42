"""The card of a shipped network: where it comes from, how good it is, and what it is bad at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from toolchain.records.stages import MemberFacts, trained_pruned_channels, trained_widths
from toolchain.report import wording
from toolchain.report.document.marks import code, plain, table
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


def card(facts: MemberFacts) -> str:
    """Return the card as Markdown; all of it is from the file's facts. It ends with a line feed."""
    sections = [
        _head(facts),
        _accuracy(facts),
        _list("What it is bad at", [plain(line) for line in facts["bad_at"]]),
        _origin(facts),
        _training(facts),
        f"## Terms\n\n{plain(facts['terms'])}",
    ]
    return "\n\n".join(sections) + "\n"


def _head(facts: MemberFacts) -> str:
    rate, parameters = facts["rate"], facts["deployed_parameters"]
    which, zeros = "all filters", "No filter was held at zero in training."
    if trained_widths(facts):
        which = f"{wording.count(parameters)} parameters"
        zeros = (
            f"Each group of layers has a width of its own: a plan chose those that lose least "
            f"within so many parameters. In training the other filters were held at zero "
            f"({_choice(facts)}); they are in the file, and the command "
            f"removes them. It takes more computation than a network of as many parameters that "
            f"lost the same share everywhere: the plan keeps what works at full resolution."
        )
    elif rate:
        which = f"{wording.percentage(rate)} of its filters removed"
        zeros = (
            f"In training {wording.percentage(rate)} of its filters were held at zero "
            f"({_choice(facts)}, scope {plain(facts['scope'])}); they are in the file, and the "
            f"command removes them."
        )
    return (
        f"# {plain(facts['model'])}, {which}\n\n"
        f"A face detector, trained; {_shrink(facts)} takes it. {zeros} Its anchors are "
        f"{facts['aspect_ratio']:g} times as high as wide.\n\n"
        f"Deployed it has {wording.count(parameters)} parameters, scalars outside layers included: "
        f"{wording.count(PARAMETER_BYTES * parameters)} bytes as float32 numbers."
    )


def _choice(facts: MemberFacts) -> str:
    if trained_pruned_channels(facts):
        return "chosen by what the outputs lose without each"
    return f"criterion {plain(facts['criterion'])}"


def _shrink(facts: MemberFacts) -> str:
    asked = f"--rate {facts['rate']:g}"
    if trained_widths(facts):
        asked = f"--parameters {facts['deployed_parameters']}"
    return code(f"toolchain shrink {facts['model']} {asked}")


def _accuracy(facts: MemberFacts) -> str:
    accuracy = facts["accuracy"]
    heads = [level.capitalize() for level in LEVELS]
    return (
        f"## Accuracy\n\nAverage precision {plain(conditions(accuracy))}:\n\n"
        f"{table(heads, [figures(accuracy)], numeric=(0, 1, 2))}"
    )


def _origin(facts: MemberFacts) -> str:
    lines = [f"Data: {plain(facts['data'])}"]
    if not facts["teacher_sha256"]:
        return _list("Where it comes from", [*lines, "Teacher: none"])
    lines += [
        f"Teacher: {plain(facts['teacher_name'])}, SHA-256 {code(facts['teacher_sha256'])}",
        f"The teacher's licence: {plain(facts['teacher_licence'])}",
    ]
    words = OWN_FILTERS
    if facts["training"].get("teach.solved"):
        words = f"{words} {SOLVED}"
    return f"{_list('Where it comes from', lines)}\n\n{plain(words)}"


def _training(facts: MemberFacts) -> str:
    lines = [
        f"Crops: {wording.count(facts['images'])}",
        f"Seed: {facts['seed']}",
        f"Hours: {wording.decimal(facts['hours'], 1)}",
    ]
    pieces = [
        _list("How it was trained", lines),
        f"The command that makes it again:\n\n{_block(facts['command'])}",
    ]
    rows = [[plain(name), plain(value)] for name, value in _settings(facts["training"])]
    if rows:
        pieces.append(table(["setting", "value"], rows))
    return "\n\n".join(pieces)


def _block(command: str) -> str:
    """Return a command as a block of code, a line for each of several that follow each other."""
    lines = " &&\n".join(wording.clean(line) for line in command.split(" && "))
    fence = "````" if "```" in command else "```"
    return f"{fence}text\n{lines}\n{fence}"


def _settings(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield names and values, those of a table within a table as ``table.name``."""
    for name, value in sorted(settings.items()):
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _list(heading: str, lines: Sequence[str]) -> str:
    """Return a section of one list; ``lines`` are ready Markdown."""
    return "\n\n".join(
        [f"## {heading}", "\n".join(f"- {line}" for line in lines) or "Nothing was said."]
    )
