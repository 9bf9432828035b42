"""The service from its options to its end: camera, detector, page, watchdog."""

from __future__ import annotations

import argparse
import functools
import getpass
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..detecting import Detector
from ..errors import DetectError
from ..outputs import OutputFolder
from ..stopping import heed
from ..telling import emit
from .board import health
from .cameras import opener, shown_name
from .capture import CameraState, Capture, turned
from .guard import Access, Guard, is_loopback, token_in
from .hub import Hub
from .notify import FaceCommand, notify, say
from .routes import Site
from .snapshots import Snapshots
from .watching import Watcher
from .web import Web, bind

if TYPE_CHECKING:
    from ..opening import Worker

HEALTH_SECONDS = 5.0
TOKEN_NAME = "live-token"
"""The file beside the model that holds the token, unless --token names another."""


def serve(detector: Worker, options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or SIGTERM; return 0. Raise :class:`DetectError` at the start."""
    command = None if options.on_face is None else FaceCommand(options.on_face)
    _demand_pictures(detector, options)
    access = _access(options)
    folder = OutputFolder(options.out, []).folder if options.out else None
    listener = bind(options.host, options.port)
    port = int(listener.getsockname()[1])
    hub = Hub()
    name = shown_name(options.camera)
    capture = Capture(
        opener(options.camera, _upright(detector.size, options.rotate), loop=options.loop),
        functools.partial(turned, rotate=options.rotate, mirror=options.mirror),
        functools.partial(_tell_camera, hub, name),
    )
    watcher = Watcher(detector, capture, hub, name, options.threshold)
    tunnel = _tunnel(port)
    guard = Guard(access, f"live_{port}")
    site = Site(guard, hub, capture, watcher, Snapshots(folder, watcher.threshold), tunnel)
    site.web = Web(listener, site.answer)
    hub.attach(site.web.loop)
    site.web.start()
    _announce(options, port, access, tunnel)
    threading.Thread(target=_feel, args=[site], name="board", daemon=True).start()
    capture.start()
    notify("READY=1")
    try:
        return _watch(watcher, capture, command, as_json=options.json, limit=options.limit)
    except KeyboardInterrupt:
        say("stopped")
        return 0
    finally:
        notify("STOPPING=1")
        site.web.stop()
        if command:
            command.stop()
        if not capture.stop():
            _leave()


def _demand_pictures(worker: Worker, options: argparse.Namespace) -> None:
    """Raise :class:`DetectError` for a network that is given none, or has nothing to count."""
    if not isinstance(worker, Detector):
        if not worker.sees_pictures:
            raise DetectError(f"--serve shows pictures, and it takes arrays ({worker.takes})")
        if options.on_face is not None and worker.specification.kind != "boxes":
            raise DetectError(f"--on-face is for faces and boxes, and it gives {worker.noun}")


def _watch(
    watcher: Watcher,
    capture: Capture,
    command: FaceCommand | None,
    *,
    as_json: bool,
    limit: int | None,
) -> int:
    """Do picture after picture, at most ``limit``.

    The watchdog is fed by pictures; while there are none, by attempts to open the camera, and by
    a file that is over: only a camera that hangs, or a network that does, starves it.
    """
    attempts = 0
    while limit is None or watcher.totals.frames < limit:
        heed()
        facts = watcher.step()
        state = capture.state
        if facts or state.attempts != attempts or state.status == "ended":
            notify("WATCHDOG=1")
        attempts = state.attempts
        if facts is None:
            continue
        if as_json:
            emit(json.dumps(facts))
        if command:
            command.see(facts)
    return 0


def _leave() -> None:
    """End at once: Python's own end would abort in the driver in which the camera hangs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _access(options: argparse.Namespace) -> Access:
    """Return who is let in; beyond loopback there must be a token."""
    if options.token is None and is_loopback(options.host):
        return Access(options.host, None)
    path = options.token or Path(options.model).with_name(TOKEN_NAME)
    return Access(options.host, token_in(path))


def _upright(size: tuple[int, int], rotate: int) -> tuple[int, int]:
    """Return the (height, width) that a camera must give to have the network's once turned."""
    return size[::-1] if rotate in (90, 270) else size


def _tell_camera(hub: Hub, name: str, state: CameraState) -> None:
    """Tell viewers and the log how the camera is."""
    message = state.message
    again = "; trying again" if state.status == "lost" else ""
    if message:
        say(f"camera {name}: {message}{again}")
    elif state.status == "running":
        say(f"camera {name}: {state.description}")
    hub.tell("camera", {"status": state.status, "message": message, "name": name})


def _feel(site: Site) -> None:
    """Tell viewers every few seconds how the board feels."""
    while True:
        site.health = health()
        site.hub.tell("board", site.health.facts())
        time.sleep(HEALTH_SECONDS)


def _tunnel(port: int) -> str:
    """Return the command that brings the page to another machine, through ssh alone."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "pi"
    return f"ssh -N -L {port}:127.0.0.1:{port} {user}@{socket.gethostname()}"


def _announce(options: argparse.Namespace, port: int, access: Access, tunnel: str) -> None:
    """Say where the page is. The token goes to a terminal only, not into a log."""
    host = socket.gethostname() if options.host in ("0.0.0.0", "::") else options.host
    host = f"[{host}]" if ":" in host else host
    say(f"the page is at http://{host}:{port}/")
    if is_loopback(options.host):
        say(f"from another machine: {tunnel}, then open http://127.0.0.1:{port}/ there")
    else:
        say(f"safer than --host, which sends all in the clear: leave it out, and use {tunnel}")
    if access.token:
        path = options.token or Path(options.model).with_name(TOKEN_NAME)
        query = f"http://{host}:{port}/?token={access.token}"
        say(f"its token is in {path}" + (f": {query}" if sys.stderr.isatty() else ""))
