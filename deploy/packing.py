"""Make the one file that goes to a board: the package ``detector`` as a zip application.

Python runs such a file whatever it is called: ``python3 detect.py model.onnx photo.jpg``.
"""

from __future__ import annotations

import io
import zipapp
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).with_name("detector")
NAME = "detect.py"
"""What the file is called on the board."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of everything in it: the first that a zip can tell."""


def program() -> bytes:
    """Return the file; the same sources give the same bytes, on any machine and at any time.

    Nothing is compressed: how well depends on the zlib that is there, and reading takes longer.
    """
    packed, made = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in sorted(_contents().items()):
            archive.writestr(zipfile.ZipInfo(name, EARLIEST), content)
    packed.seek(0)
    zipapp.create_archive(packed, made, interpreter="/usr/bin/env python3")
    return made.getvalue()


def _contents() -> dict[str, bytes]:
    """Return the files of the package by their names in the archive, and what starts it."""
    sources = {
        path.relative_to(PACKAGE.parent).as_posix(): path.read_bytes()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return {**sources, "__main__.py": b"from detector import start\n\nstart()\n"}
