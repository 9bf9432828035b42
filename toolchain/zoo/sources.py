"""Where a run's network comes from: a model by name, and weights, shipped ones, or a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from toolchain.errors import InputError, ModelError
from toolchain.models import detector
from toolchain.models.calling import Call, find_call
from toolchain.models.choosing import PLAIN, Choice
from toolchain.models.layouts import Checkpoint, read_checkpoint
from toolchain.models.plain_weights import plainly
from toolchain.models.registry import Built, build, build_network
from toolchain.models.sizes import Example, image_size
from toolchain.models.told_inputs import is_told, read_shapes
from toolchain.models.weights import load_into
from toolchain.recipe import PruneSection, Recipe, default_recipe, override
from toolchain.records.members import MemberFacts
from toolchain.records.stages import Source
from toolchain.zoo.picking import nearest, options_of, paying
from toolchain.zoo.reading import Member, members

DEFAULT_SIZE = (224, 224)
"""Height and width of the plain recipe for a network of one's own."""


@dataclass(frozen=True)
class Loaded:
    """A network ready to work on."""

    network: nn.Module
    recipe: Recipe
    """The recipe, with the anchors' ratio that belongs to the weights."""
    source: Source
    notes: tuple[str, ...]
    member: MemberFacts | None = None
    """What a shipped network says of itself; None for all other weights. If the recipe has a rate,
    that is still to be zeroed in one shot; if not, the network is taken as it is shipped."""
    call: Call | None = None
    """How a network of one's own is called; None for the two detectors."""
    reopen: Callable[[Path], nn.Module] | None = None
    """Gives a network that was handed over, not built by its name, its weights back from a file of
    this run; None for those that the recipe's name builds."""

    @property
    def example(self) -> Example:
        """What the network is called with: zeros, at the recipe's size."""
        size = self.recipe.input.height, self.recipe.input.width
        return self.call.example if self.call else (example_input(self.network, *size),)

    @property
    def image(self) -> Tensor:
        """The example of a network of one image.

        Raises :class:`ModelError` for one that takes something else.
        """
        return image_of(self.example, self.recipe.model.name)

    @property
    def inputs(self) -> tuple[str, ...]:
        """How exported files call the network's inputs."""
        return self.call.inputs if self.call else ("image",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """How exported files call the network's outputs."""
        if self.call is not None and self.recipe.anchors is None:
            return self.call.outputs
        known = detector.find(self.recipe.model.name)
        return detector.FACES if known is None else known.outputs


def image_of(example: Example, name: str) -> Tensor:
    """Return the only image of an example; raise :class:`ModelError` for anything else."""
    if len(example) == 1 and example[0].ndim == 4:
        return example[0]
    shapes = " and ".join("x".join(map(str, tensor.shape)) for tensor in example)
    raise ModelError(f"{name} takes {shapes}; this is made for networks of one image")


def load_start(
    recipe: Recipe,
    checkpoint_path: Path | None,
    anchor_ratio: float | None = None,
    *,
    untrained: bool = False,
    choice: Choice = PLAIN,
) -> Loaded:
    """Load the checkpoint; without one the nearest shipped network; without that, a seed's.

    ``untrained`` takes the seed's weights whatever is shipped; raises :class:`InputError` if there
    is a checkpoint too, and if something is chosen of none. ``choice`` is as in
    :func:`load_network`.
    """
    if checkpoint_path is None and choice != PLAIN:
        raise InputError("--ema and --ckpt-key choose among the weights of a file; give --ckpt")
    if checkpoint_path is None and not untrained:
        member = load_member(recipe, anchor_ratio)
        if member is not None:
            return member
        _demand_whole(recipe.model.name)
    if checkpoint_path is not None and untrained:
        raise InputError(
            f"--untrained takes random weights and --ckpt those of {checkpoint_path}; give one"
        )
    return load_network(recipe, checkpoint_path, anchor_ratio, choice)


def load_network(
    recipe: Recipe,
    checkpoint_path: Path | None,
    anchor_ratio: float | None = None,
    choice: Choice = PLAIN,
) -> Loaded:
    """Build the recipe's network and load its weights; without a file they come from the seed.

    ``anchor_ratio`` (height over width) overrides what recipe and layout say; ``choice`` tells
    which of a file's weights are wanted. Raises :class:`ModelError` for a network that
    cannot be built, or does not run.
    """
    built = build_network(recipe.model.name, recipe.model.seed)
    return _called(
        built, _load_weights(built.network, recipe, checkpoint_path, anchor_ratio, choice)
    )


def example_of(recipe: Recipe, weights: Path) -> Example:
    """Return what the recipe's network is called with; it is built only if the recipe is silent."""
    if recipe.input.shapes:
        return read_shapes(recipe.input.shapes).tensors
    return load_network(recipe, weights).example


def _called(built: Built, loaded: Loaded) -> Loaded:
    """Return a network of one's own so that it takes and gives tensors, and how it is called.

    The recipe gets the size that the network itself asks for.
    """
    recipe = loaded.recipe
    if recipe.model.name in detector.names():
        return loaded
    size: tuple[int, int] | None = (recipe.input.height, recipe.input.width)
    if size == DEFAULT_SIZE and is_told(built.places):
        size = None
    built = replace(built, network=loaded.network)
    network, call = find_call(built, recipe.model.name, size, recipe.input.shapes)
    own = image_size(call.example)
    if own is not None:
        recipe = override(recipe, {"input.height": own[0], "input.width": own[1]})
    notes = (*built.notes, *loaded.notes, *call.notes)
    return replace(loaded, network=network, recipe=recipe, notes=notes, call=call)


def _load_weights(
    network: nn.Module,
    recipe: Recipe,
    checkpoint_path: Path | None,
    anchor_ratio: float | None,
    choice: Choice,
) -> Loaded:
    if checkpoint_path is None:
        recipe = override(
            recipe, {} if anchor_ratio is None else {"anchors.aspect_ratio": anchor_ratio}
        )
        source = Source(None, "seed", None, trained=False, seed=recipe.model.seed)
        note = (
            f"UNTRAINED: the weights are random (seed {recipe.model.seed}). The files show sizes "
            f"and speed, and find nothing; give trained weights by --ckpt."
        )
        network, plain = plainly(network)
        return Loaded(network, recipe, source, (note, *plain))
    checkpoint = read_checkpoint(checkpoint_path)
    network, told = plainly(
        network, lambda own: load_into(own, checkpoint, recipe.model.name, choice)
    )
    recipe, notes = _with_ratio(recipe, checkpoint, anchor_ratio)
    notes = (*told, *notes)
    trained = bool(checkpoint.metadata.get("trained", True))
    if not trained:
        notes = (*notes, f"UNTRAINED: {checkpoint.name} says that its weights are not trained.")
    source = Source(
        checkpoint.name, checkpoint.layout, checkpoint.sha256, trained, recipe.model.seed
    )
    return Loaded(network, recipe, source, notes)


def load_member(
    recipe: Recipe, anchor_ratio: float | None = None, folder: Path | None = None
) -> Loaded | None:
    """Return the shipped network for the recipe's rate or widths; None if there is none.

    In blocks (``prune.align``) that is the most accurate for which the rate pays, else the whole
    one; exactly, the one whose rate is nearest. If it has at least as many zero filters as the
    recipe asks for, or its very widths, it is taken as it is, and the recipe loses its rate or its
    widths. ``anchor_ratio`` is that of :func:`load_network`, ``folder`` that of :func:`nearest`.
    """
    member = _start_of(recipe, folder)
    if member is None:
        return None
    network = build(recipe.model.name, recipe.model.seed)
    checkpoint = read_checkpoint(member.path)
    load_into(network, checkpoint, recipe.model.name)
    recipe, _ = _with_ratio(recipe, checkpoint, anchor_ratio)
    if member.widths or (recipe.prune.align > 1 and member.rate):
        recipe = override(
            recipe, {"prune.rate": None, "prune.widths": {}, "prune.pruned_channels": {}}
        )
    elif (recipe.prune.rate or 0.0) <= member.rate:
        recipe = override(recipe, {"prune.rate": None, "prune.pruned_channels": {}})
    source = Source(
        checkpoint.name,
        checkpoint.layout,
        checkpoint.sha256,
        member.facts["trained"],
        recipe.model.seed,
        member.facts["accuracy"],
    )
    return Loaded(network, recipe, source, (), member.facts)


def _start_of(recipe: Recipe, folder: Path | None) -> Member | None:
    """Return the shipped network to start from.

    Filters that another criterion chose, or in another scope, cannot be added to, nor can widths
    of groups, nor blocks: then only a network without zero filters will do, or one of these very
    widths, or one for which the rate pays.
    """
    prune, model = recipe.prune, recipe.model.name
    if prune.widths:
        return _of_widths(recipe, folder) or _whole(model, folder)
    if prune.align == 1 or not prune.rate:
        member = nearest(model, prune.rate or 0.0, folder)
        if member is None or not prune.zeroes or not member.rate or _may_add(prune, member):
            return member
        return _whole(model, folder)
    suit = [each for each in paying(model, prune.rate or 0.0, folder) if _may_add(prune, each)]
    return suit[0] if suit else _whole(model, folder)


def _of_widths(recipe: Recipe, folder: Path | None) -> Member | None:
    """Return the shipped network of just the recipe's widths."""
    prune = recipe.prune
    asked = (dict(prune.widths), dict(prune.pruned_channels), prune.chosen_by, prune.scope)
    for planned in members(recipe.model.name, folder):
        facts = planned.facts
        if (planned.widths, planned.pruned_channels, facts["criterion"], facts["scope"]) == asked:
            return planned
    return None


def _whole(model: str, folder: Path | None) -> Member | None:
    """Return the shipped network that lost nothing."""
    whole = nearest(model, 0.0, folder)
    return whole if whole is not None and not whole.rate else None


def _demand_whole(model: str) -> None:
    """Raise :class:`InputError` where a network ships in part alone, and no part of it suits."""
    known = members(model)
    if not known:
        return
    options = "; ".join(
        " ".join(f"--{name} {value}" for name, value in options_of(member).items())
        for member in known
    )
    raise InputError(
        f"nothing of {model} that ships suits this, and the whole network does not ship; give its "
        f"weights by --ckpt, or take what ships: {options}; --untrained takes random weights"
    )


def _may_add(prune: PruneSection, member: Member) -> bool:
    """Tell whether a member's zero filters are some of those that a rate asks for.

    What a plan named in place of the default criterion goes as well as what that would choose.
    """
    scope = member.facts["scope"]
    if prune.pruned_channels:
        return (dict(prune.pruned_channels), prune.scope) == (member.pruned_channels, scope)
    default = default_recipe(member.model).prune.criterion
    criterion = default if member.pruned_channels else member.facts["criterion"]
    return (prune.criterion, prune.scope) == (criterion, scope)


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
