"""Which trained networks are shipped, and which of them is nearest to what is asked.

A member is ``MODEL-PERCENT.safetensors`` beside this file; ``MODEL-PERCENT.md`` is its card. Only
the files' metadata are read here; the weights are read as those of any other file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_type_hints

from toolchain.errors import CheckpointError
from toolchain.models.layouts import read_metadata
from toolchain.models.registry import BUILDERS
from toolchain.records import MemberAccuracy, MemberFacts

FOLDER = Path(__file__).parent
"""Where the members lie."""


@dataclass(frozen=True)
class Member:
    """A shipped network."""

    model: str
    rate: float
    """Share of the filters that training held at zero, from 0 to below 1."""
    path: Path
    facts: MemberFacts
    """The metadata of the file."""


def members(model: str, folder: Path | None = None) -> tuple[Member, ...]:
    """Return the members of ``model`` in ``folder`` (the shipped ones), by rising rate.

    Raises :class:`CheckpointError` where a file is damaged, or its name is not what it holds.
    """
    if model not in BUILDERS:
        return ()
    paths = (folder or FOLDER).glob(f"{model}-*.safetensors")
    return tuple(sorted((_member(path) for path in paths), key=lambda member: member.rate))


def choose(model: str, rate: float, folder: Path | None = None) -> Member | None:
    """Return the member of ``model`` whose rate is nearest to ``rate``; None if there is none.

    Of two that are as near, the one with the lower rate.
    """
    return min(
        members(model, folder),
        key=lambda member: (round(abs(member.rate - rate), 9), member.rate),
        default=None,
    )


def member_name(model: str, rate: float) -> str:
    """Return the name of a member without its suffix: ``eresfd-10``."""
    return f"{model}-{100 * rate:g}"


def _member(path: Path) -> Member:
    facts = checked_facts(read_metadata(path), path)
    name = member_name(facts["model"], facts["rate"])
    if path.stem != name:
        raise CheckpointError(f"{path}: holds {name}; a member must be called what it holds")
    return Member(facts["model"], float(facts["rate"]), path, facts)


_TYPES: Mapping[object, tuple[type, ...]] = {
    float: (float, int),
    MemberAccuracy: (dict,),
    list[str]: (list,),
    Mapping[str, object]: (dict,),
}
"""What JSON may hold for a hint; a plain type stands for itself."""


def checked_facts(content: Mapping[str, object], path: Path) -> MemberFacts:
    """Return the facts among ``content``, and nothing else of it.

    Raises :class:`CheckpointError` naming ``path`` and the first that is missing or wrong.
    """
    facts = _fields(content, MemberFacts, path, "")
    accuracy = _fields(
        cast(Mapping[str, object], facts["accuracy"]), MemberAccuracy, path, "accuracy."
    )
    shares = {f"accuracy.{level}": accuracy[level] for level in ("easy", "medium", "hard")}
    for name, share in {"rate": facts["rate"], **shares}.items():
        if not 0 <= cast(float, share) <= 1:
            raise CheckpointError(f"{path}: {name} must be >= 0 and <= 1 (got {share})")
    if not facts["trained"]:
        raise CheckpointError(f"{path}: trained must be true, only trained networks are shipped")
    if not all(isinstance(line, str) for line in cast(list[object], facts["bad_at"])):
        raise CheckpointError(f"{path}: bad_at must be a list of texts")
    return cast(MemberFacts, {**facts, "accuracy": accuracy})


def _fields(
    content: Mapping[str, object], kind: type, path: Path, prefix: str
) -> dict[str, object]:
    """Return what ``kind`` has a field for; all must be there and of its type."""
    found: dict[str, object] = {}
    for name, hint in get_type_hints(kind).items():
        if name not in content:
            raise CheckpointError(f"{path}: no shipped network, it does not say {prefix}{name}")
        value, types = content[name], _TYPES.get(hint, (hint,))
        if not isinstance(value, types) or (isinstance(value, bool) and hint is not bool):
            raise CheckpointError(
                f"{path}: {prefix}{name} must be of type {types[0].__name__} "
                f"(got {type(value).__name__})"
            )
        found[name] = value
    return found
