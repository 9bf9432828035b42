"""What a process does with large pieces of memory that it frees."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3)."""
KEPT = 2**31 - 1
"""Bytes at the end of the heap that are kept though they are free; the most that can be said."""


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed for what is asked for next; return whether it does.

    By default glibc gives large tensors back to the system at once, which then clears every page
    of the next again: of one inference of EXTD on a photo of 1024x704 that was more than half of
    the time. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
