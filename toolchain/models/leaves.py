"""What a network returns, as tensors with names: any nesting of containers and records."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

Path = tuple[str | int, ...]


def leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield all that is in ``value`` and is no container, with the way to it.

    Containers are mappings, sequences, named tuples, dataclasses and namespaces.
    """
    entries = _entries(value)
    if entries is None:
        yield path, value
        return
    for key, entry in entries:
        yield from leaves(entry, (*path, key))


def _entries(value: object) -> Iterator[tuple[str | int, object]] | None:
    if isinstance(value, Mapping):
        return ((key if isinstance(key, int) else str(key), value[key]) for key in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return zip(value._fields, value, strict=True)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return iter(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))
    if isinstance(value, SimpleNamespace):
        return iter(vars(value).items())
    return None


def tensors_in(value: object) -> tuple[Tensor, ...]:
    """Return all tensors in ``value``, in order."""
    return tuple(leaf for _, leaf in leaves(value) if isinstance(leaf, Tensor))


def is_plain(outputs: object) -> bool:
    """True if torch itself finds all tensors of what a network returned, and nothing else."""
    found = tree_leaves(outputs)
    return bool(found) and all(isinstance(leaf, Tensor) for leaf in found)


def others_in(outputs: object) -> list[str]:
    """Return what is in ``outputs`` beside tensors and None, as ``name (kind)``."""
    return [
        f"{word(path) or 'the output'} ({type(leaf).__name__})"
        for path, leaf in leaves(outputs)
        if leaf is not None and not isinstance(leaf, Tensor)
    ]


def names_of(paths: Sequence[Path], alone: str) -> tuple[str, ...]:
    """Return a name for each path: ``alone`` for one without keys, ``alone_0`` and so on for many.

    Keys and field names are kept where there are any.
    """
    words = [word(path) for path in paths]
    named = [any(isinstance(key, str) for key in path) for path in paths]
    if len(paths) == 1:
        return (words[0] if named[0] else alone,)
    numbered = [
        text if has_key else f"{alone}_{index}"
        for index, (text, has_key) in enumerate(zip(words, named, strict=True))
    ]
    if len(set(numbered)) < len(numbered):
        return tuple(f"{alone}_{index}" for index in range(len(paths)))
    return tuple(numbered)


def word(path: Path) -> str:
    """Return a path as one word that any format takes for a name."""
    return re.sub(r"\W+", "_", "_".join(map(str, path))).strip("_")


def output_names(outputs: object) -> tuple[str, ...]:
    """Return how an exported file calls the tensors of what a network returned."""
    paths = [path for path, leaf in leaves(outputs) if isinstance(leaf, Tensor)]
    return names_of(paths, "output")


def zeros_like(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return zeros of the shapes and types of ``tensors``; what is no number stays as it is."""
    return tuple(torch.zeros_like(each) if each.is_floating_point() else each for each in tensors)
