"""Widths by measured cost: groups of dependency groups, and plans that meet a budget."""
