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
MOST, ROOM = 3.0, 1.25
"""Of that share, what a process may hold that needs it; and of what it needs, what it may hold."""


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed for what is asked for next; return whether it does.

    By default glibc gives large tensors back to the system at once, which then clears every page
    of the next again: of one inference of EXTD on a photo of 1024x704 that was more than half of
    the time. Pieces of many sizes leave holes, so :class:`Surplus` belongs to it. Other C libraries
    are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))


class Surplus:
    """What a process holds beyond need; to be given back now and then.

    ``share`` of the machine's memory is much. Work that needs more than that at every turn would
    only be hindered, for the system clears every page again: what is held again at the very next
    call counts as needed from then on, up to ``MOST`` times the share.
    """

    def __init__(self, share: float = SHARE) -> None:
        self.share, self._most = share, MOST * share
        self._gave_back = False
        """At the last call."""

    def give_back(self) -> bool:
        """Give all that is free back if the process holds much; return whether it did.

        To be called when large tensors have been freed: it costs microseconds where there is
        nothing to do.
        """
        gave_back, self._gave_back = self._gave_back, False
        try:
            pages = int(Path("/proc/self/statm").read_bytes().split()[1])
            held = pages / os.sysconf("SC_PHYS_PAGES")
            if gave_back and held > self.share:
                self.share = min(self._most, ROOM * held)
            if held > self.share:
                self._gave_back = bool(ctypes.CDLL(None).malloc_trim(0))
        except (AttributeError, OSError, TypeError, ValueError):
            pass
        return self._gave_back
