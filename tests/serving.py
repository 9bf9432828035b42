"""A live page that runs: ``detect.py --serve`` in a process of its own, and requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from board import PROGRAM, RED, metadata, picture, write_model

from toolchain.deploy.detect import VideoFile

SECONDS = 20.0


def red_clip(
    path: Path,
    frames: int = 10,
    per_second: float = 20.0,
    color: tuple[int, int, int] = RED,
) -> Path:
    """A video of the picture with the red block, 256 x 256, its box [128, 56, 192, 136]."""
    video = VideoFile(path)
    for _ in range(frames):
        video.write(picture(256, 256, color), per_second)
    video.close()
    video.check()
    return path


def red_model(folder: Path) -> Path:
    return write_model(folder / "model.onnx", metadata())


class Service:
    """``detect.py MODEL --serve`` on a free port; use it in a ``with``."""

    def __init__(self, model: Path, *options: Any, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, PROGRAM, model, "--serve", "--port", "0", *options]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=model.parent,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.printed: list[str] = []
        self._collectors: list[threading.Thread] = []
        for stream, lines in (
            (self.process.stderr, self.said),
            (self.process.stdout, self.printed),
        ):
            collector = threading.Thread(target=self._collect, args=[stream, lines], daemon=True)
            collector.start()
            self._collectors.append(collector)
        line = self.until_said("the page is at")
        match = re.search(r":(\d+)/$", line)
        assert match
        self.port = int(match[1])

    def _collect(self, stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for collector in self._collectors:
            collector.join()

    def until_said(self, words: str) -> str:
        """Wait for a line on standard error and return it."""
        return until(lambda: next((line for line in self.said if words in line), ""), words)

    def get(self, target: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
        """Return status, headers and body of a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, headers=named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def events(self, **headers: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name ("" for pictures) and the facts of each event."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request("GET", "/events", headers=headers)
        name = ""
        with contextlib.closing(connection), connection.getresponse() as answer:
            for line in answer:
                if line.startswith(b"event: "):
                    name = line[7:].decode().strip()
                elif line.startswith(b"data: "):
                    yield name, json.loads(line[6:])
                    name = ""

    def figure(self, name: str) -> float:
        """Return a metric without labels."""
        text = self.get("/metrics")[2].decode()
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith(name)))


def until(condition: Any, what: str = "", seconds: float = SECONDS) -> Any:
    """Ask until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"never: {what or condition}"
        time.sleep(0.02)
    return found


def raw(port: int, data: bytes, host: str = "127.0.0.1") -> bytes:
    """Send bytes and return all that is answered until the server closes."""
    with socket.create_connection((host, port), timeout=SECONDS) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def grey(value: int = 120) -> Any:
    return np.full((64, 64, 3), value, np.uint8)
