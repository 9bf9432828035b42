"""Whole runs: the order of the stages, which only this room knows."""
