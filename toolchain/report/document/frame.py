"""The frame that all pages share: what a browser may load, the style sheet, and the patterns."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load: nothing from anywhere. A second net under the escaping."""

REFRESH_SECONDS = 20
"""How often a page of something that still runs is loaded again."""

_STROKES = {
    "kept": "M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4",
    "carried": "M0,2 h8 M0,6 h8",
    "folded": "M2,2 h.01 M6,6 h.01",
    "dropped": "M4,4 h.01",
    "removed_live": "M0,0 l8,8 M8,0 l-8,8",
    "beyond": "M-2,6 l4,4 M0,0 l8,8 M6,-2 l4,4",
}
"""What is drawn on a tile of 8 by 8 pixels, by part; live filters are plain."""


def framed(title: str, head: str, body: str, refresh_seconds: int | None = None) -> str:
    """Return a whole page from ready HTML; it ends with a line feed.

    With ``refresh_seconds`` a browser loads the page again and again.
    """
    refresh = (
        f'<meta http-equiv="refresh" content="{refresh_seconds}"/>\n' if refresh_seconds else ""
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
{refresh}<title>{title}</title>
<style>
{style()}</style>
</head>
<body>
{_patterns()}
<header>
{head}
</header>
<main>
{body}
</main>
</body>
</html>
"""


@cache
def style() -> str:
    """Return the style sheet of all pages."""
    return files("toolchain.report.document").joinpath("page.css").read_text(encoding="utf-8")


def _patterns() -> str:
    """Return the patterns that the style sheet fills parts of drawings with."""
    tiles = "".join(
        f'<pattern id="part-{key}" class="part-{key}" width="8" height="8" '
        f'patternUnits="userSpaceOnUse"><rect class="ground" width="8" height="8"/>'
        f'<path class="stroke" d="{path}"/></pattern>'
        for key, path in _STROKES.items()
    )
    attributes = 'class="definitions" width="0" height="0" aria-hidden="true"'
    return f"<svg {attributes}><defs>{tiles}</defs></svg>"
