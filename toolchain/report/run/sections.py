"""The sections of the HTML page, in functions of one section each; empty when there is nothing."""

from __future__ import annotations

from base64 import b64encode

from toolchain.records.parity import Parity
from toolchain.records.stages import Detections, PhotoComparison, Report, Surgery
from toolchain.report import wording
from toolchain.report.charts import figures
from toolchain.report.document.markup import details, items, name, paragraph, section, table, text
from toolchain.report.run import facts, filters
from toolchain.report.run.reasons import sentence

REASONS_SHOWN = 10
"""How many reasons for keeping filters are listed; the rest are under "Every zeroed filter"."""


def widths(report: Report) -> str:
    """Return the picture of the network, layer by layer, and its numbers."""
    layers = report.surgery.layers
    if not layers:
        return ""
    changed = sum(layer.out_channels_before != layer.out_channels_after for layer in layers)
    words = (
        f"Each bar is one layer's filters before; the dark line is where it ends now. "
        f"{wording.count(changed)} of {wording.plural(len(layers), 'layer')} got narrower."
    )
    return section(
        "widths",
        "The network, layer by layer",
        paragraph(words),
        '<figure aria-label="Width of every layer before and after">',
        figures.widths(layers),
        "</figure>",
        details("Every layer in numbers", _layer_table(report.surgery)),
    )


def _layer_table(surgery: Surgery) -> str:
    head = ["layer", "kind", "inputs", "outputs", *(part.label for part in filters.PARTS)]
    rows = [
        [
            name(layer.layer),
            text(layer.kind),
            f"{wording.count(layer.in_channels_before)} → {wording.count(layer.in_channels_after)}",
            f"{wording.count(layer.out_channels_before)} → "
            f"{wording.count(layer.out_channels_after)}",
            *(wording.count(filters.parts(layer)[part.key]) for part in filters.PARTS),
        ]
        for layer in surgery.layers
    ]
    return table("Channels of every layer, before → after", head, rows, range(2, len(head)))


def photos(report: Report) -> str:
    """Return every photo before and after, side by side."""
    if not report.photos:
        return ""
    return section("photos", "The same photo, before and after", *map(_photo, report.photos))


def _photo(photo: PhotoComparison) -> str:
    pictures = _picture(photo.name, "before", photo.before, photo.before_png) + _picture(
        photo.name, "after", photo.after, photo.after_png
    )
    return (
        f'<figure class="pair"><div>{pictures}</div><figcaption>{text(photo.name)}: '
        f"{wording.count(len(photo.before.boxes))} faces before, "
        f"{wording.count(len(photo.after.boxes))} after; largest difference of a box: "
        f"{text(facts.box_words(photo))}.</figcaption></figure>"
    )


def _picture(photo: str, when: str, found: Detections, png: bytes) -> str:
    boxes = wording.plural(len(found.boxes), "box", "boxes")
    caption = f"<figcaption><strong>{when}</strong> {boxes}</figcaption>"
    if not png:
        return f'<figure><p class="muted">no picture was stored</p>{caption}</figure>'
    alternative = text(f"{photo} through the network {when}: {boxes} drawn")
    source = f"data:image/png;base64,{b64encode(png).decode('ascii')}"
    return f'<figure><img alt="{alternative}" src="{source}"/>{caption}</figure>'


def before_and_after(report: Report) -> str:
    """Return the measures as a table."""
    rows = [
        [
            text(row.measure),
            text(row.before_words),
            text(row.after_words),
            text(row.change_words),
            text(row.detail),
        ]
        for row in facts.comparisons(report)
    ]
    head = ["measure", "before", "after", "change", "conditions"]
    uncounted = facts.uncounted_words(report)
    return section(
        "before-after",
        "Before and after",
        table("What the network costs, before and after", head, rows, (1, 2)),
        paragraph(uncounted, "warning") if uncounted else "",
        paragraph("Time was not measured in this run.") if report.latency is None else "",
    )


def parity(report: Report) -> str:
    """Return every comparison: a picture and a table for each."""
    return section("parity", "Parity", *map(_link, facts.links(report)))


