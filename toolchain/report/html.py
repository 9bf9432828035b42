"""The report as one HTML file that opens offline: no scripts, no requests, styles and pictures
inside.

It is HTML that is well-formed XML as well, so that a strict parser can check it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from toolchain.records import Report
from toolchain.report import facts, figures, sections, wording
from toolchain.report.markup import items, paragraph, text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load: nothing from anywhere. A second net under the escaping."""


def html(report: Report) -> str:
    """Return the whole page; it ends with a line feed."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>{_title(report)}</title>
<style>
{style()}</style>
</head>
<body>
{figures.pattern_definitions()}
<header>
{_head(report)}
</header>
<main>
{_sections(report)}
</main>
</body>
</html>
"""


@cache
def style() -> str:
    """Return the page's style sheet."""
    return files("toolchain.report").joinpath("page.css").read_text(encoding="utf-8")


def _sections(report: Report) -> str:
    makers = (
        sections.notes,
        sections.widths,
        sections.photos,
        sections.next_steps,
        sections.before_and_after,
        sections.parity,
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
        f"<strong>{'PASS' if facts.passed(link) else 'FAIL'}</strong> "
        f"{text(facts.parity_words(link))}"
        for link in (report.parity_surgery, report.parity_onnx)
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
