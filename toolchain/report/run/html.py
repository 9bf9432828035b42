"""The report of a run of ``shrink`` as one HTML file: no scripts, no requests."""

from __future__ import annotations

from toolchain.records.stages import Report
from toolchain.report import wording
from toolchain.report.charts import figures
from toolchain.report.document.frame import page
from toolchain.report.document.markup import items, paragraph, text
from toolchain.report.run import facts, sections
from toolchain.report.run.lineage import chain_html


def html(report: Report) -> str:
    """Return the whole page; it ends with a line feed."""
    return page(
        _title(report),
        _head(report),
        _sections(report),
        definitions=figures.pattern_definitions(),
    )


def _sections(report: Report) -> str:
    makers = (
        sections.notes,
        sections.widths,
        sections.photos,
        sections.next_steps,
        sections.before_and_after,
        sections.parity,
        chain_html,
        sections.zeroed_filters,
        sections.files,
        sections.origin,
    )
    return "\n".join(section for section in (make(report) for make in makers) if section)


def _title(report: Report) -> str:
    before, after = report.cost_before, report.cost_after
    return (
        f"{text(report.model)}: {'proved' if facts.proved(report) else 'FAILED'}, "
        f"{wording.count(before.deployed_parameters)} → "
        f"{wording.count(after.deployed_parameters)} parameters"
    )


def _head(report: Report) -> str:
    pieces = [
        f'<h1>{text(report.model)} <span class="what">pruned, shrunk and exported</span></h1>',
        paragraph(f"{facts.pruning_words(report)}; weights {facts.source_words(report)}", "muted"),
    ]
    if not report.source.trained:
        pieces.append(
            '<p class="warning" role="note"><strong><span aria-hidden="true">▲ </span>UNTRAINED.'
            f"</strong> {text(facts.untrained_words(report))}</p>"
        )
    pieces += [_verdict(report), _tiles(report)]
    return "\n".join(pieces)


def _verdict(report: Report) -> str:
    good = facts.proved(report)
    sign, word, kind = ("✓", "PROVED", "good") if good else ("✗", "FAILED", "bad")
    links = [
        f"<strong>{'PASS' if link.passed else 'FAIL'}</strong> {text(facts.parity_words(link))}"
        for link in facts.links(report)
    ]
    return (
        f'<div class="verdict {kind}"><p><strong class="stamp"><span aria-hidden="true">{sign} '
        f"</span>{word}</strong> {text(facts.verdict_words(report))}</p>\n{items(links)}</div>"
    )


def _tiles(report: Report) -> str:
    tiles = [
        f'<li><h2 class="measure">{text(tile.measure)}</h2>'
        f'<p class="figure">{text(tile.headline)}</p>'
        f'<p class="muted">{text(tile.before_words)} → {text(tile.after_words)}</p>'
        f"{figures.before_after_bars(tile)}"
        f'<p class="change">{text(tile.change_words)}</p>'
        f'<p class="muted">{text(tile.detail)}</p></li>'
        for tile in facts.comparisons(report)
    ]
    if report.latency is None:
        tiles.append(
            '<li><h2 class="measure">Time per image</h2><p class="muted">not measured in this '
            "run</p></li>"
        )
    key = "Upper bar: before. Lower bar: after"
    if report.latency is not None:
        key += "; its bracket spans the quartiles"
    return (
        f'<ul class="tiles" aria-label="Before and after">{"".join(tiles)}</ul>\n'
        f"{paragraph(key + '.', 'muted')}"
    )
