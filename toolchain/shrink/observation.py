"""All that one round of the surgery sees of a network."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.errors import AnalysisError
from toolchain.shrink.channels import Flow
from toolchain.shrink.constants import Vector
from toolchain.shrink.flow import trace_flow
from toolchain.shrink.layers import Layer, layers_of
from toolchain.shrink.taint import Taint, trace_taint, trace_values

EXACTNESS = 1e-9
"""How far a constant may move between inputs, as a share of itself, in float64 arithmetic."""


@dataclass(frozen=True)
class Observation:
    """A network, its dependency classes, and what does not depend on the image."""

    layers: dict[str, Layer]
    flow: Flow
    constants: dict[str, dict[int, Vector]]
    """Layer -> constant input channel -> its values over all positions, calls and sizes."""
    written_live: dict[str, Tensor]
    """Layer -> bool (out,): True where the channel depends on the image."""
    check: Callable[[], None]
    """Raises :class:`AnalysisError` unless the constants hold on two random images."""
    unseen: Callable[[], dict[str, dict[int, Vector]]]
    """Gives the constants at a size that ``constants`` has not seen; empty if there is none."""


def observe(network: nn.Module, example: Tensor) -> Observation:
    """Look at ``network`` with inputs of the shape of ``example``, and of a second size if it can.

    All runs are in float64. Raises :class:`AnalysisError` if the network cannot be followed.
    """
    precise = copy.deepcopy(network).double()
    example = example.double()
    taints = [_taint(precise, example)]
    other = _other_size(example)
    try:
        taints.append(_taint(precise, other))
    except AnalysisError:
        other = example  # the network takes one size only
    flow = trace_flow(network, other.to(_dtype(network)))
    return Observation(
        layers=layers_of(network),
        flow=flow,
        constants={name: _constants(name, taints) for name in taints[0].readings},
        written_live=taints[0].written,
        check=functools.partial(_check_constants, precise, other, taints[-1]),
        unseen=functools.cache(functools.partial(_constants_unseen, precise, example)),
    )


def _taint(network: nn.Module, example: Tensor) -> Taint:
    try:
        return trace_taint(network, example)
    except AnalysisError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise AnalysisError(
            f"the network does not run on an input of shape {tuple(example.shape)} in float64 "
            f"({type(error).__name__}: {error})"
        ) from error


def _dtype(network: nn.Module) -> torch.dtype:
    return next((parameter.dtype for parameter in network.parameters()), torch.float32)


def _other_size(example: Tensor) -> Tensor:
    """Return an input of about three quarters of the size and odd in both directions."""
    if example.ndim != 4:
        return example
    height, width = (max(1, size * 3 // 4) | 1 for size in example.shape[2:])
    return example.new_zeros((*example.shape[:2], height, width))


def _constants_unseen(network: nn.Module, example: Tensor) -> dict[str, dict[int, Vector]]:
    """Return the constants at a third, larger size, by which combinations are checked."""
    if example.ndim != 4:
        return {}
    height, width = example.shape[2] * 9 // 8 + 3, example.shape[3] * 5 // 4 + 2
    try:
        taint = _taint(network, example.new_zeros((*example.shape[:2], height, width)))
    except AnalysisError:
        return {}  # the network takes one size only
    return {name: _constants(name, [taint]) for name in taint.readings}


def _constants(name: str, taints: list[Taint]) -> dict[int, Vector]:
    """Stack the maps of the layer's constant input channels over calls and sizes."""
    readings = [reading for taint in taints for reading in taint.readings.get(name, [])]
    clean = torch.stack([~reading.tainted for reading in readings]).all(dim=0)
    return {
        int(index): torch.cat([reading.maps[index] for reading in readings]).numpy()
        for index in clean.nonzero().flatten()
    }


def _check_constants(network: nn.Module, shape: Tensor, taint: Taint) -> None:
    """Run two random images: what was found constant must hold its value in both."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        image = torch.randn(shape.shape, generator=generator, dtype=shape.dtype) * 64
        seen = trace_values(network, image)
        for name, readings in taint.readings.items():
            for expected, found in zip(readings, seen.readings.get(name, []), strict=True):
                _compare(name, expected.tainted, expected.maps, found.maps)


def _compare(name: str, tainted: Tensor, expected: Tensor, found: Tensor) -> None:
    clean = ~tainted
    if not bool(clean.any()):
        return
    left, right = expected[clean], found[clean]
    near = torch.isclose(left, right, rtol=EXACTNESS, atol=1e-12, equal_nan=False)
    if not bool(near.all()):
        row = int((~near).any(dim=1).nonzero()[0])
        channel = int(clean.nonzero().flatten()[row])
        raise AnalysisError(
            f"channel {channel} that {name} reads looked constant but changes with the image: an "
            f"operator before it hides where its values come from, so nothing is removed"
        )
