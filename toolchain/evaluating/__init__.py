"""Evaluating whatever network by whatever its recipe names: a figure, and a name for it."""
