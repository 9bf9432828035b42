"""The frame that all pages share: one HTML file that opens offline, its styles inside.

It is HTML that is well-formed XML as well, so that a strict parser can check it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load: nothing from anywhere. A second net under the escaping."""


def page(
    title: str,
    head: str,
    body: str,
    *,
    kind: str = "",
    definitions: str = "",
    refresh_seconds: int | None = None,
) -> str:
    """Return a whole page from ready HTML; it ends with a line feed.

    ``kind`` is the body's class, ``definitions`` come before all that is seen. With
    ``refresh_seconds`` a browser loads the page again and again.
    """
    refresh = (
        f'<meta http-equiv="refresh" content="{refresh_seconds}"/>\n' if refresh_seconds else ""
    )
    opening = f'<body class="{kind}">' if kind else "<body>"
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
{opening}
{f"{definitions}{chr(10)}" if definitions else ""}<header>
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
