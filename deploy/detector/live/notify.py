"""What a service tells systemd (sd_notify(3)), and the command that is run when a face comes."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from typing import Any

from ..errors import DetectError

QUIET_SECONDS = 2.0
"""A face is news if none was seen for so long."""
LONGEST_SECONDS = 30.0
"""A command that runs longer is ended."""


def notify(message: str) -> None:
    """Send ``READY=1``, ``WATCHDOG=1`` or the like, if a service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(message.encode(), name)


class FaceCommand:
    """Runs a command, without a shell, when a face or box comes after none; never two at a time.

    It gets the picture's JSON line on its standard input.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise DetectError(f"--on-face: {command!r} cannot be split ({error})") from error
        if not self._words or shutil.which(self._words[0]) is None:
            program = self._words[0] if self._words else ""
            raise DetectError(f"--on-face: there is no program {program!r}")
        self._running: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._last_face: float | None = None

    def see(self, facts: dict[str, Any]) -> None:
        """Look at a picture's facts; run the command if they are news."""
        now = time.monotonic()
        self._tend(now)
        if not (facts.get("faces") or facts.get("boxes")):
            return
        news = self._last_face is None or now - self._last_face > QUIET_SECONDS
        self._last_face = now
        if news and self._running is None:
            self._run(json.dumps(facts) + "\n", now)

    def stop(self) -> None:
        """End the command, if it runs."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def _tend(self, now: float) -> None:
        """Take note of a command that has ended; end one that takes too long."""
        if self._running is None:
            return
        code = self._running.poll()
        if code is None and now - self._started > LONGEST_SECONDS:
            say(f"--on-face: {self._words[0]} ran over {LONGEST_SECONDS:.0f} s and was ended")
            self.stop()
        elif code is not None:
            self._running = None
            if code:
                say(f"--on-face: {self._words[0]} failed with exit code {code}")

    def _run(self, line: str, now: float) -> None:
        # Standard output may be a pipe of JSON lines, which a command's own words would break.
        try:
            started = subprocess.Popen(self._words, stdin=subprocess.PIPE, stdout=sys.stderr)
        except OSError as error:
            say(f"--on-face: {self._words[0]} cannot be run ({error.strerror})")
            return
        self._running, self._started = started, now
        assert started.stdin is not None
        with contextlib.suppress(OSError):  # one that does not read its input may be gone
            os.set_blocking(started.stdin.fileno(), False)
            started.stdin.write(line.encode())
            started.stdin.close()


def say(line: str) -> None:
    """Print a line about the service on standard error."""
    print(f"detect.py: {line}", file=sys.stderr, flush=True)
