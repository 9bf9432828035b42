"""One sentence on what the network takes on a board, and what to do where that is too much."""

from __future__ import annotations

from toolchain.records.stages import WORTH, OnBoard
from toolchain.report import wording


def board_words(found: OnBoard, rate: float | None, model: str) -> str:
    """Return what one inference takes there, against the network before.

    Where filters went by a rate that does not pay, also what would.
    """
    span = found.milliseconds
    change = f"{abs(found.saved):.0%} {'less' if found.saved >= 0 else 'MORE'}"
    words = (
        f"On a {found.board} the ncnn file takes about {found.after / 1e6:.1f} M instructions at "
        f"{wording.shape(found.size)}, {span.mid:.0f} ms ({span.low:.0f} to {span.high:.0f}) on "
        f"one thread: {change} than unpruned ({found.before / 1e6:.1f} M). Estimated from its "
        f"layers, {found.runtime}"
    )
    words += f"; without {', '.join(found.uncounted)}." if found.uncounted else "."
    if not rate or found.saved >= WORTH * rate:
        return words
    return (
        f"{words} At a rate of {rate:g} that is little, for ncnn computes four channels at a time: "
        f"--align 4 takes whole blocks, and toolchain plan {model} --latency {1 - rate:g} the ones "
        f"that cost most."
    )
