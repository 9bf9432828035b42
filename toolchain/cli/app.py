"""The application: exit codes, errors in one line, progress; commands add themselves to it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status

import toolchain
from toolchain.cli.streams import (
    StreamError,
    hold_descriptors,
    print_json,
    throw_output_away,
    watched_streams,
)
from toolchain.errors import ToolchainError
from toolchain.recipe.renamed import command_now
from toolchain.system.steps import listening

app = typer.Typer(
    name="toolchain",
    help="Prune, physically shrink, export and prove a detector for an ARM board.",
    epilog=(
        "[bold]toolchain doctor[/] tells what is installed and what is missing; "
        "[bold]toolchain --install-completion[/] lets bash, zsh, fish or PowerShell complete "
        "commands and options by Tab."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
messages = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

INTERNAL = 70
"""The exit code of an error that nobody foresaw (EX_SOFTWARE of sysexits.h)."""
ENVIRONMENT = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "files may not be so large here",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "there is no permission",
    errno.EPERM: "there is no permission",
    errno.EIO: "the disk fails",
    errno.EMFILE: "too many files are open",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOMEM: "there is not enough memory",
}
"""Errors of the system that are told by what the user can mend."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with 0 (good), 1 (a proof failed) or 2 (bad input)."""
    _speak_utf8()
    hold_descriptors()
    # Threads that wait must not spin: on a busy machine that slows everything several times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _speak_utf8() -> None:
    """Start again in UTF-8 where Python was told to take file names for ASCII or Latin-1.

    Libraries that open files by name take text, and what is not UTF-8 is none to them.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    wants_json = "--json" in arguments
    with watched_streams(is_json=wants_json) as results:
        try:
            code, problem = _run(command_now(arguments))
            if problem:
                messages.print(f"[bold red]toolchain:[/] {escape(problem)}")
            if wants_json and problem and not results.is_printed:
                print_json({"error": problem, "code": code})
            sys.stdout.flush()
        except StreamError as error:
            throw_output_away()
            if error.is_closed:  # the reader has seen enough: end as SIGPIPE would
                return 141
            messages.print(f"[bold red]toolchain:[/] {escape(str(error))}")
            return 2
        return code


def _run(arguments: list[str]) -> tuple[int, str]:
    """Run the command line; return its exit code, and what went wrong in one line."""
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="toolchain", standalone_mode=False)
        code = code if isinstance(code, int) else 0
        return code, STOPPED if code == 130 else ""
    except StreamError:
        raise
    except ToolchainError as error:
        return error.exit_code, _one_line(error)
    except SystemExit as error:
        if isinstance(error.__context__, OSError):  # the library ends a program whose pipe broke
            return _told(error.__context__, arguments)
        if _is_of_the_library(error):  # a shell's completion is shown, installed or asked for
            return (error.code if isinstance(error.code, int) else 0), ""
        return 2, f"the network's own code ended the program (SystemExit: {error.code})"
    except Exception as error:
        return _told(error, arguments)


def _is_of_the_library(error: SystemExit) -> bool:
    """Tell whether the command-line library itself ended the program."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).partition(".")[0] in ("typer", "click")


NO_MEMORY = ("can't allocate memory", "CUDA out of memory")
"""What PyTorch says where a tensor finds no room."""
STOPPED = "stopped; nothing half-made is left"


def _told(error: Exception, arguments: list[str]) -> tuple[int, str]:
    """Return the exit code and the words for an error that is not the toolchain's own."""
    if hasattr(error, "format_message"):  # a wrong option, told by the command-line library
        return 2, _one_line(f"{error.format_message()} (see toolchain --help)")
    if type(error).__name__ == "Abort" and isinstance(error.__cause__, Exception):
        error = error.__cause__  # it takes an EOFError for the user's
    if isinstance(error, OSError) and error.errno in ENVIRONMENT:
        place = f"{error.filename}: " if error.filename else ""
        return 2, _one_line(f"{place}{ENVIRONMENT[error.errno]} ({error.strerror})")
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return 2, "there is not enough memory; give a smaller --size or --batch, or network"
    if os.environ.get("TOOLCHAIN_DEBUG"):
        raise error
    from toolchain.cli.crash import write_crash

    path = write_crash(error, arguments)
    where = "TOOLCHAIN_DEBUG=1 shows where" if path is None else f"with the file {path}"
    problem = f"{type(error).__name__}: {error}"
    return INTERNAL, _one_line(f"internal error, please report it ({where}): {problem}")


def _one_line(words: object) -> str:
    return " ".join(str(words).split())


def _version(value: bool) -> None:
    if value:
        print(f"toolchain {toolchain.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


SILENT_SECONDS = 2.0
"""After so long without a line the next step within a stage is told."""


@contextlib.contextmanager
def stage_progress() -> Iterator[Callable[[str], None]]:
    """Show the stage at work: moving in a terminal, a line each elsewhere.

    Elsewhere steps within a stage have a line after :data:`SILENT_SECONDS` without any.
    """
    shown = _Shown()
    with contextlib.ExitStack() as stack:
        if messages.is_terminal:
            shown.status = stack.enter_context(messages.status("starting"))
        stack.enter_context(listening(shown.step))
        yield shown.begin


class _Shown:
    """What stands on the screen of a stage and its steps."""

    def __init__(self) -> None:
        self.status: Status | None = None
        self._stage = "starting"
        self._start = self._last = time.perf_counter()

    def begin(self, stage: str) -> None:
        self._stage = stage
        self._show(stage)

    def step(self, words: str) -> None:
        """Show a step; where lines stay, only if nothing was told for a while."""
        if self.status or time.perf_counter() - self._last >= SILENT_SECONDS:
            self._show(f"{self._stage}: {words}")

    def _show(self, words: str) -> None:
        if self.status:
            self.status.update(f"{escape(words)} ...")
            return
        self._last = time.perf_counter()
        messages.print(f"[{self._last - self._start:5.1f} s] {words}", markup=False)


def table_console() -> Console:
    """Return what prints tables: as wide as they are where no terminal sets the width."""
    return Console(
        highlight=False,
        soft_wrap=True,
        emoji=False,
        width=None if sys.stdout.isatty() else 400,
    )
