"""Which trained networks are shipped.

A member is ``MODEL-PERCENT.safetensors`` beside this file, or ``MODEL-THOUSANDSk.safetensors``, by
its parameters, where every group has a width of its own; a ``.md`` of the same name is its card.
Only the files' metadata are read here; the weights are read as those of any other file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_type_hints

from toolchain.errors import CheckpointError
from toolchain.models import detector
from toolchain.models.headers import read_metadata
from toolchain.recipe.renamed import assignments_now, settings_now
from toolchain.records.members import (
    MemberAccuracy,
    MemberFacts,
    trained_pruned_channels,
    trained_widths,
)
from toolchain.zoo.costs import MemberCosts, read_costs
from toolchain.zoo.packing import unpacked

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

    @property
    def widths(self) -> dict[str, int]:
        """By group, where its training had a plan in place of a rate; else nothing."""
        return trained_widths(self.facts)

    @property
    def pruned_channels(self) -> dict[str, tuple[int, ...]]:
        """By group, which filters its plan named to go, if it did; else nothing."""
        return trained_pruned_channels(self.facts)

    @property
    def parameters(self) -> int:
        """Deployed."""
        return self.facts["deployed_parameters"]

    @property
    def instructions(self) -> Mapping[str, int]:
        """Of one inference on a board, by core, as :mod:`toolchain.zoo.costs`; nothing where no
        table tells."""
        known = self._costs
        return known.instructions if known is not None else {}

    @property
    def ncnn_bytes(self) -> int | None:
        """Of its ncnn file's weights; None where no table tells."""
        known = self._costs
        return known.weight_bytes or None if known is not None else None

    @property
    def _costs(self) -> MemberCosts | None:
        return read_costs(self.path.parent).get(self.path.stem)

    @property
    def precision(self) -> float:
        """The mean of its average precision on easy, medium and hard faces, from 0 to 1."""
        accuracy = self.facts["accuracy"]
        return (accuracy["easy"] + accuracy["medium"] + accuracy["hard"]) / 3


def members(model: str, folder: Path | None = None) -> tuple[Member, ...]:
    """Return the members of ``model`` in ``folder`` (the shipped ones), by rising rate, plans last.

    Raises :class:`CheckpointError` where a file is damaged, or its name is not what it holds.
    """
    if model not in detector.names():
        return ()
    paths = (folder or FOLDER).glob(f"{model}-*.safetensors")
    return tuple(sorted((_member(path) for path in paths), key=_order))


def member_name(facts: MemberFacts) -> str:
    """Return the name of a member without its suffix: ``eresfd-10``, or ``eresfd-52k``."""
    if trained_widths(facts):
        return f"{facts['model']}-{round(facts['deployed_parameters'] / 1000)}k"
    return f"{facts['model']}-{100 * facts['rate']:g}"


def _order(member: Member) -> tuple[bool, float]:
    return bool(member.widths), -member.parameters if member.widths else member.rate


def _member(path: Path) -> Member:
    facts = checked_facts(read_metadata(path), path)
    name = member_name(facts)
    if path.stem != name:
        raise CheckpointError(f"{path}: holds {name}; a member must be called what it holds")
    return Member(facts["model"], float(facts["rate"]), path, facts)


_TYPES: Mapping[object, tuple[type, ...]] = {
    float: (float, int),
    float | None: (float, int, type(None)),
    str | None: (str, type(None)),
    MemberAccuracy: (dict,),
    list[str]: (list,),
    Mapping[str, object]: (dict,),
}
"""What JSON may hold for a hint; a plain type stands for itself."""


def checked_facts(content: Mapping[str, object], path: Path) -> MemberFacts:
    """Return the facts among ``content``, and nothing else of it; the command is unpacked.

    Raises :class:`CheckpointError` naming ``path`` and the first that is missing or wrong.
    """
    facts = dict(_fields(content, MemberFacts, path, ""))
    facts["training"] = settings_now(cast(Mapping[str, object], facts["training"]))
    accuracy = _fields(
        cast(Mapping[str, object], facts["accuracy"]), MemberAccuracy, path, "accuracy."
    )
    shares = {f"accuracy.{level}": accuracy[level] for level in ("easy", "medium", "hard")}
    for name, share in {"rate": facts["rate"], **shares}.items():
        if not 0 <= cast(float, share) <= 1:
            raise CheckpointError(f"{path}: {name} must be >= 0 and <= 1 (got {share})")
    if not facts["trained"]:
        raise CheckpointError(f"{path}: trained must be true, only trained networks are shipped")
    widths = cast(Mapping[str, object], facts["training"]).get("widths", {})
    if not isinstance(widths, dict) or any(type(width) is not int for width in widths.values()):
        raise CheckpointError(f"{path}: training.widths must be whole numbers by group")
    named = cast(Mapping[str, object], facts["training"]).get("pruned_channels", {})
    if not isinstance(named, dict) or not all(map(_is_list_of_numbers, named.values())):
        raise CheckpointError(
            f"{path}: training.pruned_channels must be lists of whole numbers by group"
        )
    if not all(isinstance(line, str) for line in cast(list[object], facts["bad_at"])):
        raise CheckpointError(f"{path}: bad_at must be a list of texts")
    command = assignments_now(unpacked(cast(str, facts["command"]), path))
    return cast(MemberFacts, {**facts, "accuracy": accuracy, "command": command})


def _is_list_of_numbers(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


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
