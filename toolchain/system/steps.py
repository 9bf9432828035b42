"""Steps within a stage, told to whoever listens, as a log is: so that no long stage is silent.

Those who take steps do not know who listens, and nothing depends on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def step(words: str) -> None:
    """Tell what begins now."""
    listener = _listener.get()
    if listener is not None:
        listener(words)


@contextlib.contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Hear of all steps that are taken within."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
