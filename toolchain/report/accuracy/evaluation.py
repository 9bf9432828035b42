"""One or several evaluations: figures, curves, photos, and how they came about."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.accuracy import Evaluation, Picture, Sample
from toolchain.report import wording
from toolchain.report.accuracy.curves import level_figure
from toolchain.report.accuracy.precision_words import (
    BOX_COLOURS,
    figure,
    levels_of,
    on_photos,
    protocol_words,
    sample_words,
)
from toolchain.report.accuracy.series import photo_series
from toolchain.report.charts.bars import share_bar
from toolchain.report.document.model import (
    Bar,
    Beside,
    Block,
    Code,
    Details,
    Document,
    Items,
    Notice,
    Paragraph,
    Section,
    Table,
    Tile,
    Tiles,
    Words,
    parts,
)


def evaluation_document(
    evaluations: Sequence[Evaluation],
    worst: Sequence[Picture] = (),
    compared: Sequence[Picture] = (),
) -> Document:
    """Return the whole document.

    Raises ValueError if there is no evaluation.
    """
    if not evaluations:
        raise ValueError("a document needs at least one evaluation")
    subjects = ", ".join(item.subject.name for item in evaluations)
    several = wording.plural(len(evaluations), "detector")
    return Document(
        title=f"{subjects}: average precision {_on(evaluations)}",
        heading=evaluations[0].subject.name if len(evaluations) == 1 else several,
        subject=f"average precision {_on(evaluations)}",
        lead=_lead(evaluations),
        blocks=parts(
            _notes(evaluations),
            _curves(evaluations),
            _photos("worst", "The photos with the most missed faces", worst),
            _photos("compared", "The same photos, side by side", compared),
            _broken(evaluations),
            _settings(evaluations),
            _origin(evaluations),
        ),
    )


def _samples(evaluations: Sequence[Evaluation]) -> list[Sample]:
    return list(dict.fromkeys(item.sample for item in evaluations))


def _on(evaluations: Sequence[Evaluation]) -> str:
    return "; ".join(dict.fromkeys(map(on_photos, _samples(evaluations))))


def _lead(evaluations: Sequence[Evaluation]) -> tuple[Block, ...]:
    protocols = dict.fromkeys(protocol_words(item.protocol) for item in evaluations)
    return (
        *map(_sample, _samples(evaluations)),
        _tiles(evaluations),
        *(Paragraph(words, quiet=True) for words in protocols),
    )


def _sample(sample: Sample) -> Block:
    words = sample_words(sample)
    return Paragraph(words, quiet=True) if sample.is_whole else Notice(words)


def _tiles(evaluations: Sequence[Evaluation]) -> Block:
    levels = levels_of(evaluations)
    if not levels:
        return Notice("There is no ground truth here, so nothing was scored.")
    tiles = tuple(_tile(level, evaluations) for level in levels)
    return Tiles("Average precision", tiles, large=True)


def _tile(level: str, evaluations: Sequence[Evaluation]) -> Tile:
    title = level.capitalize()
    if len(evaluations) == 1:
        ap = evaluations[0].ap(level)
        if ap is None:
            return Tile(title, figure(ap), (Paragraph("no face counts", quiet=True),))
        return Tile(title, figure(ap), drawing=share_bar(ap))
    bars = [
        Bar(item.subject.name, share_bar(item.ap(level) or 0.0), figure(item.ap(level)))
        for item in evaluations
    ]
    return Tile(title, bars=tuple(bars))


def _curves(evaluations: Sequence[Evaluation]) -> Section | None:
    levels = levels_of(evaluations)
    if not levels:
        return None
    figures = tuple(level_figure(level, evaluations) for level in levels)
    words = (
        "Precision: of the boxes above a score, how many lie on a face. Recall: of the faces "
        "that count, how many have a box. The score falls along a line from left to right."
    )
    title = f"Precision and recall, {_on(evaluations)}"
    return Section("curves", title, (Paragraph(words), Beside(figures, wide=True)))


def _notes(evaluations: Sequence[Evaluation]) -> Section | None:
    several = len(evaluations) > 1
    notes = tuple(
        f"{item.subject.name}: {note}" if several else note
        for item in evaluations
        for note in item.notes
    )
    return Section("notes", "Notes", (Items(notes),)) if notes else None


def _photos(identifier: str, title: str, shown: Sequence[Picture]) -> Section | None:
    if not shown:
        return None
    colours = Paragraph(BOX_COLOURS, quiet=True)
    return Section(identifier, title, (colours, *map(photo_series, shown)))


def _broken(evaluations: Sequence[Evaluation]) -> Section | None:
    broken = dict.fromkeys(photo for item in evaluations for photo in item.broken)
    if not broken:
        return None
    title = "Photos that cannot be read"
    rows = tuple((Code(photo.name), photo.reason) for photo in broken)
    count = wording.plural(len(rows), "photo")
    words = Paragraph(f"{count} counted as having no box: every face on them is missed.")
    return Section("broken", title, (words, Table(title, ("photo", "reason"), rows)))


def _settings(evaluations: Sequence[Evaluation]) -> Section:
    head = ("detector", "kind", "model", "settings", "protocol", "SHA-256, first digits")
    rows = tuple(map(_setting, evaluations))
    return Section("settings", "What was evaluated", (Table("Detectors and settings", head, rows),))


def _setting(item: Evaluation) -> tuple[Words, ...]:
    subject = item.subject
    return (
        Code(subject.name),
        subject.kind,
        subject.model or "-",
        ", ".join(f"{key} {value}" for key, value in subject.settings.items()) or "-",
        protocol_words(item.protocol),
        Code(wording.short_hash(subject.sha256 or "-")),
    )


def _origin(evaluations: Sequence[Evaluation]) -> Section:
    head = ("detector", "photos", "done before", "seconds", "processes", "threads in each")
    commands = dict.fromkeys(item.command for item in evaluations if item.command)
    versions = dict.fromkeys(pair for item in evaluations for pair in item.versions.items())
    samples = tuple(
        (sample.split, wording.count(sample.images), Code(sample.sha256))
        for sample in _samples(evaluations)
    )
    return Section(
        "origin",
        "How it was made",
        (
            *(Paragraph(("Command: ", Code(command))) for command in commands),
            Table("Work in this run", head, tuple(map(_work, evaluations)), tuple(range(1, 6))),
            Details(
                "Versions, and the sample's digest",
                (
                    Table("Versions", ("package", "version"), tuple(versions)),
                    Table("Photos and ground truth", ("split", "photos", "SHA-256"), samples, (1,)),
                ),
            ),
        ),
    )


def _work(item: Evaluation) -> tuple[Words, ...]:
    ran = item.seconds is not None
    return (
        Code(item.subject.name),
        wording.count(item.sample.images),
        wording.count(item.resumed_images),
        "-" if item.seconds is None else wording.decimal(item.seconds, 1),
        wording.count(item.workers) if ran else "-",
        wording.count(item.threads) if ran else "-",
    )
