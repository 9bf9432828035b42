"""What is said of a shipped network's average precision, the same in every place."""

from __future__ import annotations

from toolchain.records.accuracy import OVERLAPS
from toolchain.records.members import MemberAccuracy
from toolchain.report import wording

VALIDATION_PHOTOS = 3_226
"""In WIDER FACE's validation set."""

LEVELS = ("easy", "medium", "hard")


def figures(accuracy: MemberAccuracy) -> list[str]:
    """Return the average precision at :data:`LEVELS`, with three decimal places."""
    shares = (accuracy["easy"], accuracy["medium"], accuracy["hard"])
    return [wording.decimal(share, 3) for share in shares]


def accuracy_words(accuracy: MemberAccuracy) -> str:
    """Return the average precision, with all that decides what it means."""
    return f"AP {' / '.join(figures(accuracy))} ({' / '.join(LEVELS)}) {conditions(accuracy)}"


def conditions(accuracy: MemberAccuracy) -> str:
    """Return on which photos and by which protocol it was measured."""
    photos = accuracy["photos"]
    merged = accuracy.get("overlaps")  # which run folders made before do not tell
    overlaps = f", {OVERLAPS} {merged}" if merged else ""
    which = "all" if photos == VALIDATION_PHOTOS else f"{wording.count(photos)} of the"
    return (
        f"on {which} {wording.plural(VALIDATION_PHOTOS, 'photo')} of WIDER FACE's validation set, "
        f"protocol {accuracy['protocol']}{overlaps}"
    )
