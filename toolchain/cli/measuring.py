"""Average precision of files, for the certificate of ``shrink``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.app import messages

if TYPE_CHECKING:
    from toolchain.records.members import MemberAccuracy


def accuracy_measure(data: Path) -> Callable[[Path], MemberAccuracy]:
    """Return what measures a file on the photos of val that are in ``data``.

    Raises :class:`DataError` at once if there is no ground truth.
    """
    from toolchain.data.wider import read_split
    from toolchain.detection.opening import plan_for
    from toolchain.detection.protocols import PROTOCOLS
    from toolchain.errors import DataError
    from toolchain.workflows.evaluation import Settings, evaluate

    photos = read_split(data, "val")
    if not photos.levels:
        raise DataError(f"{data}: its val has no ground truth, so no average precision is known")

    def measure(path: Path) -> MemberAccuracy:
        messages.print(f"average precision of {path.name}", markup=False)
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(Path(folder))
            plan = plan_for(path, PROTOCOLS["single"])
            found = evaluate(plan, photos, settings, lambda *_: None).evaluation
        easy, medium, hard = (found.ap(level) or 0.0 for level in ("easy", "medium", "hard"))
        return {
            "protocol": "single",
            "photos": found.sample.images,
            "easy": easy,
            "medium": medium,
            "hard": hard,
        }

    return measure
