"""All that one round of the surgery sees of a network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.errors import AnalysisError
from toolchain.records.reasons import Reason
from toolchain.surgery.agreement import random_inputs
from toolchain.surgery.channels import Flow
from toolchain.surgery.flow import trace_flow
from toolchain.surgery.inside import loses_groups
from toolchain.surgery.layers import Layer, layers_of
from toolchain.surgery.packing import Vector
from toolchain.surgery.precision import Precision
from toolchain.surgery.running import Inputs, Working, shape_words
from toolchain.surgery.sizes import checking_sizes, more_images, smaller_size, third_size
from toolchain.surgery.taint import Reading, Taint, trace_taint, trace_values
from toolchain.system.steps import step


@dataclass(frozen=True)
class Observation:
    """A network, its dependency classes, and what does not depend on the image."""

    layers: dict[str, Layer]
    flow: Flow
    constants: dict[str, dict[int, Vector]]
    """Layer -> constant input channel -> its values over all positions, calls and sizes."""
    absorbs: dict[str, bool]
    """Layer -> True if a constant can go into its bias: no call pads, and all pass the bias."""
    written_live: dict[str, Tensor]
    """Layer -> bool (out,): True where the channel depends on the image."""
    multiplied: dict[int, str]
    """Classes of channels whose products with others are not all zero -> the operator."""
    precision: Precision
    """The type that all runs were in."""
    check: Callable[[], None]
    """Raises :class:`AnalysisError` unless the constants hold on two random images."""
    unseen: Callable[[], list[Unseen]]
    """Gives what holds at each size that was not looked at, by which combinations are checked."""


@dataclass(frozen=True)
class Unseen:
    """What holds at a size that was not looked at."""

    constants: dict[str, dict[int, Vector]]
    """As those of an observation. A layer that has none there, or reads in another way, has an
    empty entry; one that is not called there has no entry."""
    multiplied: dict[int, str]
    """As that of an observation."""


@dataclass(frozen=True)
class Sizes:
    """Inputs, used for their shapes, at which a network is looked at."""

    asked: Inputs
    other: Inputs | None
    """A second size; None if the network takes only one."""
    third: Inputs | None
    """A size near them by which combinations are checked."""
    others: tuple[tuple[Inputs, ...], ...]
    """Small and long ones by which they are checked as well: of each what runs first."""
    more: tuple[Inputs, ...]
    """Of one image more, by which they are checked as well: what runs first."""

    @classmethod
    def near(cls, working: Working, inputs: Inputs) -> Sizes:
        """Find sizes that the network takes, near that of ``inputs``."""
        step("other sizes")
        other = smaller_size(working, inputs)
        third = third_size(working, inputs, other)
        known = [each for each in (other, third) if each is not None]
        others = checking_sizes(working, inputs, known)
        return cls(inputs, other, third, others, more_images(working, inputs, others))

    @property
    def looked_at(self) -> list[Inputs]:
        """The sizes that constants are read at."""
        return [self.asked, *([] if self.other is None else [self.other])]

    @property
    def spread(self) -> list[Inputs]:
        """Small, usual and long sizes, the one at which channels are followed first."""
        ends = [each for group in (*self.others[:1], *self.others[-2:]) for each in group[:1]]
        return [*reversed(self.looked_at), *([] if self.third is None else [self.third]), *ends]


def observe(
    network: nn.Module,
    sizes: Sizes,
    precision: Precision,
    with_bias: Collection[str],
    held: Mapping[str, Reason],
) -> Observation:
    """Look at ``network``, which is in ``precision.dtype``, at several sizes.

    ``with_bias`` names the layers that have a bias, or that would use one; ``held`` those that
    keep all their channels, and why.
    Every run has a copy of its own. Raises :class:`AnalysisError` if the network cannot be
    followed.
    """
    taints = [_taint(network, inputs) for inputs in sizes.looked_at]
    for inputs, taint in zip(sizes.looked_at, taints, strict=True):
        _demand_same_path(sizes.asked, taints[0], inputs, taint)
    last = sizes.looked_at[-1]
    step("where channels flow")
    layers = layers_of(network)
    flow = trace_flow(network, last, _whole_groups(layers, taints[0]))
    for name, reason in held.items():
        flow.classes.protect(flow.out_nodes[name], reason)
    check = functools.cache(
        functools.partial(_check_constants, network, last, taints[-1], precision)
    )

    def unseen() -> list[Unseen]:
        check()  # names the operator where what is not constant looks so
        return _unseen(network, sizes, taints[0], flow)

    return Observation(
        layers=layers,
        flow=flow,
        constants={name: _constants(name, taints) for name in taints[0].readings},
        absorbs={
            name: name in with_bias
            and all(r.keeps_uniform for taint in taints for r in taint.readings[name])
            for name in taints[0].readings
        },
        written_live=taints[0].written,
        multiplied=_multiplied(flow, taints),
        precision=precision,
        check=check,
        unseen=functools.cache(unseen),
    )


def _whole_groups(layers: Mapping[str, Layer], taint: Taint) -> set[str]:
    """Return the grouped convolutions that lose more by whole groups than by places in each."""
    return {
        name
        for name, layer in layers.items()
        if name in taint.written and loses_groups(layer, taint.clean(name), ~taint.written[name])
    }


def _taint(network: nn.Module, inputs: Inputs) -> Taint:
    step(f"what depends on the input, at {shape_words(inputs)}")
    try:
        return trace_taint(network, inputs)
    except AnalysisError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise AnalysisError(
            f"the network does not run on an input of shape {shape_words(inputs)} that is not a "
            f"number everywhere ({type(error).__name__}: {error}), so what depends on the image "
            f"cannot be seen"
        ) from error


def _demand_same_path(asked: Inputs, first: Taint, inputs: Inputs, second: Taint) -> None:
    """What another size makes the code do may hold at that size alone."""
    for name in {**first.readings, **second.readings}:
        here, there = len(first.readings.get(name, ())), len(second.readings.get(name, ()))
        if here != there:
            raise AnalysisError(
                f"the network's code takes another path at another size: {name} is called {here} "
                f"times on an input of shape {shape_words(asked)}, and {there} times on "
                f"{shape_words(inputs)}, so what it does at other sizes cannot be known"
            )


def _multiplied(flow: Flow, taints: Sequence[Taint]) -> dict[int, str]:
    """Return the classes of channels that are multiplied with others, and not by zero alone."""
    found: dict[int, str] = {}
    for product in flow.products:
        for taint in taints:
            told = len(taint.vanishing) == flow.multiplied  # no other path, as at no other size
            zero = taint.vanishing[product.number].tolist() if told else []
            zero = zero if len(zero) == len(product.nodes) else [False] * len(product.nodes)
            for node, vanishes in zip(product.nodes, zero, strict=True):
                if not vanishes:
                    found.setdefault(flow.classes.find(node), product.operator)
    return found


def _unseen(network: nn.Module, sizes: Sizes, first: Taint, flow: Flow) -> list[Unseen]:
    """Return what holds at sizes that were not looked at, and for another number of images.

    Only at the third size the run tells what is constant. At the others an image runs, a random
    one: what is constant keeps its combinations, and what is not breaks them.
    """
    found = list[Unseen]()

    def note(taint: Taint) -> None:
        found.append(Unseen(_read_alike(first, taint), _multiplied(flow, [taint])))

    if sizes.third is not None:
        taint = _taint(network, sizes.third)
        _demand_same_path(sizes.asked, first, sizes.third, taint)
        note(taint)
    for number, alternatives in enumerate((*sizes.others, sizes.more)):
        for inputs in alternatives:
            try:
                seen = trace_values(network, random_inputs(inputs, seed=number), first)
            except Exception:  # a user's code may raise anything at a size that it does not take
                continue
            note(seen)
            break
    return found


def _read_alike(first: Taint, taint: Taint) -> dict[str, dict[int, Vector]]:
    """Return the constants of layers; none of one that keeps uniform maps only in the first run."""
    return {
        name: _constants(name, [taint])
        if all(r.keeps_uniform for r in readings)
        >= all(r.keeps_uniform for r in first.readings.get(name, ()))
        else {}
        for name, readings in taint.readings.items()
    }


def _constants(name: str, taints: list[Taint]) -> dict[int, Vector]:
    """Stack the maps of the layer's constant input channels over calls and sizes."""
    readings = [reading for taint in taints for reading in taint.readings.get(name, [])]
    clean = torch.stack([~reading.tainted for reading in readings]).all(dim=0)
    channels = clean.nonzero().flatten()
    read = [reading.of(clean) for reading in readings]
    maps = (read[0] if len(read) == 1 else torch.cat(read, dim=1)).double().contiguous().numpy()
    return dict(zip(channels.tolist(), maps, strict=True))


