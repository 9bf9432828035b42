"""Shipped networks made for tests: their weights are random, whatever they say of themselves."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import torch
from torch import nn

from toolchain.models.registry import build
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection, default_recipe
from toolchain.records.members import MemberFacts, trained_pruned_channels, trained_widths
from toolchain.zoo.reading import member_name
from toolchain.zoo.writing import write_member

EXAMPLE = torch.zeros(1, 3, 160, 128)


def facts_of(rate: float = 0.2, **changes: object) -> MemberFacts:
    """Facts with figures that no shipped network has."""
    facts: dict[str, object] = {
        "model": "eresfd",
        "rate": rate,
        "criterion": "fpgm",
        "scope": "group",
        "deployed_parameters": 12_345,
        "aspect_ratio": 1.5,
        "trained": True,
        "teacher_name": "A Teacher",
        "teacher_licence": "Some-Licence-1.0",
        "teacher_sha256": "0123456789abcdef" * 4,
        "data": "7 photos",
        "images": 4_321,
        "seed": 3,
        "hours": 2.25,
        "command": "toolchain train eresfd --data WIDER --images 4321",
        "accuracy": {
            "protocol": "single", "photos": 403, "overlaps": None, "easy": 0.9125,
            "medium": 0.8125, "hard": 0.7125,
        },
        "bad_at": ["Faces behind | bars."],
        "terms": "As you like.",
        "training": {"teach.batch": 2, "crop.scales": [0.35, 1.6]},
    }  # fmt: skip
    return MemberFacts(**{**facts, **changes})  # type: ignore[typeddict-item]


def make_member(folder: Path, rate: float, **changes: object) -> Path:
    """Write an EResFD with random weights, filters zeroed by a share or by a plan's widths."""
    facts = facts_of(rate, **changes)
    protected = default_recipe("eresfd").prune.protected
    widths, gone = trained_widths(facts), trained_pruned_channels(facts)
    network = zeroed(
        PruneSection(rate or None, "fpgm", "group", protected, widths=widths, pruned_channels=gone)
    )
    path = folder / f"{member_name(facts)}.safetensors"
    write_member(network, path, facts)
    return path


def zeroed(prune: PruneSection) -> nn.Module:
    """Return an EResFD with random weights, always the same, and these filters zeroed."""
    key = json.dumps(dataclasses.asdict(prune), default=dict)
    if key not in _zeroed:
        _zeroed[key] = zero_filters(build("eresfd", 5), EXAMPLE, prune)
    return copy.deepcopy(_zeroed[key])


_zeroed: dict[str, nn.Module] = {}
