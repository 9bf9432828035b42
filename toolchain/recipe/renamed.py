"""Names that were others before: the old ones are read for one version, with a word about it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping

KEYS = {
    "prune.gone": "prune.pruned_channels",
    "teach.local_share_begun": "teach.local_share_warm_start",
    "teach.local_rate_begun": "teach.local_rate_warm_start",
    "teach.settle_share": "teach.recalibration_share",
    "teach.settle_share_begun": "teach.recalibration_share_warm_start",
}
"""Recipe keys, also of ``--set``: old -> new."""

COMMANDS = {"family": "sweep"}
"""Commands: old -> new."""

SETTINGS = {**KEYS, "gone": "pruned_channels"}
"""What a training wrote of itself: old -> new; read without a word, for it cannot be changed."""

LINKS = {"mixture": "mixed_precision"}
"""Fields of a certificate's links: old -> new; read without a word, for it cannot be changed."""

_TOLD: set[str] = set()


def tell(old: str, new: str) -> None:
    """Say once in a process, on standard error, that a name was given that is another now."""
    if old not in _TOLD:
        _TOLD.add(old)
        print(
            f"toolchain: {old} is called {new} now; the old name is read in this version only",
            file=sys.stderr,
        )


def key_now(key: str) -> str:
    """Return a recipe's key ``section.field`` under the name that it has now."""
    if key not in KEYS:
        return key
    tell(key, KEYS[key])
    return KEYS[key]


def field_now(keys: tuple[str, ...]) -> str:
    """Return a field under the name that it has now, by where it stands: section and field.

    In the recipe that a certificate holds nothing is said of it: the tool wrote it.
    """
    if keys[0] == "recipe":
        key = ".".join(keys[1:])
        return KEYS.get(key, key).rpartition(".")[2]
    return key_now(".".join(keys)).rpartition(".")[2]


def command_now(arguments: Iterable[str]) -> list[str]:
    """Return a command line whose command has the name that it has now."""
    words = list(arguments)
    if words and words[0] in COMMANDS:
        tell(f"the command {words[0]}", COMMANDS[words[0]])
        words[0] = COMMANDS[words[0]]
    return words


def settings_now(settings: Mapping[str, object]) -> dict[str, object]:
    """Return a training's settings under the names that they have now."""
    return {SETTINGS.get(name, name): value for name, value in settings.items()}


def link_now(link: Mapping[str, object]) -> dict[str, object]:
    """Return a link of a certificate under the names that its fields have now."""
    return {LINKS.get(name, name): value for name, value in link.items()}


def assignments_now(command: str) -> str:
    """Return a command line of ``--set SECTION.FIELD=VALUE`` under the names that fields have now.

    Nothing is said of it: it was written by an earlier version. A rate without ``prune.align`` is
    from when every group lost the same share.
    """
    named = re.sub(r"\b\w+\.\w+(?==)", lambda found: KEYS.get(found[0], found[0]), command)
    return " && ".join(map(_aligned, named.split(" && ")))


def _aligned(command: str) -> str:
    has_rate = re.search(r" --rate 0?\.\d*[1-9]", command)
    if not has_rate or "prune.align=" in command or "--align " in command:
        return command
    return command.replace(has_rate[0], f" --align 1{has_rate[0]}", 1)
