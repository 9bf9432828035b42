"""A chart as an SVG file of its own, for a page that is not ours."""

from __future__ import annotations

from toolchain.report.document.model import Drawing

STYLE = """
:root { --panel: #ffffff; --ink: #1b2430; --muted: #4f5b6b; --line: #c9d0d9;
  --extd: #a8500a; --eresfd: #2f5d8c; --yunet: #2c7a46; --peer: #9b2f86;
  --other: #5f6b79; }
@media (prefers-color-scheme: dark) { :root { --panel: #11151b; --ink: #e8ecf1; --muted: #aab5c3;
  --line: #3a4553; --extd: #ffae66; --eresfd: #7fb0e0; --yunet: #7fd39a;
  --peer: #f29be0; --other: #9aa6b5; } }
text { font: 11px system-ui, sans-serif; fill: var(--muted); }
.title { fill: var(--ink); font-weight: 600; } .label { fill: var(--ink); }
.frame { fill: var(--panel); stroke: var(--line); } .grid { stroke: var(--line); opacity: .7; }
.front { fill: none; stroke: var(--muted); stroke-width: 1.25; stroke-dasharray: 5 3; }
.mark { stroke: var(--own); stroke-width: 1.75; } .mark.published { fill: var(--panel); }
.mark.measured { fill: var(--own); stroke: var(--panel); stroke-width: 1; }
.extd { --own: var(--extd); } .eresfd { --own: var(--eresfd); } .yunet { --own: var(--yunet); }
.peer { --own: var(--peer); } .other { --own: var(--other); }
.leader, .stem { stroke: var(--muted); stroke-width: .9; }
"""


def as_file(drawing: Drawing) -> bytes:
    """Return the chart as a file that shows itself in light and in dark."""
    head, rest = drawing.svg.split(">", 1)
    start = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{start}><style>{STYLE}</style>{rest}\n".encode()
