"""Drawings as inline SVG, for the figures of all documents.

They are drawn here, not by a library, for what a report needs of them: colours that follow the
reader's light or dark theme, bars as wide as the window beside names that wrap, a name and a
description that can be heard, no scripts, and a few kilobytes each. A chart of three lines of 30
points takes 12 kB here, with a title for each point. The same, in November 2026, with

- pygal 3.1 (2 MB installed): 42 kB; a script and a style sheet in every chart, fixed colours.
- Altair 6.3 with vl-convert 1.9 (94 MB, with V8 inside): 38 kB; it labels
  its marks for those who hear them, and its colours are fixed.
- Matplotlib 3.11 (35 MB and its dependencies): 27 kB; nothing to be heard, fixed colours.
- leather 0.4 (1 MB): 8 kB; nothing to be heard, no logarithmic axis, fixed colours.
- Plotly 7 (64 MB): static SVG needs a Chrome browser.

None draws bars whose lengths are a share of the window, which is most of the figures here.
"""
