"""``tc.shrink``: a network in, a smaller network of the same outputs out, with its proof."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import nn

from toolchain.checking.pictures import Photo
from toolchain.checking.proofs import analysis_example
from toolchain.library.handing_back import handed_back
from toolchain.library.handing_over import Handed, hand_over
from toolchain.library.taking import Example, undisturbed
from toolchain.recipe import Recipe, override
from toolchain.records.parity import Parity
from toolchain.records.stages import FilterVerdict, LayerChange, Surgery
from toolchain.report.run.reasons import sentence
from toolchain.report.run.ways import ways_words
from toolchain.workflows.stages import shrinking
from toolchain.workflows.stages.zeroing import Zeroed


@dataclass(frozen=True)
class ShrinkReport:
    """What went, what stayed, and why; ``print(report)`` for people."""

    parameters_before: int
    """All scalars of the network that was given, batch norm's among them."""
    parameters_after: int
    layers: tuple[LayerChange, ...]
    """Every layer with its channels before and after."""
    removed: tuple[FilterVerdict, ...]
    """Zeroed filters that are gone, and what became of their constants."""
    kept: tuple[FilterVerdict, ...]
    """Zeroed filters that are still there, each with its reason."""
    surgery: Surgery = field(repr=False)

    def __str__(self) -> str:
        zeroed = len(self.removed) + len(self.kept)
        lines = [
            f"{self.parameters_before:,} -> {self.parameters_after:,} parameters; "
            f"{len(self.removed)} of {zeroed} zeroed filters removed"
        ]
        lines += [
            f"  {layer.layer}: {layer.out_channels_before} -> {layer.out_channels_after} channels"
            for layer in self.layers
            if layer.out_channels_before != layer.out_channels_after
        ]
        lines += [f"  {words}" for words in ways_words(self.surgery)]
        reasons = Counter(sentence(item) for item in self.kept)
        lines += [f"  kept: {words}" for words in reasons]
        return "\n".join(lines)


@dataclass(frozen=True)
class ShrinkProof:
    """How far the smaller network's outputs are from those of the network that was given.

    All inputs are synthetic: noise at several scales and sizes, flat images, bright pixels, a ramp,
    smooth shapes. ``print(proof)`` for people.
    """

    exact: Parity | None
    """In float64, where the surgery is exact or wrong; None where the network does not run so."""
    rounded: Parity
    """In the network's own type, against the truth of float64 where there is one."""
    left_out: tuple[str, ...] = ()
    """Sizes at which nothing is proved, with why."""

    def __str__(self) -> str:
        lines = []
        for parity in (self.exact, self.rounded):
            if parity is not None:
                worst = "no number" if parity.worst is None else f"{parity.worst:.1e}"
                lines.append(
                    f"{parity.link}: {worst} of a channel's range at most, on "
                    f"{len(parity.cases)} inputs (limit {parity.limit:g})"
                )
        lines += [f"not proved at {words}" for words in self.left_out]
        return "\n".join(lines)


@dataclass(frozen=True)
class Shrunk:
    """A smaller network of the same outputs."""

    network: nn.Module
    """An ordinary network of the class that was given, narrower: trainable, in the caller's mode,
    type and device."""
    report: ShrinkReport
    proof: ShrinkProof
    _handed: Handed = field(repr=False)
    _made: shrinking.Shrunk = field(repr=False)


def shrink(
    network: nn.Module,
    example: Example,
    *,
    limit: float | None = None,
    value_range: tuple[float, float] | None = None,
    recipe: Recipe | None = None,
) -> Shrunk:
    """Remove every filter whose output does not depend on the input; prove that nothing is lost.

    That are filters that are zero (by :class:`SoftPruner`, by another's pruning, by chance), with
    the constants that batch norm makes of them. No filter that counts goes. ``network`` is not
    changed: mode, device, type, gradients stay, wrappers (DDP, DataParallel, ``torch.compile``,
    averages) are looked through.

    Args:
        network: any module of convolutions and linear layers.
        example: what it is called with: a tensor such as ``torch.zeros(1, 3, 320, 320)``, a tuple
            of arguments, or a dict of keyword arguments. Floats serve for their shapes alone.
        limit: largest difference that is allowed in the network's own type, as a share of each
            output channel's range, from 0 to 1e-3; 1e-5 by default. float64 has a limit of its own.
        value_range: lowest and highest value that the network is given, for the inputs of the
            proof; of pixels minus a mean (-123, 151) by default, and of smaller scales as well.
        recipe: says all this and more, as :func:`toolchain.recipe.load_recipe` reads it.

    Returns:
        A frozen :class:`Shrunk`: ``.network``, ``.report``, ``.proof``.

    Raises:
        AnalysisError: the network does what the analysis cannot follow; the message names it.
        ProofError: the smaller network is not the same function (a fault of the tool, or a network
            that keeps a state). ``AnalysisError`` is one of these, too.
        ModelError, InputError: ``network`` or ``example`` is not what it must be.
        RecipeError: a number is out of its range.

    Example:
        >>> small = tc.shrink(network, torch.zeros(1, 3, 320, 320))
        >>> print(small.report)
        34,186 -> 21,032 parameters; 40 of 40 zeroed filters removed
          stem.0: 16 -> 8 channels
        >>> print(small.proof)
        soft network -> shrunk network, in float64: 1.2e-15 of a channel's range at most, ...
        >>> optimizer = torch.optim.Adam(small.network.parameters())  # train on
    """
    handed = hand_over(network, example, recipe, value_range, own_type=True)
    if limit is not None:
        handed = handed.with_recipe(override(handed.recipe, {"proof.surgery_limit": limit}))
    with undisturbed():
        made = shrink_and_prove(handed)
    surgery = made.pair.surgery
    return Shrunk(
        handed_back(made.pair.shrunk, network),
        ShrinkReport(
            _count(made.pair.soft),
            _count(made.pair.shrunk),
            surgery.layers,
            tuple(item for item in surgery.filters if item.verdict != "kept"),
            tuple(item for item in surgery.filters if item.verdict == "kept"),
            surgery,
        ),
        ShrinkProof(made.proof.exact, made.proof.rounded, made.proof.left_out),
        handed,
        made,
    )


def shrink_and_prove(handed: Handed, photos: tuple[Photo, ...] = ()) -> shrinking.Shrunk:
    """Run the stages that the command line runs, on a network that was handed over."""
    loaded = handed.loaded
    look = analysis_example(loaded.network, loaded.example, loaded.recipe)
    zeroed = Zeroed(loaded, loaded.network, None)
    return shrinking.prove(zeroed, shrinking.make_pair(zeroed, look, photos))


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def same_weights(network: nn.Module, other: nn.Module) -> bool:
    """Tell whether two networks have the same tensors, value for value."""
    ours, theirs = network.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(tensor.cpu(), theirs[name]) for name, tensor in ours.items()
    )
