"""What the pages about accuracy share: the frame of the page, and pictures inside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from toolchain.records.accuracy import Picture
from toolchain.report.document.frame import page as frame
from toolchain.report.document.markup import text

REFRESH_SECONDS = 20
"""How often a page of something that still runs is loaded again."""
BOX_COLOURS = (
    "Green: a box on a face. Red: a face that counts and has no box. Blue: a box on no face."
)


def page(title: str, head: str, sections: Sequence[str], refresh_seconds: int | None = None) -> str:
    """Return a whole page from ready HTML; ``title`` is untrusted. It ends with a line feed.

    With ``refresh_seconds`` a browser loads the page again and again.
    """
    body = "\n".join(section for section in sections if section)
    return frame(text(title), head, body, kind="accuracy", refresh_seconds=refresh_seconds)


def pictures(shown: Sequence[Picture]) -> str:
    """Return photos with their boxes, each with its panels side by side."""
    return "\n".join(_picture(picture) for picture in shown)


def _picture(picture: Picture) -> str:
    panels = "".join(_panel(picture, caption, data) for caption, data in picture.panels)
    return (
        f'<figure class="panels"><div>{panels}</div>'
        f"<figcaption><strong>{text(picture.name)}</strong> {text(picture.words)}</figcaption>"
        "</figure>"
    )


def _panel(picture: Picture, caption: str, data: bytes) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    source = f"data:image/{kind};base64,{b64encode(data).decode('ascii')}"
    alternative = text(f"{picture.name}, {caption}: {picture.words}")
    return (
        f'<figure><img alt="{alternative}" src="{source}"/>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def warning(words: str) -> str:
    """Return a line that must not be overlooked."""
    sign = '<span aria-hidden="true">▲ </span>'
    return f'<p class="warning" role="note">{sign}{text(words)}</p>'
