"""Benchmarks of files: time in turn, memory in fresh processes, operators by type."""
