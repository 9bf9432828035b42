"""Fetching packages by the system's own programs, whose trouble is told in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain.errors import InputError


def run_program(
    command: Sequence[str],
    problem: str,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    """Run a program; raise :class:`InputError` with ``problem`` and its own reason if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith(("E:", "ERROR"))), None)
        said = (reason or (lines or ["it says nothing"])[-1])[:300]
        raise InputError(f"{problem}: {said}; is the network there?")


def download_wheels(
    into: Path, requirements: Sequence[str], python: str, platforms: Sequence[str]
) -> None:
    """Let pip download wheels, without what they depend on; raise :class:`InputError` if it cannot.

    ``python`` is a version like ``3.11``; no ``platforms`` means this machine's own.
    """
    tag = f"cp{python.replace('.', '')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--python-version", python]
    command += ["--implementation", "cp", "--abi", tag, "--abi", "abi3"]
    command += [word for platform in platforms for word in ("--platform", platform)]
    command += ["-d", str(into), *requirements]
    run_program(command, "pip cannot fetch the board's wheels")
