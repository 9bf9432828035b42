"""The application: exit codes, errors in one line, progress; commands add themselves to it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import toolchain
from toolchain.errors import ToolchainError

app = typer.Typer(
    name="toolchain",
    help="Prune, physically shrink, export and prove a detector for an ARM board.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
messages = Console(stderr=True, soft_wrap=True, highlight=False)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with 0 (good), 1 (a proof failed) or 2 (bad input)."""
    # Threads that wait must not spin: on a busy machine that slows everything several times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="toolchain", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ToolchainError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped; nothing half-made is left", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong option, told by the command-line library
            return _fail(f"{error.format_message()} (see toolchain --help)", 2)
        if type(error).__name__ == "Abort":
            return _fail("stopped; nothing half-made is left", 130)
        if os.environ.get("TOOLCHAIN_DEBUG"):
            raise
        return _fail(
            f"internal error, please report it: {type(error).__name__}: {error} "
            f"(TOOLCHAIN_DEBUG=1 shows where)",
            1,
        )


def _fail(message: str, code: int) -> int:
    one_line = " ".join(message.split())
    messages.print(f"[bold red]toolchain:[/] {escape(one_line)}")
    return code


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


@contextlib.contextmanager
def stage_progress() -> Iterator[Callable[[str], None]]:
    """Show the stage at work: moving in a terminal, a line each elsewhere."""
    start = time.perf_counter()
    if messages.is_terminal:
        with messages.status("starting") as status:
            yield lambda name: status.update(f"{name} ...")
    else:
        yield lambda name: messages.print(
            f"[{time.perf_counter() - start:5.1f} s] {name}", markup=False
        )


def table_console() -> Console:
    """Return what prints tables: as wide as they are where no terminal sets the width."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
