"""A long command, packed: the commands of a chain of trainings repeat each other, and a member's
file is to be small. Its card has it as it is.
"""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

from toolchain.errors import CheckpointError

PACKED = "zlib:"
"""What a packed text begins with; base64 of deflated UTF-8 follows."""

SHORT = 1_500
"""Characters up to which a text stays as it is."""

LARGEST = 1 << 20
"""Bytes that an unpacked text may have: files come from strangers."""


def packed(text: str) -> str:
    """Return ``text`` as a file has it."""
    if len(text) <= SHORT:
        return text
    return PACKED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpacked(text: str, path: Path) -> str:
    """Return what :func:`packed` was given.

    Raises :class:`CheckpointError` naming ``path`` where that is not to be had, or is too large.
    """
    if not text.startswith(PACKED):
        return text
    try:
        inflater = zlib.decompressobj()
        content = inflater.decompress(
            base64.b64decode(text.removeprefix(PACKED), validate=True), LARGEST
        )
        if inflater.eof:
            return content.decode()
    except (ValueError, zlib.error):
        pass
    raise CheckpointError(
        f"{path}: its command is damaged, or over {LARGEST:,} bytes; get the file again"
    )
