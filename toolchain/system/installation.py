"""How the toolchain came here, from a checkout or as a wheel, and how to get what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

NAME = "edge-toolchain"
"""What the distribution is called."""
PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the package ``toolchain``."""


def checkout() -> Path | None:
    """Return the checkout that the code runs from; None where it was installed from a wheel."""
    root = PACKAGE.parent
    return root if (root / "Makefile").is_file() and (root / "pyproject.toml").is_file() else None


def how_to_get(extra: str = "") -> str:
    """Return the command that brings an extra, or without one all that the toolchain needs.

    In the environment that ``make setup`` made it is that; elsewhere the environment is somebody
    else's, and pip is asked.
    """
    root = checkout()
    if root is not None and Path(sys.prefix).resolve() == (root / ".venv").resolve():
        return f"make setup EXTRAS={extra}" if extra else "make setup"
    if extra:
        return f"pip install '{NAME}[{extra}]'"
    return "pip check, which names what to install"
