"""What each address of the page answers; there are no others, and no name leads to a file."""

from __future__ import annotations

import asyncio
import html
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath

from .board import Health
from .capture import Capture
from .guard import Guard
from .http import Request, RequestError, Response
from .hub import Hub
from .metrics import family, resident_bytes
from .snapshots import Snapshots
from .watching import Watcher
from .web import Answer, Web

PAGE = resources.files(__package__) / "page"
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
PICTURE_SECONDS = 5.0
"""How long a viewer waits for the next picture before it must ask again."""
BEAT_SECONDS = 5.0
"""A stream of events says at least so often that it lives."""
MAX_VIEWERS = 16
NOTHING_KNOWN = Health()
STALE_SECONDS = 10.0
"""A service whose last picture is older is not healthy."""


def page_files() -> dict[str, Response]:
    """Return the page's files by address; they are read once, at the start."""
    return {
        "/" if file.name == "index.html" else f"/{file.name}": Response(
            file.read_bytes(), f"{KINDS[PurePath(file.name).suffix]}; charset=utf-8"
        )
        for file in PAGE.iterdir()
        if PurePath(file.name).suffix in KINDS and file.name != "token.html"
    }


@dataclass
class Site:
    """All that the addresses tell of, and who may ask."""

    guard: Guard
    hub: Hub
    capture: Capture
    watcher: Watcher
    snapshots: Snapshots
    tunnel: str
    """How to reach the page from another machine."""
    health: Health = NOTHING_KNOWN
    web: Web | None = None

    def __post_init__(self) -> None:
        self._files = page_files()
        self._routes: dict[str, Callable[[Request], Awaitable[Answer]]] = {
            "/frame.jpg": self._picture,
            "/events": self._events,
            "/settings": self._settings,
            "/clock": self._clock,
            "/metrics": self._metrics,
        }

    async def answer(self, request: Request) -> Answer:
        """Answer a request; raise :class:`RequestError`."""
        if request.path == "/healthz":
            return self._healthz()
        self.guard.check_site(request)
        try:
            self.guard.check_token(request)
        except RequestError:
            if request.path == "/":
                return self._ask_for_token(request)
            if request.path != "/page.css":  # the page that asks is styled too
                raise
        if request.path == "/snapshot":
            return await self._snapshot(request)
        if request.method == "POST":
            raise RequestError(405, "only /snapshot is posted to")
        if request.path == "/" and "token" in request.query:
            return self._logged_in()
        if request.path in self._files:
            return self._files[request.path]
        if request.path in self._routes:
            return await self._routes[request.path](request)
        raise RequestError(404, "there is no such address here")

    def _ask_for_token(self, request: Request) -> Response:
        page = (PAGE / "token.html").read_text(encoding="utf-8")
        wrong = "That was not it. " if request.query.get("token") else ""
        page = page.replace("{{wrong}}", wrong).replace("{{tunnel}}", html.escape(self.tunnel))
        return Response(page.encode(), "text/html; charset=utf-8", 401)

    def _logged_in(self) -> Response:
        """Keep the token in a cookie and take it out of the address."""
        cookie = f"{self.guard.cookie}={self.guard.token}; HttpOnly; SameSite=Strict; Path=/"
        return Response(status=303, headers=("Location: /", f"Set-Cookie: {cookie}"))

    def _healthz(self) -> Response:
        """Tell whether pictures are being done; nothing more, for it asks for no token."""
        last, state = self.watcher.totals.last, self.capture.state
        fresh = last is not None and time.monotonic() - last < STALE_SECONDS
        if fresh or state.status == "ended":
            return Response(b"ok\n")
        return Response(f"no pictures: the camera is {state.status}\n".encode(), status=503)

    async def _picture(self, request: Request) -> Answer:
        known = request.query.get("after", "0")
        if not known.isdecimal() or len(known) > 15:
            raise RequestError(400, "after= must be a picture's number")
        view = await self.hub.picture(int(known), PICTURE_SECONDS)
        if view is None or view.jpeg is None:
            return Response(status=204)
        return Response(view.jpeg, "image/jpeg", headers=(f"X-Frame: {view.number}",))

    async def _events(self, _request: Request) -> Answer:
        if self.hub.viewers >= MAX_VIEWERS:
            raise RequestError(503, f"{MAX_VIEWERS} viewers are enough; try again later")
        return Response(kind="text/event-stream"), self._stream()

    async def _stream(self) -> AsyncIterator[bytes]:
        self.hub.viewers += 1
        try:
            place, message = self.hub.greeting()
            yield message
            while True:
                place, message = self.hub.messages(place)
                if message:
                    yield message
                    continue
                await self.hub.wait(BEAT_SECONDS)
                if self.hub.messages(place)[0] == place:
                    yield b": still here\n\n"
        finally:
            self.hub.viewers -= 1

    async def _settings(self, _request: Request) -> Answer:
        facts = {
            "threshold": self.watcher.threshold,
            "lowest": self.watcher.lowest,
            "model": self.watcher.model,
            "trained": self.watcher.is_trained,
            "noun": self.watcher.noun,
            "counts": self.watcher.counts,
            "keeps_snapshots": self.snapshots.folder is not None,
        }
        return _json(facts)

    async def _clock(self, _request: Request) -> Answer:
        return _json({"seconds": time.monotonic()})

    async def _snapshot(self, request: Request) -> Response:
        if request.method != "POST":
            raise RequestError(405, "/snapshot is posted to")
        view = self.hub.view
        if view is None:
            raise RequestError(503, "there is no picture yet")
        loop = asyncio.get_running_loop()
        name = await loop.run_in_executor(None, self.snapshots.keep, view)
        return _json({"name": name, "frame": view.number})

    async def _metrics(self, _request: Request) -> Answer:
        return Response(self._figures().encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _figures(self) -> str:
        state, totals, web = self.capture.state, self.watcher.totals, self.web
        stages = [({"stage": name}, value) for name, value in totals.stage_seconds.items()]
        refused = [({"status": str(status)}, n) for status, n in web.refused.items()] if web else []
        single = [
            ("frames_total", "counter", "Pictures that were looked at.", totals.frames),
            ("camera_frames_total", "counter", "Pictures read from the camera.", state.read),
            ("skipped_frames_total", "counter", "Pictures replaced by a newer.", state.skipped),
            ("torn_frames_total", "counter", "Pictures left out as torn.", state.torn),
            ("black_frames_total", "counter", "Pictures that were black.", state.black),
            ("camera_openings_total", "counter", "Attempts to open the camera.", state.attempts),
            ("camera_up", "gauge", "1 if the camera runs.", float(state.status == "running")),
            ("faces", "gauge", "Faces (or boxes) on the last picture.", totals.faces),
            ("viewers", "gauge", "Pages that are open.", self.hub.viewers),
            ("connections", "gauge", "Open connections.", web.connections if web else 0),
            ("resident_bytes", "gauge", "Memory in use.", resident_bytes()),
        ]
        if self.health.celsius is not None:
            single.append(("celsius", "gauge", "Hottest thermal zone.", self.health.celsius))
        if self.health.throttled is not None:
            now = float(bool(self.health.throttled & 0xF))
            single.append(("throttled", "gauge", "1 if the board slows itself down.", now))
        figures = [family(f"detect_{name}", kind, text, [({}, value)])
                   for name, kind, text, value in single]  # fmt: skip
        stage_text = "Seconds spent on pictures, by stage."
        figures.append(family("detect_stage_seconds_total", "counter", stage_text, stages))
        figures.append(
            family("detect_refused_requests_total", "counter", "Requests refused.", refused)
        )
        return "".join(figures)


def _json(facts: object) -> Response:
    return Response(json.dumps(facts).encode(), "application/json")