def _check_constants(
    network: nn.Module, inputs: Inputs, taint: Taint, precision: Precision
) -> None:
    """Run two random images: what was found constant must hold its value in both."""
    for seed in range(2):
        step("constants on a random input")
        seen = trace_values(network, random_inputs(inputs, seed, scale=64.0), taint)
        for name, readings in taint.readings.items():
            found = seen.readings.get(name, [])
            if [each.shape for each in readings] != [each.shape for each in found]:
                raise AnalysisError(
                    f"{name} is called in another way for another image, so what it reads cannot "
                    f"be known, and nothing is removed"
                )
            for expected, other in zip(readings, found, strict=True):
                _compare(name, expected, other, precision)


def _compare(name: str, expected: Reading, found: Reading, precision: Precision) -> None:
    clean = ~expected.tainted
    if not bool(clean.any()):
        return
    lost = clean & found.tainted
    if not bool(lost.any()):
        near = torch.isclose(
            expected.of(clean), found.of(clean), rtol=precision.exactness, atol=precision.floor
        )
        lost[clean] = ~near.all(dim=1)
    if bool(lost.any()):
        channel = int(lost.nonzero()[0])
        raise AnalysisError(
            f"channel {channel} that {name} reads looked constant but changes with the image: an "
            f"operator before it hides where its values come from, so nothing is removed"
        )
