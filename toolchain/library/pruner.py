"""Soft filter pruning inside a training loop of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from toolchain.errors import InputError, ModelError, RecipeError
from toolchain.library.amounts import amounts_of
from toolchain.library.filter_groups import (
    FilterGroup,
    demand_finite,
    demand_same,
    summary_table,
)
from toolchain.library.left_out import left_out
from toolchain.library.pruner_arguments import TARGET, Amount, Ignored, Rate, Runtime, checked
from toolchain.library.taking import Example, live_parameters, take, undisturbed
from toolchain.pruning.criteria import Scoring, name_of
from toolchain.pruning.prunable import Prunable
from toolchain.recipe import Criterion, Scope
from toolchain.records.cost_tables import Reached

VERSION = 1
"""Of what :meth:`SoftPruner.state_dict` gives."""


class SoftPruner:
    """Zeroes filters of a network while it is trained; what is zeroed may come back until held.

    Soft filter pruning (He et al., IJCAI 2018) in a loop of one's own: after each epoch ``step()``
    chooses filters by the weights as they are and zeroes them in place; training goes on with all
    of them. ``hold()`` fixes the last choice, and from then on ``apply()``, or the hook of
    ``attach()``, keeps it at zero. ``toolchain.shrink`` takes out what is zero, exactly.

        pruner = SoftPruner(net, torch.zeros(1, 3, 320, 320), rate=0.3, ignored=["head.*"])
        pruner.attach(optimizer)            # keeps zeros once they are held
        for epoch in range(epochs):
            train(net, loader, optimizer)
            pruner.step()
        pruner.hold()
        train(net, loader, optimizer)       # fine-tuning, with the zeros kept

    ``network`` may be in any mode, type and device, and inside DistributedDataParallel,
    DataParallel, ``torch.compile`` or AveragedModel: a copy on the CPU in float32 is analysed,
    once, when the pruner is made. Its forward hooks are copied along and called then. The network
    itself keeps its mode, gradients, hooks, device and types; only weights are zeroed. Layers whose
    weight is computed (weight norm and other parametrisations) or shared stay whole; ``left_out``
    says so.

    Each process of a distributed training makes its own pruner and calls it at the same places. The
    choice is made on the CPU from the weights alone, and ties go by index: equal weights give equal
    choices, so nothing is communicated.

    In scope ``group`` batch norm's scale and shift are zeroed with the filters. Then both filter
    and scale are at zero, where neither has a gradient, and it is the optimizer's momentum (of SGD
    or Adam) that brings them back; under plain SGD they stay. Scope ``layer`` leaves batch norm
    alone, as the paper does.
    """

    def __init__(
        self,
        network: nn.Module,
        example: Example,
        *,
        rate: Rate | None = None,
        parameters: Amount | None = None,
        macs: Amount | None = None,
        widths: Mapping[str, int] | None = None,
        criterion: Criterion | Scoring = "fpgm",
        scope: Scope = "group",
        ignored: Ignored = (),
        round_to: int | None = None,
        align: int = 1,
        instructions: Amount | None = None,
        target: str = TARGET,
        runtime: Runtime | None = None,
    ) -> None:
        """Find the network's groups of filters, and how many of each are to go.

        Args:
            network: What is trained.
            example: What it is called with: a tensor (N, C, H, W), a tuple of arguments, or a dict
                of keyword arguments. Shapes count; a batch of one is enough.
            rate: Share of filters that go, floor(rate * n) of n, ``>= 0 and < 1``; or rates for
                names and shell patterns, ``{"backbone.*": 0.3}``: the first that matches a layer
                holds, what none matches stays whole, and a group goes by the smallest rate of its
                layers. Exactly one of this, parameters, macs, widths and instructions is given.
            parameters: A target instead: at most so many deployed parameters (batch norm folded),
                or a share of the network's as it is, by the mildest rate, equal in all groups.
            macs: The same in multiply-accumulates of one run on ``example``.
            widths: How many filters stay, by a layer of each group: ``{"stem.conv": 12}``; others
                stay whole. The command ``toolchain plan`` writes them, in ``[prune.widths]``.
            criterion: ``fpgm`` (nearest to the geometric median first), ``l1`` (smallest first), or
                a callable that is given the filters, float32 (n, d) on the CPU, one per row, and
                returns n finite scores (n,), of which the smallest goes first.
            scope: ``group`` zeroes the same channel in every layer that writes it, so that all of
                it can be removed; ``layer`` zeroes in each layer on its own, as the paper
                does, so that in residual networks hardly a channel can be removed.
            ignored: Layers that stay whole, and with them those that share their channels: modules,
                names of them, or shell patterns (``*.head``). What makes the output always stays.
            round_to: What stays is a multiple of it, rounded up, so that never more goes than is
                asked for: of 64 filters at a rate of 0.3, 45 stay, and 48 with ``round_to=8``; of
                20, 14 stay, and 16; of 10, 7 stay, and 8; of 6, all stay.
            align: What stays is a multiple of it, and at least as much goes as is asked for: some
                groups lose a block of filters and others nothing. 4 suits ncnn, which computes
                four channels at a time.
            instructions: A target as ``macs``, of one inference on the board ``target`` (those of
                ``toolchain plan``) by ``runtime``: None is the fastest there, ncnn if it can be.
                In blocks of four. Emulated: layers are measured once, and kept.

        Raises:
            RecipeError: An argument is out of its range, contradicts another, or names no layer.
            InputError: The example is none, or a target is out of reach.
            ModelError: The network cannot be copied or run, is sharded, or has no filter to remove.
            AnalysisError: The network does what cannot be followed.
        """
        much = (rate, parameters, macs, widths)
        board = (instructions, target, runtime)
        wanted = checked(network, *much, criterion, scope, ignored, round_to, align, *board)
        with undisturbed():
            taken = take(network, example)
            whole = (*wanted.ignored, *taken.computed)
            self._prunable = Prunable.of(taken.network, taken.example, scope, whole)
            self.left_out: Mapping[str, str] = left_out(taken, self._prunable, wanted)
            """Layers that stay whole -> why."""
            if not self._prunable.groups:
                some = "; ".join(f"{n} stays: {why}" for n, why in [*self.left_out.items()][:3])
                raise ModelError(f"no filter can be removed ({some or 'there is no layer'})")
            amounts = amounts_of(self._prunable, taken, wanted)
        self.groups: tuple[FilterGroup, ...] = tuple(
            FilterGroup(group.name, group.layers, group.width, amounts.counts[group.name])
            for group in self._prunable.groups
        )
        """What is chosen among, in the order of layers."""
        self.reached: Reached | None = amounts.reached
        """What a target came to: its cost, of which whole, at which rate; None without one."""
        self._network, self._plain, self._wanted = network, taken.network, wanted
        every = {group.name: range(group.width) for group in self._prunable.groups}
        touched = self._prunable.masks(taken.network, every)
        self._touched = [name for name, mask in touched.items() if not bool(mask.all())]
        self._chosen: dict[str, list[int]] | None = None
        self._masks: dict[str, Tensor] = {}
        self._held = False

    # In the loop ------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """True once zeros are held."""
        return self._held

    @property
    def chosen(self) -> Mapping[str, Sequence[int]]:
        """By group, which of its channels were zeroed last, in rising order; empty before that."""
        return {} if self._chosen is None else {name: tuple(c) for name, c in self._chosen.items()}

    @property
    def masks(self) -> Mapping[str, Tensor]:
        """By parameter, bool: False where the last choice zeroed it; what is whole is left out."""
        return {name: ~gone for name, gone in self._masks.items()}

    def step(self) -> None:
        """Choose filters by the weights as they are and zero them in place; call it each epoch.

        Filters that are zero already are chosen first, so a second call in a row changes nothing.
        While zeros are held it chooses nothing, and zeroes again what is held. Raises
        :class:`InputError` for weights that are not finite, and for what a criterion of one's own
        returns that is not n finite scores.
        """
        if not self._held:
            self._choose()
        self._zero(self._network)

    def hold(self) -> None:
        """Hold what was zeroed last; without a ``step()`` before, choose and zero first."""
        if self._chosen is None:
            self._choose()
        self._held = True
        self._zero(self._network)

    def apply(self, network: nn.Module | None = None) -> None:
        """Zero again what is held, in place; before ``hold()`` it does nothing.

        Call it after each step of the optimizer, or let :meth:`attach` do so. ``network`` is
        another of the same layers, such as an average of the weights (EMA), which else only comes
        near to zero. Raises :class:`ModelError` where its layers are others.
        """
        if self._held:
            self._zero(self._network if network is None else network)

    def attach(self, optimizer: torch.optim.Optimizer) -> RemovableHandle:
        """Call :meth:`apply` after each step of ``optimizer``; return a handle to ``remove()``.

        Momentum and weight decay cannot bring back what is held then. A step that
        ``torch.amp.GradScaler`` leaves out changes no weight, and calls no hook.
        """
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate's and Lightning's wrap one
        if not isinstance(inner, torch.optim.Optimizer):
            raise InputError(
                f"attach() takes a torch.optim.Optimizer (got {type(optimizer).__name__}); call "
                f"apply() after each of its steps instead"
            )
        return inner.register_step_post_hook(lambda *_: self.apply())

    def _choose(self) -> None:
        """Choose in the plain copy, which gets the live network's weights."""
        live, plain = self._live(self._network), dict(self._plain.named_parameters())
        with torch.no_grad():
            for name in self._touched:
                plain[name].copy_(live[name])
        demand_finite({name: plain[name] for name in self._touched})
        counts = {group.name: group.gone for group in self.groups}
        with undisturbed():
            self._chosen = self._prunable.choose(
                self._plain, counts, self._wanted.criterion, zeros_first=True
            )
        self._mask()

    def _mask(self) -> None:
        masks = self._prunable.masks(self._plain, self._chosen or {})
        self._masks = {name: ~mask for name, mask in masks.items() if not bool(mask.all())}

    def _zero(self, network: nn.Module) -> None:
        live = self._live(network)
        with torch.no_grad():
            for name, gone in self._masks.items():
                parameter = live[name]
                if gone.device != parameter.device:  # the network has moved
                    gone = self._masks[name] = gone.to(parameter.device)
                parameter.masked_fill_(gone, 0.0)

    def _live(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters of a live network; its layers must be those that were analysed."""
        live, plain = live_parameters(network), dict(self._plain.named_parameters())
        for name in self._touched:
            known = tuple(plain[name].shape)
            found = tuple(live[name].shape) if name in live else None
            if found != known:
                raise ModelError(
                    f"{name} was {known} when the pruner was made and is {found or 'gone'}; make a "
                    f"new pruner for a network of other layers"
                )
        return live

    # What is known ----------------------------------------------------------------------------

    def sparsity(self) -> float:
        """Return the share of the network's parameters that the last choice zeroed, from 0 to 1."""
        total = sum(parameter.numel() for parameter in self._plain.parameters())
        return sum(int(gone.sum()) for gone in self._masks.values()) / total

    def summary(self) -> str:
        """Return a table for people: each group with its layers, its width and what is zeroed."""
        zeroed = {name: len(indices) for name, indices in self.chosen.items()}
        state = "held" if self._held else "may come back" if zeroed else "none chosen yet"
        last = f"{self.sparsity():.1%} of all parameters zeroed ({state})"
        return summary_table(self.groups, zeroed, last, self.left_out)

    # Stopping and resuming ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that a training needs to go on, beside the network's weights.

        It holds numbers, texts and int64 tensors alone, so ``torch.load(..., weights_only=True)``
        reads it.
        """
        chosen = self._chosen
        return {
            "version": VERSION,
            "configuration": self._configuration(),
            "held": self._held,
            "chosen": None
            if chosen is None
            else {name: torch.tensor(indices) for name, indices in chosen.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the pruner did that gave ``state``; zeros that were held are zeroed again.

        Raises :class:`RecipeError` where that one was made with other arguments or for another
        network, by what differs.
        """
        if not isinstance(state, Mapping) or state.get("version") != VERSION:
            raise RecipeError("the state is not one of SoftPruner.state_dict() of this version")
        demand_same(state["configuration"], self._configuration())
        chosen = state["chosen"]
        self._chosen = (
            None
            if chosen is None
            else {name: [int(index) for index in indices] for name, indices in chosen.items()}
        )
        self._held = bool(state["held"])
        self._mask()
        self.apply()

    def _configuration(self) -> dict[str, Any]:
        return {
            "criterion": name_of(self._wanted.criterion),
            "scope": self._wanted.scope,
            "widths": {group.name: group.width for group in self.groups},
            "stays": {group.name: group.stays for group in self.groups},
        }
