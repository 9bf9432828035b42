"""The page of one or several evaluations: figures, curves, photos, and how they came about."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.accuracy import Evaluation, Picture, Sample
from toolchain.report import wording
from toolchain.report.accuracy import curves, shell
from toolchain.report.accuracy.precision_words import (
    figure,
    levels_of,
    on_photos,
    protocol_words,
    sample_words,
)
from toolchain.report.document.markup import details, items, name, paragraph, section, table, text


def evaluation_page(
    evaluations: Sequence[Evaluation],
    worst: Sequence[Picture] = (),
    compared: Sequence[Picture] = (),
) -> str:
    """Return the whole page.

    Raises ValueError if there is no evaluation.
    """
    if not evaluations:
        raise ValueError("a page needs at least one evaluation")
    subjects = ", ".join(item.subject.name for item in evaluations)
    sections = [
        _notes(evaluations),
        _curves(evaluations),
        _photos("worst", "The photos with the most missed faces", worst),
        _photos("compared", "The same photos, side by side", compared),
        _broken(evaluations),
        _settings(evaluations),
        _origin(evaluations),
    ]
    title = f"{subjects}: average precision {_on(evaluations)}"
    return shell.page(title, _head(evaluations), sections)


def _samples(evaluations: Sequence[Evaluation]) -> list[Sample]:
    return list(dict.fromkeys(item.sample for item in evaluations))


def _on(evaluations: Sequence[Evaluation]) -> str:
    return "; ".join(dict.fromkeys(map(on_photos, _samples(evaluations))))


def _head(evaluations: Sequence[Evaluation]) -> str:
    title = (
        text(evaluations[0].subject.name)
        if len(evaluations) == 1
        else wording.plural(len(evaluations), "detector")
    )
    samples = _samples(evaluations)
    protocols = list(dict.fromkeys(protocol_words(item.protocol) for item in evaluations))
    pieces = [
        f'<h1>{title} <span class="what">average precision {text(_on(evaluations))}</span></h1>',
        *(_sample(sample) for sample in samples),
        _tiles(evaluations),
        *(paragraph(words, "muted") for words in protocols),
    ]
    return "\n".join(pieces)


def _sample(sample: Sample) -> str:
    words = sample_words(sample)
    return paragraph(words, "muted") if sample.is_whole else shell.warning(words)


def _tiles(evaluations: Sequence[Evaluation]) -> str:
    levels = levels_of(evaluations)
    if not levels:
        return paragraph("There is no ground truth here, so nothing was scored.", "warning")
    tiles = "".join(_tile(level, evaluations) for level in levels)
    kind = "tiles scores several" if len(evaluations) > 1 else "tiles scores"
    return f'<ul class="{kind}" aria-label="Average precision">{tiles}</ul>'


def _tile(level: str, evaluations: Sequence[Evaluation]) -> str:
    title = f'<h2 class="measure">{text(level.capitalize())}</h2>'
    if len(evaluations) == 1:
        ap = evaluations[0].ap(level)
        words = '<p class="muted">no face counts</p>' if ap is None else _bar(ap)
        return f'<li>{title}<p class="figure">{figure(ap)}</p>{words}</li>'
    rows = "".join(
        f'<li><span class="name">{text(item.subject.name)}</span>'
        f'<span class="figure">{figure(item.ap(level))}</span>{_bar(item.ap(level) or 0.0)}</li>'
        for item in evaluations
    )
    return f'<li>{title}<ol class="each">{rows}</ol></li>'


def _bar(ap: float) -> str:
    share = min(max(ap, 0.0), 1.0) * 100
    return (
        '<svg aria-hidden="true" width="100%" height="6">'
        '<rect class="whole" width="100%" height="6"/>'
        f'<rect class="after" width="{share:.2f}%" height="6"/></svg>'
    )


def _curves(evaluations: Sequence[Evaluation]) -> str:
    levels = levels_of(evaluations)
    if not levels:
        return ""
    charts = "\n".join(curves.level_chart(level, evaluations) for level in levels)
    return section(
        "curves",
        f"Precision and recall, {_on(evaluations)}",
        paragraph(
            "Precision: of the boxes above a score, how many lie on a face. Recall: of the faces "
            "that count, how many have a box. The score falls along a line from left to right."
        ),
        f'<div class="levels">{charts}</div>',
    )


def _notes(evaluations: Sequence[Evaluation]) -> str:
    several = len(evaluations) > 1
    notes = [
        f"{text(item.subject.name)}: {text(note)}" if several else text(note)
        for item in evaluations
        for note in item.notes
    ]
    return section("notes", "Notes", items(notes)) if notes else ""


def _photos(identifier: str, title: str, shown: Sequence[Picture]) -> str:
    if not shown:
        return ""
    return section(identifier, title, paragraph(shell.BOX_COLOURS, "muted"), shell.pictures(shown))


def _broken(evaluations: Sequence[Evaluation]) -> str:
    broken = dict.fromkeys(photo for item in evaluations for photo in item.broken)
    if not broken:
        return ""
    rows = [[name(photo.name), text(photo.reason)] for photo in broken]
    count = wording.plural(len(rows), "photo")
    return section(
        "broken",
        "Photos that cannot be read",
        paragraph(f"{count} counted as having no box: every face on them is missed."),
        table("Photos that cannot be read", ["photo", "reason"], rows),
    )


def _settings(evaluations: Sequence[Evaluation]) -> str:
    rows = [
        [
            name(item.subject.name),
            text(item.subject.kind),
            text(item.subject.model or "-"),
            text(
                ", ".join(f"{key} {value}" for key, value in item.subject.settings.items()) or "-"
            ),
            text(protocol_words(item.protocol)),
            f"<code>{text(wording.short_hash(item.subject.sha256 or '-'))}</code>",
        ]
        for item in evaluations
    ]
    head = ["detector", "kind", "model", "settings", "protocol", "SHA-256, first digits"]
    return section("settings", "What was evaluated", table("Detectors and settings", head, rows))


def _origin(evaluations: Sequence[Evaluation]) -> str:
    rows = [[name(item.subject.name), *map(text, _work(item))] for item in evaluations]
    head = ["detector", "photos", "done before", "seconds", "processes", "threads in each"]
    commands = [item.command for item in evaluations if item.command]
    versions = dict.fromkeys(pair for item in evaluations for pair in item.versions.items())
    samples = [
        [text(sample.split), wording.count(sample.images), f"<code>{text(sample.sha256)}</code>"]
        for sample in _samples(evaluations)
    ]
    return section(
        "origin",
        "How it was made",
        *(f"<p>Command: <code>{text(command)}</code></p>" for command in dict.fromkeys(commands)),
        table("Work in this run", head, rows, range(1, 6)),
        details(
            "Versions, and the sample's digest",
            table("Versions", ["package", "version"], [[text(a), text(b)] for a, b in versions])
            + table("Photos and ground truth", ["split", "photos", "SHA-256"], samples, (1,)),
        ),
    )


def _work(item: Evaluation) -> list[str]:
    ran = item.seconds is not None
    return [
        wording.count(item.sample.images),
        wording.count(item.resumed_images),
        "-" if item.seconds is None else wording.decimal(item.seconds, 1),
        wording.count(item.workers) if ran else "-",
        wording.count(item.threads) if ran else "-",
    ]
