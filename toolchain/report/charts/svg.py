"""What drawings are made of. Lengths in a row's drawing are percentages of its width."""

from __future__ import annotations

from toolchain.report.document.escaping import for_html
from toolchain.report.document.model import Drawing


def percent(share: float) -> str:
    """Return a length inside a row's drawing."""
    return f"{share * 100:.4f}%"


def drawing(words: str, height: int, *content: str) -> Drawing:
    """Return a drawing as wide as its place, ``height`` pixels high; ``words`` tell all of it."""
    return Drawing(
        f'<svg role="img" width="100%" height="{height}"><title>{for_html(words)}</title>'
        f"{''.join(content)}</svg>",
        words,
    )


def chart(title: str, words: str, width: float, height: float, *content: str) -> Drawing:
    """Return a drawing that keeps its proportions; ``words`` tell the figures under ``title``."""
    description = f"<desc>{for_html(words)}</desc>" if words else ""
    return Drawing(
        f'<svg class="chart" role="img" viewBox="0 0 {width:g} {height:g}">'
        f"<title>{for_html(title)}</title>{description}{''.join(content)}</svg>",
        f"{title}. {words}" if words else title,
    )


def sample(width: int, height: int, *content: str) -> Drawing:
    """Return a piece of a drawing for a legend, whose words stand beside it."""
    svg = f'<svg aria-hidden="true" width="{width}" height="{height}">{"".join(content)}</svg>'
    return Drawing(svg, "")


def words_at(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """Return untrusted words in a drawing."""
    attribute = f' class="{kind}"' if kind else ""
    shown = for_html(words)
    return f'<text{attribute} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{shown}</text>'
