"""The surgery: remove every channel that does not depend on the image, and lose nothing.

Each round looks at the network (:mod:`~toolchain.surgery.observation`), decides what can go
(:mod:`~toolchain.surgery.decision`), lets the readers' weights take over the constants, and slices
channels away, until a round finds nothing more. The result is checked here
(:mod:`~toolchain.surgery.agreement`) and proved by the caller.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.errors import AnalysisError
from toolchain.models.numbers import changes_of
from toolchain.records.reasons import Reason
from toolchain.records.stages import Surgery
from toolchain.surgery.agreement import (
    DisagreementError,
    DoesNotRunError,
    demand_agreement,
    demand_repeatable,
    demand_runs,
)
from toolchain.surgery.alignment import (
    DisplacedError,
    Kept,
    demand_alignment,
    held_layers,
    moved_layers,
    unlike_layers,
)
from toolchain.surgery.biases import layers_with_bias
from toolchain.surgery.channels import Flow
from toolchain.surgery.constants import Combination
from toolchain.surgery.decision import Decision, decide, reason_to_keep, verdict_of
from toolchain.surgery.flow import find_failure, trace_flow
from toolchain.surgery.following import (
    UnfollowedError,
    buffers_of,
    change,
    changed_buffers,
    changed_numbers,
    moved_by_arithmetic,
    numbers_after,
    picks_after,
)
from toolchain.surgery.layers import Layer, layers_of
from toolchain.surgery.ledger import Ledger, Origins
from toolchain.surgery.narrowing import in_own_types, narrow_tensor
from toolchain.surgery.observation import Observation, Sizes, observe
from toolchain.surgery.precision import Precision
from toolchain.surgery.running import Example, Inputs, Working, as_inputs, cast, fresh, working_copy
from toolchain.surgery.told import Key
from toolchain.system.steps import step

MAX_ROUNDS = 50

MAX_TRIES = 4
"""After so many surgeries that failed at channels which the code puts elsewhere, all of those stay.
"""


@dataclass(frozen=True)
class Cut:
    """What a surgery gives."""

    network: nn.Module
    """The smaller network, every parameter in the type that it had."""
    exact: nn.Module | None
    """The same network in float64, before it was rounded to its own type: equal to the whole
    network in float64 up to rounding. None where the network does not run in float64."""
    surgery: Surgery


def shrink(network: nn.Module, example: Example) -> tuple[nn.Module, Surgery]:
    """Return a smaller network of the same outputs, and what was done: :func:`cut` in short."""
    done = cut(network, example)
    return done.network, done.surgery


def cut(network: nn.Module, example: Example) -> Cut:
    """Remove every channel that does not depend on the input, and check the result.

    ``network`` is not changed; ``example`` is what it is called with, an input (N, C, H, W) or a
    tuple of tensors, used for shapes (integers and booleans among them keep their values). All is
    done in float64, or in the network's own type where it does not run in float64. Raises
    :class:`AnalysisError` where the network does what the analysis cannot follow, where it is
    random or keeps a state, and where the smaller network is not the same function.
    """
    whole = fresh(network).eval()
    working = working_copy(whole, as_inputs(example))
    inputs = cast(as_inputs(example), working.precision.dtype)
    step("the same input twice")
    demand_repeatable(working, inputs)
    shrunk, surgery = _cut_what_runs(working, Sizes.near(working, inputs))
    exact = shrunk if working.precision.is_double else None
    return Cut(in_own_types(shrunk, whole), exact, surgery)


def _cut_what_runs(working: Working, sizes: Sizes) -> tuple[nn.Module, Surgery]:
    """Cut, and cut again without the layers whose number of channels the code holds."""
    held: dict[str, Reason] = {}
    unlike = functools.cache(lambda: unlike_layers(working.network, sizes.spread))
    for tries in itertools.count(1):
        if tries > MAX_TRIES:
            held = _moved(working, sizes.asked) | held
        shrunk = fresh(working.network)
        try:
            surgery = _remove_all(shrunk, sizes, working.precision, held)
            if surgery.rounds > 1 and not unlike().keys() <= held.keys():
                held = unlike() | held
                continue
            elsewhere = _elsewhere(sizes, surgery)
            demand_agreement(working.network, shrunk, sizes.looked_at, elsewhere, working.coarsest)
            return shrunk, surgery
        except DisagreementError as failure:  # by channels that lie elsewhere, it may be there only
            moved = _moved(working, failure.inputs) | _moved(working, sizes.asked)
            if moved.keys() <= held.keys():
                raise
            held = moved | held
        except DisplacedError as failure:
            if failure.held.keys() <= held.keys():
                raise
            held = {**failure.held, **held}
        except DoesNotRunError as failure:
            held = _held_by_failure(working, sizes, shrunk, failure, held)
    raise AssertionError("unreachable")


def _held_by_failure(
    working: Working,
    sizes: Sizes,
    shrunk: nn.Module,
    failure: DoesNotRunError,
    held: Mapping[str, Reason],
) -> dict[str, Reason]:
    """Return the layers that must stay whole, those at which a cut network fails among them."""
    operator, layers = find_failure(shrunk, failure.inputs)
    moved = _moved(working, sizes.asked)
    layers = layers or frozenset(moved)  # no operator shows where it fails
    if layers <= held.keys():  # another layer's channels are counted there
        layers = _narrowed(working.network, shrunk) - held.keys()
    if not layers:
        raise failure
    failed = dict.fromkeys(layers, Reason("operator", operator=operator))
    return failed | {name: why for name, why in moved.items() if name in layers} | dict(held)


def _narrowed(whole: nn.Module, cut: nn.Module) -> frozenset[str]:
    """Return the layers that write fewer channels than they did."""
    left = layers_of(cut)
    return frozenset(
        name
        for name, layer in layers_of(whole).items()
        if left[name].out_channels < layer.out_channels
    )


def _elsewhere(sizes: Sizes, surgery: Surgery) -> list[Sequence[Inputs]]:
    """Return sizes that no channel was looked at, and another number of images.

    There code may cut by the image's size, or put the images of a batch together.
    All of them where numbers in the code were changed, else few; none if nothing went.
    """
    third = [] if sizes.third is None else [(sizes.third,)]
    if surgery.numbers:
        all_others = ((each,) for alternatives in sizes.others for each in alternatives)
        return [*all_others, *third, sizes.more]
    if surgery.rounds == 1:
        return []
    return [*sizes.others[:1], *sizes.others[-2:], *third, sizes.more]


def _moved(working: Working, inputs: Inputs) -> dict[str, Reason]:
    """Return the layers whose channels some operator puts elsewhere, and which."""
    return moved_layers(trace_flow(working.network, inputs))


def _remove_all(
    network: nn.Module, sizes: Sizes, precision: Precision, held: Mapping[str, Reason]
) -> Surgery:
    """Cut in place, round by round, and return what was done."""
    ledger = Ledger.open(layers_of(network))
    before, by_arithmetic = changes_of(network), dict[str, None]()
    buffers = buffers_of(network)
    step("layers that take a bias")
    with_bias = layers_with_bias(network, sizes.looked_at[-1])
    for rounds in range(1, MAX_ROUNDS + 1):
        step(f"round {rounds}")
        seen = observe(network, sizes, precision, with_bias, held)
        step(f"round {rounds}: what can go")
        decision = decide(seen)
        if not decision.removed:
            _enter_kept(ledger, seen, decision)
            return Surgery(
                rounds=rounds,
                filters=ledger.filters(),
                layers=ledger.layers(layers_of(network)),
                removed_live_filters=ledger.removed_live,
                without_torch_pruning=seen.flow.second_opinion,
                by_arithmetic=tuple(by_arithmetic),
                numbers=changed_numbers(before, changes_of(network))
                + changed_buffers(buffers, buffers_of(network)),
            )
        seen.check()
        numbers, picks = _numbers_after(seen.flow, decision.removed)
        by_arithmetic |= dict.fromkeys(moved_by_arithmetic(seen.flow, decision.removed))
        _enter_removed(ledger, decision)
        _take_over_constants(seen, decision)
        left = _slice(network, seen, decision, ledger.origins)
        change(network, seen.flow, numbers, picks)
        step(f"round {rounds}: what is left runs")
        demand_runs(network, sizes.looked_at)
        demand_alignment(seen.flow, network, sizes.looked_at[-1], left)
    raise AnalysisError(f"the surgery found more to remove after {MAX_ROUNDS} rounds")


def _numbers_after(
    flow: Flow, removed: Collection[int]
) -> tuple[dict[Key, int], dict[Key, tuple[int, ...]]]:
    """Return what numbers and positions in the code become; hold the layers of those that fit
    nothing."""
    try:
        return numbers_after(flow, removed), picks_after(flow, removed)
    except UnfollowedError as error:
        classes = {flow.classes.find(node) for node in error.nodes}
        raise DisplacedError(held_layers(flow, classes)) from error


def _enter_removed(ledger: Ledger, decision: Decision) -> None:
    for index in sorted(decision.removed):
        members = decision.classes[index]
        verdict, reason = verdict_of(decision, members, ledger.origins)
        for name, channel in members.writes:
            ledger.remove(name, ledger.origins.output(name, channel), verdict, reason)


def _enter_kept(ledger: Ledger, seen: Observation, decision: Decision) -> None:
    for name, zeroed in ledger.zeroed.items():
        for original in zeroed:
            if (name, original) not in ledger.verdicts:
                channel = ledger.origins.now(name, original)
                ledger.keep(name, original, reason_to_keep(seen, decision, name, channel))


def _take_over_constants(seen: Observation, decision: Decision) -> None:
    """Let every reader's bias and weights take over the channels that go."""
    for name, combinations in decision.plan.combinations.items():
        node_of = seen.flow.in_nodes[name]
        going = {
            channel: combination
            for channel, combination in combinations.items()
            if seen.flow.classes.find(node_of[channel]) in decision.removed
        }
        if going:
            _rewrite(seen.layers[name], going)


