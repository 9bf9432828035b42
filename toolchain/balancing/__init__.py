"""Levels of a detector whose scores are made to speak of the same."""
