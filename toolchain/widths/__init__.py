"""Widths by measured cost: staircases of dependency groups, and plans that meet a budget."""
