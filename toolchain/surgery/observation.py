"""All that one round of the surgery sees of a network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.errors import AnalysisError
from toolchain.records.reasons import Reason
from toolchain.surgery.agreement import random_inputs
from toolchain.surgery.channels import Flow
from toolchain.surgery.flow import trace_flow
from toolchain.surgery.layers import Layer, layers_of
from toolchain.surgery.packing import Vector
from toolchain.surgery.precision import Precision
from toolchain.surgery.running import Inputs, Working, shape_words
from toolchain.surgery.sizes import smaller_size, third_size
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
    precision: Precision
    """The type that all runs were in."""
    check: Callable[[], None]
    """Raises :class:`AnalysisError` unless the constants hold on two random images."""
    unseen: Callable[[], dict[str, dict[int, Vector]]]
    """Gives the constants at a size that ``constants`` has not seen; empty if there is none."""


@dataclass(frozen=True)
class Sizes:
    """Inputs, used for their shapes, at which a network is looked at."""

    asked: Inputs
    other: Inputs | None
    """A second size; None if the network takes only one."""
    third: Inputs | None
    """A size by which combinations are checked."""

    @classmethod
    def near(cls, working: Working, inputs: Inputs) -> Sizes:
        """Find sizes that the network takes, near that of ``inputs``."""
        step("other sizes")
        other = smaller_size(working, inputs)
        return cls(inputs, other, third_size(working, inputs, other))

    @property
    def looked_at(self) -> list[Inputs]:
        """The sizes that constants are read at."""
        return [self.asked, *([] if self.other is None else [self.other])]


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
    flow = trace_flow(network, last)
    for name, reason in held.items():
        flow.classes.protect(flow.out_nodes[name], reason)
    return Observation(
        layers=layers_of(network),
        flow=flow,
        constants={name: _constants(name, taints) for name in taints[0].readings},
        absorbs={
            name: name in with_bias
            and all(r.keeps_uniform for taint in taints for r in taint.readings[name])
            for name in taints[0].readings
        },
        written_live=taints[0].written,
        precision=precision,
        check=functools.partial(_check_constants, network, last, taints[-1], precision),
        unseen=functools.cache(functools.partial(_constants_unseen, network, sizes, taints[0])),
    )


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


def _constants_unseen(
    network: nn.Module, sizes: Sizes, first: Taint
) -> dict[str, dict[int, Vector]]:
    """Return the constants at the third size, by which combinations are checked."""
    if sizes.third is None:
        return {}
    taint = _taint(network, sizes.third)
    _demand_same_path(sizes.asked, first, sizes.third, taint)
    return {
        name: _constants(name, [taint])
        for name, readings in taint.readings.items()
        if [r.keeps_uniform for r in readings] == [r.keeps_uniform for r in first.readings[name]]
    }


def _constants(name: str, taints: list[Taint]) -> dict[int, Vector]:
    """Stack the maps of the layer's constant input channels over calls and sizes."""
    readings = [reading for taint in taints for reading in taint.readings.get(name, [])]
    clean = torch.stack([~reading.tainted for reading in readings]).all(dim=0)
    return {
        int(index): torch.cat([reading.maps[index] for reading in readings]).double().numpy()
        for index in clean.nonzero().flatten()
    }


def _check_constants(
    network: nn.Module, inputs: Inputs, taint: Taint, precision: Precision
) -> None:
    """Run two random images: what was found constant must hold its value in both."""
    for seed in range(2):
        step("constants on a random input")
        seen = trace_values(network, random_inputs(inputs, seed, scale=64.0))
        for name, readings in taint.readings.items():
            found = seen.readings.get(name, [])
            if [r.maps.shape for r in readings] != [r.maps.shape for r in found]:
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
    left, right = expected.maps[clean], found.maps[clean]
    near = torch.isclose(left, right, rtol=precision.exactness, atol=precision.floor)
    if not bool(near.all()):
        row = int((~near).any(dim=1).nonzero()[0])
        channel = int(clean.nonzero().flatten()[row])
        raise AnalysisError(
            f"channel {channel} that {name} reads looked constant but changes with the image: an "
            f"operator before it hides where its values come from, so nothing is removed"
        )
