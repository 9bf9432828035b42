"""Measurements and proofs."""
