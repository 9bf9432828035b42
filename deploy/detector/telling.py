"""What is printed: a line or a JSON line for each picture."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from .detecting import Detection
from .errors import DetectError, OutputError, reason_of
from .sources import Frame, Source


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


def record(source: Source, frame: Frame, found: Detection) -> dict[str, Any]:
    """Return what is said about a picture: the JSON line (boxes in pixels, ``ms`` of inference)."""
    number = {} if frame.number is None else {"frame": frame.number}
    faces = [
        {"box": [round(edge, 2) for edge in box], "score": round(score, 4)}
        for box, score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True)
    ]
    height, width = frame.image.shape[:2]
    size = {"width": width, "height": height}
    ms = round(found.inference_ms, 3)
    damaged = {"damaged": frame.damage} if frame.damage else {}
    return {"image": source.name, **number, **size, "faces": faces, "ms": ms, **damaged}


def sentence(facts: dict[str, Any], target: Path | None) -> str:
    """Return a record as a line for people."""
    frame = f" frame {facts['frame']}" if "frame" in facts else ""
    faces = facts["faces"]
    best = f" (best {faces[0]['score']:.2f})" if faces else ""
    count = f"{len(faces)} face{'' if len(faces) == 1 else 's'}{best}"
    size = f"{facts['width']}x{facts['height']}"
    written = f" -> {target}" if target else ""
    return f"{facts['image']}{frame}: {count}, {size}, {facts['ms']:.1f} ms{written}"


def report_failure(name: str, error: DetectError, options: argparse.Namespace) -> None:
    """Say that an input failed: as a JSON line, or on standard error."""
    if options.json:
        emit(json.dumps({"image": name, "error": str(error)}))
    else:
        print(f"detect.py: {error}", file=sys.stderr)


def warn(words: str) -> None:
    """Print a warning on standard error."""
    print(f"detect.py: warning: {words}", file=sys.stderr)
