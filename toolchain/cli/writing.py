"""Writing the files of a result, each as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from toolchain.errors import InputError
from toolchain.system.files import write_bytes


def write_all(place: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, each as a whole; raise :class:`InputError` if that fails."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_bytes(place / name, data)
    except OSError as error:
        raise InputError(f"{place}: cannot be written ({error.strerror or error})") from error
