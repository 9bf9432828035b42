"""What a process does with large pieces of memory that it frees."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3)."""
KEPT = 2**31 - 1
"""Bytes at the end of the heap that are kept though they are free; the most that can be said."""
SHARE = 0.125
"""Of the machine's memory, that a process may hold, or several together, before it gives back what
is free of it."""


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed for what is asked for next; return whether it does.

    By default glibc gives large tensors back to the system at once, which then clears every page
    of the next again: of one inference of EXTD on a photo of 1024x704 that was more than half of
    the time. Pieces of many sizes leave holes, so :func:`give_back_surplus` belongs to it. Other C
    libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))


def give_back_surplus(share: float = SHARE) -> bool:
    """Give all that is free back if the process holds much; return whether it did.

    ``share`` of the machine's memory is much. To be called when large tensors have been freed: it
    costs microseconds where there is nothing to do.
    """
    try:
        held = int(Path("/proc/self/statm").read_bytes().split()[1])
        if held <= share * os.sysconf("SC_PHYS_PAGES"):
            return False
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError, ValueError):
        return False
