"""The axis of steps, which all charts of a training share, and the phases on it."""

from __future__ import annotations

import math

from toolchain.records.training import TrainingProgress
from toolchain.report.charts.axes import Box, Scale, Tick, count_words

WIDTH, HEIGHT = 440, 330
FRAME = Box(48, 26, 388, 286)
"""Right of it is room for the names of lines."""
INSIDE = Box(FRAME.left + 2, FRAME.top + 2, WIDTH - 2, FRAME.bottom - 2)
"""Where labels may lie."""
MOST_TICKS = 5


def step_scale(progress: TrainingProgress) -> Scale:
    """Return where each step lies."""
    return Scale(0, max(progress.steps, 1), FRAME.left, FRAME.right)


def step_ticks(steps: int) -> list[Tick]:
    """Return ticks at round numbers of steps."""
    width = 10 ** max(0, math.floor(math.log10(max(steps, 1))))
    widths = (width // 5, width // 2, width, 2 * width)
    width = next(each for each in widths if each and steps / each <= MOST_TICKS)
    return [Tick(step, count_words(step)) for step in range(0, steps + 1, width)]


def borders(progress: TrainingProgress) -> str:
    """Mark where each phase begins."""
    across = step_scale(progress)
    return "".join(
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{FRAME.top:g}" y2="{FRAME.bottom:g}"/>'
        for _, last in progress.phases[:-1]
        for x in [across.place(last)]
    )
