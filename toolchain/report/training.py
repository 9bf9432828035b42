"""The page of a training: a plain file that loads itself again while the training runs."""

from __future__ import annotations

import math
from itertools import pairwise

from toolchain.records import TrainingProgress
from toolchain.report import wording
from toolchain.report.accuracy import shell
from toolchain.report.accuracy.plot import Box, Scale, Tick, axes, chart, count_words, words_at
from toolchain.report.markup import items, name, paragraph, section, table, text

REFRESH_SECONDS = 20
WIDTH, HEIGHT = 760, 330
FRAME = Box(52, 26, 748, 286)


def training_page(progress: TrainingProgress) -> str:
    """Return the whole page; it refreshes itself until the training is done."""
    settings = progress.settings
    title = f"{settings.get('model')} at rate {settings.get('rate')}: training"
    return shell.page(
        title,
        _head(progress),
        [_curve(progress), _settings(progress), _broken(progress)],
        None if progress.is_done else REFRESH_SECONDS,
    )


def _head(progress: TrainingProgress) -> str:
    share = progress.step / progress.steps if progress.steps else 1.0
    state = "done" if progress.is_done else f"{share:.0%} done, {_phase(progress)}"
    pace = progress.images_per_second
    words = [
        f"{wording.count(progress.step)} of {wording.plural(progress.steps, 'step')}",
        f"{wording.plural(progress.photos, 'photo')} with {wording.plural(progress.faces, 'face')}",
        f"{wording.percentage(progress.zeroed_share)} of the parameters held at zero",
    ]
    if pace is not None:
        words.append(f"{wording.decimal(pace, 1)} crops a second in this run")
    return (
        f"<h1>{text(progress.settings.get('model'))} "
        f'<span class="what">training, {text(state)}</span></h1>\n{paragraph("; ".join(words))}'
    )


def _phase(progress: TrainingProgress) -> str:
    return next((name for name, last in progress.phases if progress.step < last), "")


def _curve(progress: TrainingProgress) -> str:
    shown = [loss for loss in progress.losses if math.isfinite(loss) and loss > 0]
    if len(shown) < 2:
        return section("loss", "Loss", paragraph("There are not enough steps yet to draw."))
    low, high = _decades(min(shown)), _decades(max(shown)) + 1
    across = Scale(0, max(progress.steps, 1), FRAME.left, FRAME.right)
    up = Scale(10.0**low, 10.0**high, FRAME.bottom, FRAME.top, logarithmic=True)
    frame = axes(
        FRAME,
        (across, _step_ticks(progress.steps), "steps"),
        (up, [Tick(10.0**e, f"{10.0**e:g}") for e in range(low, high + 1)], "loss, logarithmic"),
    )
    words = f"Loss over steps, {shown[0]:.3g} at first, {shown[-1]:.3g} now"
    drawing = chart(
        words, WIDTH, HEIGHT, frame, *_borders(progress, across), *_lines(progress, across, up)
    )
    note = "Each phase has a loss of its own: figures of different phases do not compare."
    return section("loss", "Loss", drawing, paragraph(note, "muted"))


def _decades(figure: float) -> int:
    return math.floor(math.log10(figure))


def _step_ticks(steps: int) -> list[Tick]:
    width = 10 ** max(0, math.floor(math.log10(max(steps, 1))))
    width = next(w for w in (width // 5, width // 2, width, 2 * width) if w and steps / w <= 8)
    return [Tick(step, count_words(step)) for step in range(0, steps + 1, width)]


def _borders(progress: TrainingProgress, across: Scale) -> list[str]:
    """Mark where each phase begins, with its name."""
    starts = [0, *(last for _, last in progress.phases)]
    return [
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{FRAME.top:g}" y2="{FRAME.bottom:g}"/>'
        + words_at(x + 4, FRAME.top + 14, phase)
        for (phase, last), start in zip(progress.phases, starts, strict=False)
        if last > start
        for x in [across.place(start)]
    ]


def _lines(progress: TrainingProgress, across: Scale, up: Scale) -> list[str]:
    """Draw each phase's losses as a line of its own, in the middle of their steps."""
    lines = []
    starts = [0, *(last for _, last in progress.phases)]
    for number, (start, last) in enumerate(pairwise(starts)):
        points = [
            f"{across.place(middle):.1f},{up.place(loss):.1f}"
            for index, loss in enumerate(progress.losses)
            for middle in [(index + 0.5) * progress.steps_per_loss]
            if start <= middle < last and math.isfinite(loss) and loss > 0
        ]
        if points:
            lines.append(f'<polyline class="curve line-{number % 8}" points="{" ".join(points)}"/>')
    return lines


def _settings(progress: TrainingProgress) -> str:
    rows = [[name(key), text(value)] for key, value in sorted(progress.settings.items())]
    return section(
        "settings", "Settings", table("What it was asked for", ("setting", "value"), rows)
    )


def _broken(progress: TrainingProgress) -> str:
    if not progress.broken:
        return ""
    entries = [f"{name(photo)}: {text(reason)}" for photo, reason in progress.broken]
    return section("broken", "Photos left out", items(entries))
