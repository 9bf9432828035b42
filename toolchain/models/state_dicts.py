"""Finding the state dicts in what a training script saved, and what their names say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

DEPTH = 3
"""State dicts lie at most so deep: ``callbacks``, ``EMA``, ``ema_state_dict``."""
MOST = 10_000
"""So many dictionaries of a file are looked into; one may hold itself."""
_AVERAGED = {"ema", "swa", "averaged", "shadow"}
_OPTIMISER = {"optim", "optims", "optimizer", "optimizers", "optimiser", "optimisers"}


@dataclass(frozen=True)
class StateDict:
    """A dictionary with tensors in it, somewhere in a file."""

    key: str
    """Where it lies, as ``ema.module``; empty for the file itself."""
    entries: Mapping[str, object]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, without what lies among them."""
        return {name: value for name, value in self.entries.items() if isinstance(value, Tensor)}


def find_state_dicts(content: Mapping[str, object]) -> list[StateDict]:
    """Return all dictionaries with tensors in a file, the outermost first; none of an optimiser."""
    found = _walk(content, (), iter(range(MOST)))
    return sorted(found, key=lambda each: each.key.count(".") + bool(each.key))


def _walk(
    content: Mapping[str, object], path: tuple[str, ...], left: Iterator[int]
) -> Iterator[StateDict]:
    if next(left, None) is None:
        return
    if any(isinstance(value, Tensor) for value in content.values()):
        yield StateDict(".".join(path), {str(name): value for name, value in content.items()})
    if len(path) == DEPTH:
        return
    for key, value in content.items():
        if isinstance(value, Mapping) and not words_of(str(key)) & _OPTIMISER:
            yield from _walk(value, (*path, str(key)), left)


def is_averaged(name: str) -> bool:
    """Tell whether a key or a prefix is one of averaged weights, by its words: EMA and its kin."""
    return bool(words_of(name) & _AVERAGED)


def words_of(name: str) -> set[str]:
    """Return the words of a name in lower case: ``netEMA_v2.module`` is net, ema, v, module."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def shown(name: str) -> str:
    """Return a name from a file as a message can hold it: short, and in one line."""
    return (name if name.isprintable() else ascii(name))[:160]


def quoted(name: str) -> str:
    """Return a key or a prefix from a file in quotes, short and in one line."""
    return ascii(name)[:80] if not name.isprintable() else repr(name)[:80]


def some(words: str, names: Sequence[str]) -> str:
    """Return how many tensors are ``words``, and the first three; nothing without any."""
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    kind = "tensor" if len(names) == 1 else "tensors"
    return f"{len(names)} {kind} {words} ({', '.join(map(shown, names[:3]))}{more})"
