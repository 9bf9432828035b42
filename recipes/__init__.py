"""Recipes that ship, one TOML per model."""
