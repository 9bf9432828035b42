"""The command line: parses, calls the stages, prints; every error is one line and a code."""

from toolchain.cli import (
    benching,
    boards,
    bundling,
    checking,
    comparing,
    doctor,
    evaluating,
    gating,
    inspecting,
    pareto,
    recommending,
    shipping,
    shrinking,
    sweeping,
    training,
    verifying,
    widths,
)
from toolchain.cli.app import main, run

__all__ = [
    "benching",
    "boards",
    "bundling",
    "checking",
    "comparing",
    "doctor",
    "evaluating",
    "gating",
    "inspecting",
    "main",
    "pareto",
    "recommending",
    "run",
    "shipping",
    "shrinking",
    "sweeping",
    "training",
    "verifying",
    "widths",
]
