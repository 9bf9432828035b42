"""Standard output and standard error: full or closed ones, JSON alone, text that is not ASCII.

A command's result goes to standard output. With ``--json`` that is one document and nothing else:
while the command runs, all that is printed (by a network's own code, too, and by libraries in C)
goes to standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from toolchain.system.files import without_infinities


class StreamError(Exception):
    """Standard output takes nothing: its reader has gone, or the disk is full.

    It is no OSError, so that neither the command line's library nor rich takes it for its own.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: cannot be written ({error.strerror or error})")
        self.is_closed = isinstance(error, BrokenPipeError)


class _Watched:
    """A text stream whose errors are :class:`StreamError`, or are ignored if it is ``forgiving``.

    Characters that its encoding lacks are written as escapes.
    """

    def __init__(self, stream: TextIO, *, forgiving: bool) -> None:
        self._stream = stream
        self._forgiving = forgiving
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        with self._told():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._told():
            self._stream.flush()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._forgiving:
                raise StreamError(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@dataclass
class Results:
    """Where a command's JSON goes."""

    stream: Any
    is_printed: bool = False
    """Whether the document is out."""

    def print_text(self, document: str) -> None:
        """Print a document of JSON."""
        self.is_printed = True
        self.stream.write(document.rstrip("\n") + "\n")
        self.stream.flush()


_results: list[Results] = []
"""Those of the commands at work, the innermost last: the gate runs ``shrink``."""


def print_json(content: object) -> None:
    """Print the command's result as JSON, with null for figures that are no numbers."""
    _results[-1].print_text(json.dumps(without_infinities(content), indent=2))


def print_json_text(document: str) -> None:
    """Print the command's result, which is JSON already."""
    _results[-1].print_text(document)


@contextlib.contextmanager
def watched_streams(*, is_json: bool) -> Iterator[Results]:
    """Watch both streams while a command runs; with ``is_json``, keep standard output for it."""
    kept = sys.stdout, sys.stderr
    error = _Watched(sys.stderr or _nowhere(), forgiving=True)
    output = _Watched(sys.stdout or _nowhere(), forgiving=False)
    sys.stderr = error
    sys.stdout = error if is_json else output
    try:
        with _kept_alone(output) if is_json else contextlib.nullcontext(output) as place:
            _results.append(Results(place))
            try:
                yield _results[-1]
            finally:
                _results.pop()
    finally:
        sys.stdout, sys.stderr = kept


@contextlib.contextmanager
def _kept_alone(output: _Watched) -> Iterator[Any]:
    """Give a stream to the process's standard output that code in C, or a child, does not have."""
    if not _is_descriptor(output, 1):
        yield output
        return
    output.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(os.dup(kept), "w", encoding=output.encoding)
    try:
        yield _Watched(stream, forgiving=False)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        with contextlib.suppress(OSError):
            stream.close()


def _is_descriptor(stream: Any, number: int) -> bool:
    """Tell whether a stream writes to that descriptor (a test's, or a string, does not)."""
    try:
        return bool(stream.fileno() == number)
    except (OSError, ValueError):
        return False


def _nowhere() -> TextIO:
    """Return a stream for a process that was started without one."""
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - it lives as we do


def hold_descriptors() -> None:
    """Open the standard descriptors that are closed, or the first file would be taken for one."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def throw_output_away() -> None:
    """Send what standard output still holds nowhere: it would fail again when Python ends."""
    if _is_descriptor(sys.stdout, 1):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
