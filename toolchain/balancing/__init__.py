"""Levels of a detector, shifted so that a score means the same at each."""
