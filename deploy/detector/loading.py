"""Loading a runtime: which of several is there, and what it says while it opens a file."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import DetectError, one_line


def imported(*names: str) -> Any:
    """Import the first of some modules that is there; raise what to install if none is."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reason = one_line(error)
    packages = " or ".join(name.partition(".")[0].replace("_", "-") for name in names)
    raise DetectError(f"needs {packages} ({reason}); run: pip install {packages.split()[0]}")


@contextmanager
def silence() -> Iterator[None]:
    """Send what C++ code writes to standard error nowhere; errors are raised too."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def thread_count(threads: int) -> int:
    """Return how many threads 0 means: one per core that this process may use."""
    return threads or len(os.sched_getaffinity(0))
