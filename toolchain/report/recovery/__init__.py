"""A recovery on the way."""
