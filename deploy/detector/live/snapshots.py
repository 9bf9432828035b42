"""Pictures that a viewer keeps on the board."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

from ..errors import OutputError, one_line
from ..outputs import write_picture, written_beside
from .http import RequestError
from .hub import View
from .notify import say

MAX_SNAPSHOTS = 1000
"""In a folder: a stranger with the token cannot fill the disk."""
SECONDS_BETWEEN = 1.0
NAME = re.compile(r"snapshot-(\d{4})\.jpg")


class Snapshots:
    """Writes views to ``folder`` as snapshot-0001.jpg with boxes, and .json; None keeps none."""

    def __init__(self, folder: Path | None, threshold: float) -> None:
        self.folder, self._threshold = folder, threshold
        self._last = -SECONDS_BETWEEN
        self._lock = threading.Lock()

    def keep(self, view: View) -> str:
        """Write a view and return the picture's name; raise :class:`RequestError`."""
        if self.folder is None:
            raise RequestError(404, "the board keeps no snapshots; start it with --out FOLDER")
        with self._lock:
            if time.monotonic() - self._last < SECONDS_BETWEEN:
                raise RequestError(429, "one snapshot a second is kept")
            self._last = time.monotonic()
            try:
                return self._write(self.folder, view)
            except (OutputError, OSError) as error:
                say(f"snapshot: {one_line(error)}")
                raise RequestError(507, "the board cannot keep it; is its disk full?") from error

    def _write(self, folder: Path, view: View) -> str:
        numbers = [
            int(match[1]) for path in folder.iterdir() if (match := NAME.fullmatch(path.name))
        ]
        if len(numbers) >= MAX_SNAPSHOTS or max(numbers, default=0) >= 9999:
            raise RequestError(507, f"the folder holds {len(numbers)} snapshots; move them away")
        target = folder / f"snapshot-{max(numbers, default=0) + 1:04}.jpg"
        image, facts = view.image, view.facts
        if view.found and view.found.is_counted:  # what is not is in the picture already
            found = view.found.above(self._threshold)
            image, facts = found.drawn(image), {**facts, **found.facts()}
        write_picture(target, image)
        with written_beside(target.with_suffix(".json")) as part:
            part.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        return target.name
