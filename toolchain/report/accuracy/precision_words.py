"""Evaluations in words and short rows, the same on pages and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.accuracy import Evaluation, Protocol, Sample
from toolchain.report import wording

NOTHING = "-"
NEVER_OFFICIAL = "A figure of this sample, never a WIDER FACE result."
BOX_COLOURS = (
    "Green: a box on a face. Red: a face that counts and has no box. Blue: a box on no face."
)
PLACES = 4


def figure(ap: float | None) -> str:
    """Return an average precision as the field writes it: ``.8570``; ``-`` for None."""
    if ap is None:
        return NOTHING
    words = wording.decimal(ap, PLACES)
    return words.removeprefix("0") if 0 <= ap < 1 else words


def same_figure(one: float | None, other: float | None) -> bool:
    """Return whether two average precisions are written the same."""
    return figure(one) == figure(other)


def levels_of(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """Return the levels that any of the evaluations has, in their order."""
    return tuple(dict.fromkeys(curve.level for item in evaluations for curve in item.curves))


def terminal_rows(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """Return one row per evaluation: its name, and a figure for each of its levels."""
    levels = levels_of(evaluations)
    return [
        [wording.clean(item.subject.name), *(figure(item.ap(level)) for level in levels)]
        for item in evaluations
    ]


def on_photos(sample: Sample) -> str:
    """Return the sample for a title: ``on 403 of 3,226 photos``."""
    if sample.is_whole:
        return f"on all {wording.plural(sample.images, 'photo')}"
    return f"on {wording.count(sample.images)} of {wording.plural(sample.listed, 'photo')}"


def sample_words(sample: Sample) -> str:
    """Return which photos were scored, and what their figure must not be taken for."""
    split = wording.clean(sample.split)
    if sample.is_whole:
        return f"Scored {on_photos(sample)} that the {split} list names."
    why = []
    if sample.missing:
        why.append(f"{wording.count(sample.missing)} are not in the folder")
    if sample.limit is not None:
        why.append(f"a spread-out sample of {wording.count(sample.limit)} was asked for")
    reasons = f" ({', and '.join(why)})" if why else ""
    return f"Scored {on_photos(sample)} that the {split} list names{reasons}. {NEVER_OFFICIAL}"


def protocol_words(protocol: Protocol | None) -> str:
    """Return how each photo was run, with every number that decides the result."""
    if protocol is None:
        return "Boxes made elsewhere, scored as they came; their protocol is not known here."
    passes = {
        "single": "one pass over each photo",
        "paper": "several scales and the mirrored photo, boxes merged by voting",
    }[protocol.name]
    return (
        f"Protocol {protocol.name}: {passes}{_size_words(protocol)}; "
        f"in each pass scores of at least {protocol.score_threshold:g}, "
        f"the {wording.count(protocol.max_candidates)} best boxes, "
        f"suppression at an overlap of {protocol.nms_iou:g}; "
        f"at most {wording.count(protocol.max_detections)} boxes per photo."
    )


def _size_words(protocol: Protocol) -> str:
    if protocol.name == "paper":
        return ""
    if protocol.size is not None:
        return f", fitted into {protocol.size[0]}x{protocol.size[1]}"
    if protocol.max_side is None:
        return ", at its own size"
    return f", longer side at most {wording.count(protocol.max_side)} px"
