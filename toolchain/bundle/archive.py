"""Archives that come out byte by byte the same whenever they are made of the same files."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

MODIFIED = 315_532_800
"""1980, of every file: tar warns of 1970, and a board without a clock of later times."""
PROGRAMS = {"install.sh", "detect"}
"""Names of files that are run."""


def write_archive(target: Path, name: str, files: Mapping[str, bytes | Path]) -> None:
    """Write a ``.tar.gz`` of one folder, beside and moved into place; raises OSError."""
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as stream:
        part = Path(stream.name)
        try:
            with (
                gzip.GzipFile("", "wb", compresslevel=6, fileobj=stream, mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
            ):
                for path in sorted(files):
                    _add(archive, f"{name}/{path}", files[path])
            stream.flush()
            part.chmod(0o644)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _add(archive: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    entry = tarfile.TarInfo(name)
    entry.mtime = MODIFIED
    entry.mode = 0o755 if name.rpartition("/")[2] in PROGRAMS else 0o644
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        return
    entry.size = content.stat().st_size
    with content.open("rb") as stream:
        archive.addfile(entry, stream)
