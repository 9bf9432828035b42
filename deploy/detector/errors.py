"""What can go wrong, in one line each."""

from __future__ import annotations


class DetectError(Exception):
    """The root of all errors; its message is one line that says what is wrong and what to do.

    DetectError             a model or an input that cannot be used; the other inputs still are
      OutputError           nothing can be written; the run ends
    """


class OutputError(DetectError):
    """The disk is full, or the folder cannot be written."""


def one_line(error: BaseException) -> str:
    """Return a library's message on one line of at most 200 characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def reason_of(error: Exception) -> str:
    """Return the system's words for an error, "No such file or directory"."""
    return getattr(error, "strerror", None) or one_line(error)
