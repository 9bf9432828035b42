"""Checks that were made before, told without running anything and without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolchain.arm.sysroot import runtime_of
from toolchain.arm.targets import Target
from toolchain.errors import RecipeError
from toolchain.recipe.reader import Reader
from toolchain.records.run_folder import name_of
from toolchain.records.timings import FileCheck
from toolchain.system.files import sha256_of


def earlier_checks(paths: Sequence[Path], target: Target, cache: Path) -> dict[str, FileCheck]:
    """Return the latest check of each file that was ever made for the board, by the file's name."""
    digests = {sha256_of(path): name_of(path) for path in paths}
    found = {}
    kept = (cache / "checks").glob("*.json")
    for place in sorted(kept, key=lambda place: place.stat().st_mtime):
        try:
            check = read_check(json.loads(place.read_bytes()))
        except (OSError, ValueError, RecipeError):  # of another version of the toolchain
            continue
        name = digests.get(check.sha256)
        if name and check.target == target.key and check.runtime == _runtime(name, target):
            found[name] = check
    return found


def _runtime(name: str, target: Target) -> str:
    return runtime_of(Path(name).suffix, target)


def read_check(content: dict[str, Any]) -> FileCheck:
    """Return a check from its JSON; raise :class:`RecipeError` for one that is none."""
    found: FileCheck = Reader("", "check").section(FileCheck, content, ())
    return found
