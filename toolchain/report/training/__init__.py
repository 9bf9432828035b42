"""A training on the way."""
