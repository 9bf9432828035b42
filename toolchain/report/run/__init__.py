"""The report of a run of ``shrink``: what was removed, what it costs, and the proof."""