def _link(link: Parity) -> str:
    title = f"<h3>{text(link.link)}</h3>"
    if not link.cases:
        return title + paragraph("FAIL: nothing was compared.")
    rows = [list(map(text, facts.parity_row(link, case))) for case in link.cases]
    caption = f"{link.link}: limit {facts.limit_words(link)}"
    return (
        f"{title}\n{paragraph(_sentence(link))}\n"
        f'<figure aria-label="Largest difference of every input against the limit">'
        f"{figures.parity(link)}"
        f"<figcaption>Each input's difference as a share of its channel's range, on a logarithmic "
        f"scale; ● within, ✗ over the limit or not finite, hatched: beyond the limit."
        f"</figcaption></figure>\n"
        f"{table(caption, facts.PARITY_HEAD, rows, facts.PARITY_NUMERIC)}"
    )


def _sentence(link: Parity) -> str:
    return f"{'PASS' if link.passed else 'FAIL'}: {facts.parity_words(link)}."


def zeroed_filters(report: Report) -> str:
    """Return what became of the zeroed filters, and why some are still there."""
    surgery = report.surgery
    if not surgery.filters:
        return section("filters", "Zeroed filters", paragraph(filters.filters_words(surgery)))
    rows = [
        [text(verdict.label), wording.count(number), text(verdict.meaning)]
        for verdict, number in filters.verdict_counts(surgery)
    ]
    return section(
        "filters",
        "Zeroed filters",
        paragraph(filters.filters_words(surgery)),
        table("Zeroed filters by verdict", ["verdict", "filters", "meaning"], rows, (1,)),
        _reasons(surgery),
        details("Every zeroed filter", _filter_table(surgery)),
    )


def _reasons(surgery: Surgery) -> str:
    reasons = filters.kept_reasons(surgery.filters)
    if not reasons:
        return ""
    rows = [
        [
            text(reason.words),
            wording.count(reason.filters),
            f"{name(reason.example.layer)} filter {reason.example.index}",
        ]
        for reason in reasons[:REASONS_SHOWN]
    ]
    rest = reasons[REASONS_SHOWN:]
    if rest:
        words = f"{wording.plural(len(rest), 'other reason')}, under “Every zeroed filter”"
        rows.append([words, wording.count(sum(reason.filters for reason in rest)), ""])
    head = ["reason", "filters", "for example"]
    return table("Why filters were kept, commonest first", head, rows, (1,))


def _filter_table(surgery: Surgery) -> str:
    rows = [
        [name(item.layer), str(item.index), text(item.verdict), text(sentence(item))]
        for item in surgery.filters
    ]
    return table(
        "Verdict on every zeroed filter", ["layer", "filter", "verdict", "reason"], rows, (1,)
    )


def files(report: Report) -> str:
    """Return the files that were written."""
    rows = [
        [
            name(artifact.name),
            wording.count(artifact.size_bytes),
            f"<code>{text(wording.short_hash(artifact.sha256))}</code>",
        ]
        for artifact in report.artifacts
    ]
    body = table("Files that were written", ["file", "bytes", "SHA-256, first digits"], rows, (1,))
    return section("files", "Files", body if rows else paragraph("No files were written."))


def next_steps(report: Report) -> str:
    """Return what to do now."""
    steps = [text(step.words).format(*map(name, step.names)) for step in facts.next_steps(report)]
    return section("next", "What to do next", items(steps, ordered=True))


def notes(report: Report) -> str:
    """Return what the reader must know."""
    if not report.notes:
        return ""
    return section("notes", "Notes", items([text(note) for note in report.notes]))


def origin(report: Report) -> str:
    """Return how the report came about: weights, command, versions, stages."""
    versions = [[text(package), text(number)] for package, number in report.versions.items()]
    stages = [[text(stage.name), wording.decimal(stage.seconds, 1)] for stage in report.stages]
    total = sum(stage.seconds for stage in report.stages)
    return section(
        "origin",
        "How it was made",
        paragraph(f"Weights: {facts.source_words(report)}"),
        f"<p>Command: <code>{text(report.command)}</code></p>",
        '<div class="beside">',
        table(
            "Seconds by stage",
            ["stage", "seconds"],
            [*stages, ["all", wording.decimal(total, 1)]],
            (1,),
        ),
        table("Versions", ["package", "version"], versions) if versions else "",
        "</div>",
    )
