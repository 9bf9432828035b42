"""What a network that ships says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, cast


class MemberAccuracy(TypedDict):
    """Average precision of a shipped network on WIDER FACE's validation set, from 0 to 1."""

    protocol: str
    """``single`` or ``paper``."""
    photos: int
    """Photos that were scored."""
    overlaps: str | None
    """What boxes that overlap became, in words; None: the best alone was scored."""
    easy: float
    medium: float
    hard: float


class MemberFacts(TypedDict):
    """What a shipped network says of itself: the metadata of its file, and all that its card says.

    A dictionary, because it is JSON in the file; :mod:`toolchain.zoo.reading` checks it.
    """

    model: str
    """``eresfd`` or ``extd``."""
    rate: float
    """Share of each layer's or group's filters that training held at zero, from 0 to below 1."""
    criterion: str
    scope: str
    deployed_parameters: int
    """After its zero filters are removed, those outside layers included; see :class:`Cost`."""
    aspect_ratio: float | None
    """Anchor height over width; None of a network without anchors."""
    trained: bool
    teacher_name: str
    teacher_licence: str
    teacher_sha256: str
    data: str
    """What it learnt from, in words."""
    images: int
    """Crops that it learnt from, each time that one was shown."""
    seed: int
    hours: float
    """Hours of training."""
    command: str
    """Makes it again. The file may have it packed."""
    accuracy: MemberAccuracy
    bad_at: list[str]
    """What it finds badly, a sentence each."""
    terms: str
    """Under which terms it may be used, in words."""
    training: Mapping[str, object]
    """The settings of its training, by name."""


def trained_pruned_channels(member: MemberFacts) -> dict[str, tuple[int, ...]]:
    """Return which filters of a group a plan named to go; nothing where a criterion chose them."""
    named_channels = member["training"].get("pruned_channels", {})
    named = cast(Mapping[str, Sequence[int]], named_channels).items()
    return {str(group): tuple(indices) for group, indices in named}


def trained_widths(member: MemberFacts) -> dict[str, int]:
    """Return the width of each group that a plan narrowed; nothing where training had a rate."""
    widths = member["training"].get("widths", {})
    return {str(group): int(width) for group, width in cast(Mapping[str, int], widths).items()}
