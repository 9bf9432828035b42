"""How lines are told apart, by colour and dashes both, and their samples for a legend."""

from __future__ import annotations

from toolchain.report.charts.svg import sample, words_at
from toolchain.report.document.model import Drawing

COLOURS = 8
DASHES = ("", "9 4", "2 3", "9 4 2 4", "15 4", "5 3", "9 3 2 3 2 3", "1 5")


def line_style(number: int) -> str:
    """Return the attributes of the line ``number``; its colour and dashes are both its own."""
    dashes = DASHES[(number + number // COLOURS) % len(DASHES)]
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'class="curve line-{number % COLOURS}"{pattern}'


def letter(number: int) -> str:
    """Return the sign of the line ``number``: A to Z, then A1..."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def line_sample(number: int, several: bool = True) -> Drawing:
    """Return a short piece of the line ``number`` for a legend, with its letter if of several."""
    line = f'<line {line_style(number)} x1="1" x2="43" y1="9" y2="9"/>'
    return sample(44, 18, line, lettered(number, 22, 9) if several else "")


def lettered(number: int, x: float, y: float) -> str:
    """Return the letter of the line ``number`` in a circle."""
    circle = f'<circle class="sign line-{number % COLOURS}" cx="{x:g}" cy="{y:g}" r="7.5"/>'
    return f"{circle}{words_at(x, y + 4, letter(number), 'middle', 'letter')}"
