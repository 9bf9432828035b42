"""The card of a shipped network: where it comes from, how good it is, and what it is bad at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from toolchain.records import MemberFacts
from toolchain.report import facts as common
from toolchain.report import wording
from toolchain.report.markdown import code, plain, table

PARAMETER_BYTES = 4
"""A float32 number."""

OWN_FILTERS = (
    "A student of the same widths ends near its teacher's own filters: it learns to give what the "
    "teacher gives, layer by layer. So these weights are to be seen as made from the teacher's, "
    "and not as found without them."
)


def card(facts: MemberFacts) -> str:
    """Return the card as Markdown; all of it is from the file's facts. It ends with a line feed."""
    sections = [
        _head(facts),
        _accuracy(facts),
        _origin(facts),
        _training(facts),
        _list("What it is bad at", facts["bad_at"]),
        f"## Terms\n\n{plain(facts['terms'])}",
    ]
    return "\n\n".join(sections) + "\n"


def _head(facts: MemberFacts) -> str:
    model, rate = facts["model"], facts["rate"]
    parameters = facts["deployed_parameters"]
    zeros = (
        f"Of its filters {wording.percentage(rate)} were held at zero in training (criterion "
        f"{plain(facts['criterion'])}, scope {plain(facts['scope'])}); {_shrink(facts)} removes "
        f"them."
        if rate
        else f"No filter was held at zero in training. {_shrink(facts)} takes it."
    )
    return (
        f"# {plain(model)}, {wording.percentage(rate)} of its filters removed\n\n"
        f"A trained face detector, with anchors {facts['aspect_ratio']:g} times as high as wide. "
        f"{zeros}\n\n"
        f"Deployed it has {wording.count(parameters)} parameters, "
        f"{wording.count(PARAMETER_BYTES * parameters)} bytes as float32 numbers."
    )


def _shrink(facts: MemberFacts) -> str:
    return code(f"toolchain shrink {facts['model']} --rate {facts['rate']:g}")


def _accuracy(facts: MemberFacts) -> str:
    accuracy = facts["accuracy"]
    figures = [wording.decimal(accuracy[level], 3) for level in common.LEVELS]
    sample = "" if accuracy["photos"] == common.VALIDATION_PHOTOS else " **A sample, not the set.**"
    return (
        f"## Accuracy\n\nAverage precision on WIDER FACE's validation set, protocol "
        f"{code(accuracy['protocol'])}, {common.photos_words(accuracy)}:{sample}\n\n"
        f"{table([level.capitalize() for level in common.LEVELS], [figures], numeric=(0, 1, 2))}"
    )


def _origin(facts: MemberFacts) -> str:
    lines = [
        f"Data: {plain(facts['data'])}",
        f"Teacher: {plain(facts['teacher_name'])}, SHA-256 {code(facts['teacher_sha256'])}",
        f"The teacher's licence: {plain(facts['teacher_licence'])}",
    ]
    return f"{_list('Where it comes from', lines, ready=True)}\n\n{plain(OWN_FILTERS)}"


def _training(facts: MemberFacts) -> str:
    rows = [[plain(name), plain(value)] for name, value in _settings(facts["training"])]
    lines = [
        f"Crops: {wording.count(facts['images'])}",
        f"Seed: {facts['seed']}",
        f"Hours: {wording.decimal(facts['hours'], 1)}",
        f"The command that makes it again: {code(facts['command'])}",
    ]
    pieces = [_list("How it was trained", lines, ready=True)]
    if rows:
        pieces.append(table(["setting", "value"], rows))
    return "\n\n".join(pieces)


def _settings(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield names and values, those of a table within a table as ``table.name``."""
    for name, value in sorted(settings.items()):
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _list(heading: str, lines: Sequence[str], *, ready: bool = False) -> str:
    """Return a section of one list; lines that are not ``ready`` are escaped."""
    items = [f"- {line if ready else plain(line)}" for line in lines]
    return "\n\n".join([f"## {heading}", "\n".join(items) or "Nothing was said."])
