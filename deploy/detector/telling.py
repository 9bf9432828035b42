"""What is printed: a line or a JSON line for each picture."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from .errors import DetectError, OutputError, reason_of
from .sources import Frame
from .tasks.found import Found


def emit(line: str) -> None:
    """Print a line to standard output at once, so that a pipe sees every picture as it is done."""
    try:
        print(line, flush=True)
    except OSError as error:
        # What is still in the buffer would fail again, with a traceback, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"standard output: cannot be written ({reason_of(error)})") from error


def record(name: str, frame: Frame | None, found: Found, ms: float) -> dict[str, Any]:
    """Return what is said about an input: the JSON line (in pixels of the picture).

    ``frame`` is None of arrays; ``ms`` is what the inference took.
    """
    place: dict[str, Any] = {}
    damaged: dict[str, Any] = {}
    if frame is not None:
        height, width = frame.image.shape[:2]
        place = {} if frame.number is None else {"frame": frame.number}
        place |= {"width": width, "height": height}
        damaged = {"damaged": frame.damage} if frame.damage else {}
    return {"image": name, **place, **found.facts(), "ms": round(ms, 3), **damaged}


def sentence(facts: dict[str, Any], words: str, target: Path | None) -> str:
    """Return a record as a line for people; ``words`` say what was found."""
    frame = f" frame {facts['frame']}" if "frame" in facts else ""
    size = f", {facts['width']}x{facts['height']}" if "width" in facts else ""
    written = f" -> {target}" if target else ""
    return f"{facts['image']}{frame}: {words}{size}, {facts['ms']:.1f} ms{written}"


def report_failure(name: str, error: DetectError, options: argparse.Namespace) -> None:
    """Say that an input failed: as a JSON line, or on standard error."""
    if options.json:
        emit(json.dumps({"image": name, "error": str(error)}))
    else:
        print(f"detect.py: {error}", file=sys.stderr)


def warn(words: str) -> None:
    """Print a warning on standard error."""
    print(f"detect.py: warning: {words}", file=sys.stderr)