def _rewrite(layer: Layer, going: dict[int, Combination]) -> None:
    """``bias += beta * sum of W[:, j]`` and ``W[:, b] += alpha_b * W[:, j]``, in float64."""
    with torch.no_grad():
        columns = layer.columns().double()  # (in, out, kernel...)
        added = torch.zeros_like(columns)
        shift = torch.zeros(layer.out_channels, dtype=torch.float64)
        for channel, combination in going.items():
            column = columns[channel]
            shift += combination.beta * column.reshape(len(column), -1).sum(dim=1)
            for carrier, alpha in combination.alphas.items():
                added[carrier] += alpha * column
        layer.columns().copy_(columns + added)
        if bool((shift != 0).any()):
            _add_to_bias(layer, shift)


def _add_to_bias(layer: Layer, shift: Tensor) -> None:
    if layer.bias is None:
        layer.module.bias = nn.Parameter(
            shift.to(layer.weight), requires_grad=layer.weight.requires_grad
        )
    else:
        layer.bias.copy_(layer.bias.double() + shift)


def _slice(network: nn.Module, seen: Observation, decision: Decision, origins: Origins) -> Kept:
    """Cut the channels of all removed classes out of every layer and tensor; say what is left."""
    kept_of = {}

    def kept(nodes: list[int]) -> list[int]:
        find, removed = seen.flow.classes.find, decision.removed
        return [channel for channel, node in enumerate(nodes) if find(node) not in removed]

    for name, layer in seen.layers.items():
        left = kept(seen.flow.out_nodes[name]), kept(seen.flow.in_nodes[name])
        layer.narrow(*left)
        origins.narrow(name, *left)
        kept_of[name] = left
    for name, nodes in seen.flow.tensor_nodes.items():
        left_of_it = kept(nodes)
        if len(left_of_it) < len(nodes):
            narrow_tensor(network, name, left_of_it)
    return kept_of
