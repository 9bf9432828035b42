"""Every error that the toolchain raises on purpose.

    ToolchainError                 the root; the command line prints its message and exits
     |- InputError                 exit 2: what the user gave cannot be used
     |   |- RecipeError            a recipe has an unknown, mistyped or impossible field
     |   |- CheckpointError        a weights file cannot be read or does not fit the network
     |   |- ModelError             no such model, or a user's factory does not give one
     |   |- PhotoError             a picture cannot be read
     |   `- DataError              a data set, or a file of detections, is not what it must be
     |- RemovalError               exit 1: hardly any of the filters that are to go can go
     |- WishError                  exit 1: nothing that is there does what was wished
     `- ProofError                 exit 1: a proof failed, so nothing is exported
         |- AnalysisError          the network does what the analysis cannot follow
         |- ParityError            two networks that must agree do not
         `- ExportError            an exported file is not what it must be

A message says what was wrong, where, what was expected and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ToolchainError(Exception):
    """Root of all errors that are told to the user in one line."""

    exit_code = 1


class InputError(ToolchainError):
    """What the user gave cannot be used."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe has an unknown, mistyped or impossible field."""


class CheckpointError(InputError):
    """A weights file cannot be read, or does not fit the network."""


class ModelError(InputError):
    """No such model, or a user's factory does not give one."""


class PhotoError(InputError):
    """A picture cannot be read."""


class DataError(InputError):
    """A data set, its lists, or a file of detections is not what it must be."""


class RemovalError(ToolchainError):
    """Hardly any of the filters that are to go can go; nothing is exported."""


class WishError(ToolchainError):
    """Nothing that is there does what was wished."""


class ProofError(ToolchainError):
    """A proof failed; nothing is exported."""


class AnalysisError(ProofError):
    """The network does something that the analysis cannot follow."""


class ParityError(ProofError):
    """Two networks, or a network and a file, that must agree do not."""


class ExportError(ProofError):
    """An exported file is not what it must be."""


def did_you_mean(words: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known word that is most like one of these, or nothing.

    ``words`` is a word, or several with commas between.
    """
    options = list(known)
    for word in words.split(","):
        near = difflib.get_close_matches(word.strip().lower(), options, n=1)
        if near:
            return f"; did you mean {near[0]!r}?"
    return ""


def first_line(error: BaseException | str, longest: int = 200) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:longest] if lines else type(error).__name__


def last_line(said: str, otherwise: str = "it says nothing") -> str:
    """Return the last line of what a program says, where programs tell why they failed."""
    return (said.strip().splitlines() or [otherwise])[-1]


def in_one_line(error: BaseException, longest: int = 160) -> str:
    """Return an error's kind and first line, as a part of a message."""
    text = " ".join(first_line(error, 10 * longest).split()) if str(error).strip() else ""
    text = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
