"""Where a run's network comes from: a model by name, and weights, shipped ones, or a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.models.layouts import Checkpoint, read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into
from toolchain.recipe import PruneSection, Recipe, override
from toolchain.records import Source
from toolchain.report.facts import accuracy_words
from toolchain.report.wording import percentage
from toolchain.shipped.reading import SAME, Member, choose


@dataclass(frozen=True)
class Loaded:
    """A network ready to work on."""

    network: nn.Module
    recipe: Recipe
    """The recipe, with the anchors' ratio that belongs to the weights."""
    source: Source
    notes: tuple[str, ...]
    pruned: PruneSection | None = None
    """Of a shipped network that is taken as it is: how its training chose the filters that are
    zero. None: all that is known of it is the recipe's."""


def load_shipped(
    recipe: Recipe, anchor_ratio: float | None = None, folder: Path | None = None
) -> Loaded | None:
    """Return the shipped network whose rate is nearest to the recipe's; None if there is none.

    Where its rate is not lower than the recipe's, it is taken as it is, and its recipe zeroes
    nothing more. Where it is lower, the recipe's rate stays, to be pruned in one shot. A criterion
    or a scope that it was not trained with is pruned in one shot from the network of rate 0.
    ``anchor_ratio`` is that of :func:`load_network`, ``folder`` that of :func:`choose`.
    """
    member = _nearest(recipe, folder)
    if member is None:
        return None
    checkpoint = read_checkpoint(member.path)
    network = build(recipe.model.name, recipe.model.seed)
    load_into(network, checkpoint, recipe.model.name)
    recipe, _ = _with_ratio(recipe, checkpoint, anchor_ratio)
    facts, asked = member.facts, recipe.prune.rate or 0.0
    source = Source(
        member.path.name,
        checkpoint.layout,
        checkpoint.sha256,
        facts["trained"],
        recipe.model.seed,
        facts["accuracy"],
    )
    if asked > member.rate + SAME:
        return Loaded(network, recipe, source, (_taken(member), _one_shot(member, recipe)))
    notes = (_taken(member),)
    if member.rate > asked + SAME:
        notes = (*notes, _narrower(member, asked))
    trained = {"rate": facts["rate"], "criterion": facts["criterion"], "scope": facts["scope"]}
    pruned = override(recipe, {f"prune.{key}": value for key, value in trained.items()}).prune
    return Loaded(network, override(recipe, {"prune.rate": None}), source, notes, pruned)


def _nearest(recipe: Recipe, folder: Path | None) -> Member | None:
    """Return the shipped network to start from."""
    model, prune = recipe.model.name, recipe.prune
    member = choose(model, prune.rate or 0.0, folder)
    if member is None or not prune.rate or not member.rate:
        return member
    if (prune.criterion, prune.scope) == (member.facts["criterion"], member.facts["scope"]):
        return member
    whole = choose(model, 0.0, folder)
    return whole if whole is not None and not whole.rate else None


def _taken(member: Member) -> str:
    held = (
        f"{percentage(member.rate)} of its filters held at zero" if member.rate else "all filters"
    )
    return (
        f"Shipped weights: {member.path.stem}, trained with {held}; as shipped "
        f"{accuracy_words(member.facts['accuracy'])}."
    )


def _narrower(member: Member, asked: float) -> str:
    return (
        f"{member.path.stem} is taken as it is and is narrower than the {percentage(asked)} that "
        f"was asked for: it is the nearest that is shipped, and filters that were removed by "
        f"training cost less accuracy than filters removed in one shot. --ckpt takes other weights."
    )


def _one_shot(member: Member, recipe: Recipe) -> str:
    prune, facts = recipe.prune, member.facts
    assert prune.rate is not None
    command = f"toolchain train {recipe.model.name} --data WIDER --teacher WEIGHTS"
    command += f" --rate {prune.rate:g}"
    for name, asked, trained in (
        ("criterion", prune.criterion, facts["criterion"]),
        ("scope", prune.scope, facts["scope"]),
    ):
        command += f" --{name} {asked}" if asked != trained else ""
    return (
        f"ONE SHOT: {percentage(prune.rate)} of the filters are zeroed ({prune.criterion}, scope "
        f"{prune.scope}); {member.path.stem} was trained with {percentage(member.rate)} of them held "
        f"at zero. That costs accuracy, and how much was NOT MEASURED: its AP is not that of "
        f"this network. Train it instead: {command}"
    )


def load_network(
    recipe: Recipe, checkpoint_path: Path | None, anchor_ratio: float | None = None
) -> Loaded:
    """Build the recipe's network and load its weights; without a file they come from the seed.

    ``anchor_ratio`` (height over width) overrides what recipe and layout say.
    """
    network = build(recipe.model.name, recipe.model.seed)
    if checkpoint_path is None:
        recipe = override(
            recipe, {} if anchor_ratio is None else {"anchors.aspect_ratio": anchor_ratio}
        )
        source = Source(None, "seed", None, trained=False, seed=recipe.model.seed)
        note = (
            f"UNTRAINED: the weights are random (seed {recipe.model.seed}). The files show sizes "
            f"and speed, and find nothing; give trained weights by --ckpt."
        )
        return Loaded(network, recipe, source, (note,))
    checkpoint = read_checkpoint(checkpoint_path)
    load_into(network, checkpoint, recipe.model.name)
    recipe, notes = _with_ratio(recipe, checkpoint, anchor_ratio)
    trained = bool(checkpoint.metadata.get("trained", True))
    if not trained:
        notes = (*notes, f"UNTRAINED: {checkpoint.name} says that its weights are not trained.")
    source = Source(
        checkpoint.name, checkpoint.layout, checkpoint.sha256, trained, recipe.model.seed
    )
    return Loaded(network, recipe, source, notes)


def _with_ratio(
    recipe: Recipe, checkpoint: Checkpoint, anchor_ratio: float | None
) -> tuple[Recipe, tuple[str, ...]]:
    """Let the anchors take the ratio that was asked for, or that the layout tells."""
    if anchor_ratio is not None:
        return override(recipe, {"anchors.aspect_ratio": anchor_ratio}), ()
    if recipe.anchors is None or checkpoint.aspect_ratio is None:
        return recipe, ()
    note = (
        f"Anchors are {checkpoint.aspect_ratio:g} times as high as wide, as the layout "
        f"{checkpoint.layout} says; if yours were trained with others, give --anchor-ratio."
    )
    return override(recipe, {"anchors.aspect_ratio": checkpoint.aspect_ratio}), (note,)


def example_input(network: nn.Module, height: int, width: int, batch: int = 1) -> Tensor:
    """Return zeros (batch, C, height, width) with the channels that the first convolution reads.

    Raises :class:`ModelError` if the network has no convolution.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return torch.zeros(batch, module.in_channels, height, width)
    raise ModelError("the network has no Conv2d, so nothing here applies to it")
