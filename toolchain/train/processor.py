"""What must be set for the processor before PyTorch is loaded."""

from __future__ import annotations

import os
from pathlib import Path

UNSAFE = {"avx512_fp16", "amx_tile"}
"""With these, oneDNN (seen with PyTorch 2.13) corrupts memory in the backward pass of convolutions
with odd numbers of channels: wrong gradients, or a crash."""


def keep_gradients_right(flags: set[str] | None = None) -> bool:
    """Hold oneDNN to AVX2 on processors where it needs it; return whether that was so.

    ``flags`` are the processor's, of /proc/cpuinfo by default. What the user set stays.
    """
    if not UNSAFE & (processor_flags() if flags is None else flags):
        return False
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    return True


def processor_flags() -> set[str]:
    """Return the first processor's flags; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split()[2:]) for line in lines if line.startswith("flags")), set())
