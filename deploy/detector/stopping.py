"""A request to stop, which is kept: an exception alone can be lost in code that ignores it."""

from __future__ import annotations

import threading

_ASKED = threading.Event()


def ask(_number: int, _frame: object) -> None:
    """Handle a signal: end what runs now by :class:`KeyboardInterrupt`, and remember it."""
    _ASKED.set()
    raise KeyboardInterrupt


def heed() -> None:
    """Raise :class:`KeyboardInterrupt` if it was asked for; loops call it in every round."""
    if _ASKED.is_set():
        raise KeyboardInterrupt
