"""A photo with its boxes, once for each network that saw it."""

from __future__ import annotations

from toolchain.records.accuracy import Picture
from toolchain.report.document.model import Panel, Photos, Strong


def photo_series(picture: Picture) -> Photos:
    """Return the photo's panels side by side."""
    panels = tuple(
        Panel(caption, f"{picture.name}, {caption}: {picture.words}", data)
        for caption, data in picture.panels
    )
    return Photos(panels, (Strong(picture.name), f" {picture.words}"))
