"""Timings, run by hand: ``python -m tests.benchmarks.NAME``; no test looks at the time."""
