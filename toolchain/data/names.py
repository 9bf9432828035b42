"""Names of photos as WIDER FACE's lists give them: an event's folder and a file in it.

Lists, and folders of detections, come from strangers, and names become paths: what could leave
the folder of the data set is refused.
"""

from __future__ import annotations

from toolchain.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")
"""How the file of a photo may end, in any case."""

MAX_PART_BYTES = 200
"""Longer than any official name, and shorter than file systems allow with a suffix."""


def name_error(name: str) -> str | None:
    """Return what is wrong with ``EVENT/IMAGE``, or None if it is safe as a relative path."""
    parts = name.split("/")
    if len(parts) != 2:
        return "it must be EVENT/IMAGE, with one slash"
    return next(filter(None, map(part_error, parts)), None)


def part_error(part: str) -> str | None:
    """Return what is wrong with one part of a name, or None if it is safe as a file's name."""
    if not part or part != part.strip():
        return "a part of it is empty, or begins or ends with a blank"
    if part in (".", "..") or "/" in part or "\\" in part:
        return "it leads to another folder"
    if not part.isprintable():
        return "it holds control characters"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"a part of it has more than {MAX_PART_BYTES} bytes"
    return None


def check_name(name: str) -> str:
    """Return ``name`` if it is a safe ``EVENT/IMAGE``; raises :class:`DataError` if not."""
    error = name_error(name)
    if error:
        raise DataError(f"{quoted(name)} cannot be the name of a photo: {error}")
    return name


def quoted(text: str) -> str:
    """Return what a stranger wrote, short and printable, for a message."""
    return ascii(text if len(text) <= 80 else f"{text[:77]}...")


def without_suffix(file: str) -> str | None:
    """Return the name of a photo's file without its suffix; None if it has no photo's suffix."""
    stem, dot, suffix = file.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in SUFFIXES else None
