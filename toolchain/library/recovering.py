"""``tc.recover``: a network is pruned, and learns from what it was; photos are enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from toolchain.errors import InputError, RecipeError
from toolchain.library.pruner import SoftPruner
from toolchain.library.pruner_arguments import PrunerOptions
from toolchain.library.taking import Example, arguments_of, copied, take, undisturbed
from toolchain.library.wording import in_python_words
from toolchain.pruning.prunable import Prunable, apply_masks
from toolchain.pruning.zeroing import chosen_by
from toolchain.recipe import PruneSection
from toolchain.recovery.block import Blocks
from toolchain.recovery.blocks import find_blocks, named_blocks
from toolchain.recovery.course import Loss
from toolchain.recovery.feeding import Figures, LoaderFeed
from toolchain.recovery.report import RecoveryReport
from toolchain.recovery.running import Pair, Wanted
from toolchain.recovery.running import recover as run_recovery
from toolchain.recovery.soft import recover_softly
from toolchain.train.filters import BOTTLENECK
from toolchain.train.masks import Masking, Masks
from toolchain.train.ranks import ranks


@in_python_words()
def recover(
    network: nn.Module,
    example: Example,
    *,
    images: Any,
    minutes: float = 30.0,
    steps: int | None = None,
    outputs: Mapping[str, str] | None = None,
    loss: Loss | None = None,
    evaluate: Figures | None = None,
    kept_out: Any = None,
    blocks: Sequence[str] | None = None,
    learn: Sequence[str] | None = None,
    soft_share: float = 0.0,
    bfloat16: bool = False,
    on_step: Callable[[str, int, int, float], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    on_report: Callable[[RecoveryReport], None] | None = None,
    **pruning: Unpack[PrunerOptions],
) -> nn.Module:
    """Prune a copy of ``network`` and bring back what that cost, on images without labels.

    The network as it is teaches the pruned copy: convolutions are solved in closed form, then each
    block learns from what the teacher's own is given and gives, then the whole learns end to end.
    Zeros are held throughout, so :func:`shrink` takes them out. ``network`` is not changed.

    Args:
        network: any trained network of convolutions. It teaches in eval mode, whatever mode it is
            in; the copy learns in eval mode too, and all its parameters do, but for ``learn``.
        example: what it is called with, as for :class:`SoftPruner`.
        images: batches as the network is trained on: a ``DataLoader``, any iterable that can be
            gone through again, a list, or one tensor (N, C, H, W). Of a batch that is a tuple, the
            first entries are taken, as many as the network takes; the rest is for ``loss``.
        minutes: how long, measured at the start; the steps are fixed then.
        steps: so many steps in place of it, which give the same network each time.
        outputs: kinds of outputs by number or name: ``{"0": "logits"}``. One of ``logits`` (a
            softmax follows), ``binary`` (a sigmoid follows), ``probabilities``, ``scores`` (what
            these gave; seen in the network), ``boxes`` (robust), ``values`` (all others).
        loss: of one's own, added end to end: given the network's outputs and the batch as
            ``images`` gave it, on the network's device, returns a scalar.
        evaluate: of one's own: given the network in eval mode, returns figures by name. The network
            is given back as it was where the first of them was highest.
        kept_out: batches like ``images`` on which the agreement is told. Without, a tenth of a list
            or tensor is kept out, and of a loader the first batches are looked at.
        blocks: names, or shell patterns, of the modules that learn on their own; found by default.
        learn: names, or shell patterns, of the modules that learn, with all that is in them; all
            others stay as they are, pruned, and need no gradients. All learn by default.
        soft_share: of the minutes, or of the steps, those at the beginning in which filters are
            chosen anew ten times, zeroed, and may come back (soft filter pruning); then those that
            were chosen last go for good. 0 chooses once, in the network as it is.
        bfloat16: compute in bfloat16.
        on_step: is told of the phase, the steps taken and of how many, and the mean loss.
        on_note: is told in words how it goes: how long a step takes, what the minutes buy.
        on_report: is given the :class:`RecoveryReport` at the end; ``print`` will do.
        pruning: what goes, as for :class:`SoftPruner`: ``rate=0.3``, or a target, ``macs=0.6``,
            ``parameters=52_000``, ``instructions=22_000_000``; ``align=4``, ...

    Returns:
        The pruned network with its zeros, in the mode, type and on the device of ``network``.

    Raises:
        InputError: there are too few images, they do not fit the example, or the network gives
            nearly the same for all of them; or processes train together.
        ModelError: the network gives other outputs from run to run, or none that are finite.
        RecipeError: nothing is left of a layer, or nothing goes, or an option is wrong.
        ProofError: the loss runs away.

    Example:
        >>> student = tc.recover(net, example, images=loader, rate=0.3, minutes=30, on_report=print)
        >>> small = tc.shrink(student, example)
    """
    if not isinstance(minutes, int | float) or not minutes > 0:
        raise RecipeError(f"minutes must be more than 0 (got {minutes!r})")
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise RecipeError(f"steps must be a whole number, 1 at least (got {steps!r})")
    if ranks() > 1:
        raise InputError(
            "recover computes in one process, and a process group is there; call it before "
            "init_process_group, or start the command toolchain recover by torchrun"
        )
    pair = pair_of(network, example, **pruning)
    found = blocks_of(pair, blocks)
    device = next(pair.student.parameters()).device
    feed = LoaderFeed(images, arguments_of(example), device, kept_out)
    wanted = Wanted(minutes, steps, outputs or {}, learn, loss, evaluate, bfloat16, soft_share)
    begin = recover_softly if soft_share else run_recovery
    with torch.enable_grad():
        report = begin(pair, found, feed, wanted, on_step or _unseen, on_note or _unseen)
    if on_report is not None:
        on_report(report)
    return _as_given(pair.student, network)


def _unseen(*_: object) -> None:
    """Take what nobody asked to see."""


def pair_of(network: nn.Module, example: Example, **pruning: Unpack[PrunerOptions]) -> Pair:
    """Return the network as teacher, a pruned copy as student, and plain copies of both.

    Raises what :class:`SoftPruner` raises, and :class:`RecipeError` where nothing goes, or a single
    filter of many is left.
    """
    with undisturbed():
        taken = take(network, example)
    teacher, student = (copied(network).float().eval() for _ in range(2))
    teacher.requires_grad_(False)
    student.requires_grad_(True)
    pruner = SoftPruner(student, example, **pruning)
    _demand_something_left(pruner)
    pruner.step()
    zeroed = sum(len(channels) for channels in pruner.chosen.values())
    with undisturbed():
        plain_student = take(student, example).network

    def choose(_: nn.Module) -> Masks:
        pruner.step()
        return dict(pruner.masks)

    return Pair(
        teacher, student, taken.network, plain_student, taken.example, pruner.masks, zeroed,
        pruner.reached, choose,
    )  # fmt: skip


def pair_by_section(network: nn.Module, example: Tensor, prune: PruneSection) -> Pair:
    """Return the same by a recipe, whose widths and filters a plan has chosen.

    Raises :class:`RecipeError` where they fit no group of the network.
    """
    with undisturbed():
        taken = take(network, example)
        prunable = Prunable.of(taken.network, taken.example, prune.scope, prune.protected)
        chosen = chosen_by(prunable, taken.network, prune)
        found = prunable.masks(taken.network, chosen)
    teacher, student = (copied(network).float().eval() for _ in range(2))
    teacher.requires_grad_(False)
    student.requires_grad_(True)
    device = next(student.parameters()).device
    masks = {name: mask.to(device) for name, mask in found.items() if not bool(mask.all())}
    apply_masks(student, masks)
    with undisturbed():
        plain_student = take(student, example).network
    zeroed = sum(map(len, chosen.values()))
    choose = None if prune.pruned_channels else Masking(example, prune).choose
    return Pair(
        teacher, student, taken.network, plain_student, taken.example, masks, zeroed, choose=choose
    )


def _demand_something_left(pruner: SoftPruner) -> None:
    if not any(group.gone for group in pruner.groups):
        raise RecipeError(
            "nothing is to be pruned, so there is nothing to recover; give a rate, or a target "
            "below what the network is"
        )
    alone = [group for group in pruner.groups if group.gone >= group.width - 1 >= BOTTLENECK - 1]
    if alone:
        narrow = min(alone, key=lambda group: group.width)
        raise RecipeError(
            f"{narrow.width - narrow.gone} of {narrow.width} filters would be left in "
            f"{narrow.name}, too few to learn through; give a rate below "
            f"{(narrow.width - 1) / narrow.width:.3g}{_milder(pruner)}"
        )


def _milder(pruner: SoftPruner) -> str:
    return f", or a milder target ({pruner.reached})" if pruner.reached else ""


def blocks_of(pair: Pair, names: Sequence[str] | None) -> Blocks:
    """Return the blocks that are named, or else those that are found."""
    if isinstance(names, str) or (names is not None and not names):
        raise InputError(f"blocks must be a list, such as ['stem', 'layer1.*'] (got {names!r})")
    with undisturbed():
        if names is not None:
            return named_blocks(pair.plain, pair.example, names)
        return find_blocks(pair.plain, pair.example)


def _as_given(student: nn.Module, network: nn.Module) -> nn.Module:
    """Return the student in the types and mode of the network that was given."""
    given = copied(network)
    given.load_state_dict(student.state_dict())
    return given
