"""Where things are kept that can be made again: by the platform's convention, or where told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "TOOLCHAIN_CACHE"
"""The environment variable that names another folder for all of it."""
NAME = "edge-toolchain"
SHOWN = f"${VARIABLE} or ~/.cache/{NAME}"
"""The convention in words, for help."""


def cache_folder() -> Path:
    """Return the folder of all caches, which may not be there yet.

    It is what TOOLCHAIN_CACHE names; else ``edge-toolchain`` under XDG_CACHE_HOME or ``~/.cache``
    (macOS: ``~/Library/Caches``); for a user without a home ``.cache`` in the working folder.
    """
    told = os.environ.get(VARIABLE)
    if told:
        return Path(told)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():  # the specification says to ignore others
        return Path(base) / NAME
    try:
        home = Path.home()
    except RuntimeError:
        return Path(".cache")
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / NAME


def arm_cache() -> Path:
    """Return the folder of what emulation needs and of earlier checks: about 400 MB a board."""
    return cache_folder() / "arm"


def photo_cache() -> Path:
    """Return the folder of decoded photos."""
    return cache_folder() / "photos"
