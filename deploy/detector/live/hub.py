"""The newest view, and the line of messages before it, handed from the detector to all viewers."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from ..arrays import Image
from ..tasks.found import Found

BACKLOG = 64
"""Messages kept for viewers that are behind; older ones are lost to them."""
WATCHED_SECONDS = 3.0
"""So long after a viewer asked for a picture the next ones are encoded as well."""


@dataclass(frozen=True)
class View:
    """A picture and what was found on it."""

    number: int
    facts: dict[str, Any]
    """What :func:`deploy.detect.record` says of it, and its times."""
    image: Image
    jpeg: bytes | None
    """None if nobody watched."""
    published: float
    """Monotonic seconds."""
    found: Found | None = None
    """Down to the lowest score that is sent."""


class Hub:
    """Where views arrive from the detector's thread and viewers wait for them in the loop's.

    Viewers take what is newest when they are ready, so a slow one holds up nobody; messages are
    small, and the last :data:`BACKLOG` of them wait for it.
    """

    def __init__(self) -> None:
        self.run = secrets.token_hex(4)
        """Another after every start: pictures are then numbered from 1 again."""
        self.view: View | None = None
        self.viewers = 0
        self._messages: deque[tuple[int, bytes]] = deque(maxlen=BACKLOG)
        self._count = 0
        self._wanted = -WATCHED_SECONDS
        self._state: dict[str, tuple[int, bytes]] = {}
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop in which viewers wait."""
        self._loop = loop

    @property
    def is_watched(self) -> bool:
        """Whether pictures must be encoded."""
        return time.monotonic() - self._wanted < WATCHED_SECONDS

    def publish(self, view: View) -> None:
        """Make a view the newest; called from any thread."""
        self._call(self._publish, view)

    def tell(self, event: str, facts: dict[str, Any]) -> None:
        """Send an event other than a view, such as ``camera``; newcomers get the last of each."""
        self._call(self._tell, event, facts)

    def _call(self, function: Any, *arguments: Any) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _publish(self, view: View) -> None:
        self.view = view
        self._append("", view.facts)

    def _tell(self, event: str, facts: dict[str, Any]) -> None:
        self._state[event] = self._append(event, facts)

    def _append(self, event: str, facts: dict[str, Any]) -> tuple[int, bytes]:
        name = f"event: {event}\n" if event else ""
        self._count += 1
        entry = (self._count, f"{name}data: {json.dumps(facts)}\n\n".encode())
        self._messages.append(entry)
        self._changed.set()
        self._changed = asyncio.Event()
        return entry

    async def wait(self, seconds: float) -> None:
        """Wait until something is new, at most so long."""
        changed = self._changed
        try:
            await asyncio.wait_for(changed.wait(), seconds)
        except TimeoutError:
            return

    async def picture(self, known: int, seconds: float) -> View | None:
        """Return the newest view that has a picture and is not number ``known``."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._wanted = time.monotonic()
            view = self.view
            if view and view.jpeg and view.number != known:
                return view
            await self.wait(left)
        return None

    def greeting(self) -> tuple[int, bytes]:
        """Return where a newcomer begins to read, and the events that it missed."""
        hello = f"event: hello\ndata: {json.dumps({'run': self.run})}\n\n".encode()
        return self._count, hello + b"".join(message for _, message in self._state.values())

    def messages(self, after: int) -> tuple[int, bytes]:
        """Return the messages after a place, and the place after them."""
        return self._count, b"".join(each for number, each in self._messages if number > after)
