"""Does what a network is given fit what it has learnt? Its first batch norms know.

Batch norm keeps the mean and the variance of what it met in training, channel by channel. Inputs
of another scale, such as pixels in place of numbers around 1, come to the first of them with a
variance that is thousands of times another, whatever they show. Photos and smooth shapes do not
differ so: in the first three of the ten published EResFDs and EXTDs, on both, medians over channels
lie from 1/25 to 28, and means are at most 1.7 deviations off. With torchvision's scale in place of
theirs, the first is left with 1/800 to 1/5,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

FIRST = 3
"""So many batch norms are looked at, in the order in which they run: later ones see less of it."""
MOST_INPUTS = 16
LARGEST_DEVIATIONS = 5.0
"""Of a mean, the median over channels: more is as good as never met in training."""
LARGEST_TIMES = 100.0
"""Of a variance, either way, the median over channels."""


@dataclass(frozen=True)
class LayerFit:
    """What a batch norm met, beside what it has learnt; medians over its channels."""

    layer: str
    """Its name in the network."""
    place: int
    """Among the batch norms, as they run; from 1."""
    deviations: float
    """By which the mean is off, in standard deviations as learnt."""
    times: float
    """The variance, as a multiple of that learnt."""

    @property
    def fits(self) -> bool:
        """True unless the inputs cannot be such as it learnt from."""
        usual = 1 / LARGEST_TIMES <= self.times <= LARGEST_TIMES
        return usual and self.deviations <= LARGEST_DEVIATIONS


@dataclass(frozen=True)
class Fitting:
    """The first batch norms that have statistics; none where there are none."""

    layers: tuple[LayerFit, ...]

    @property
    def fits(self) -> bool:
        """True unless one says that the inputs do not fit."""
        return all(layer.fits for layer in self.layers)

    @property
    def warning(self) -> str | None:
        """A sentence with figures, of the first layer that says so; None if all fits."""
        wrong = next((layer for layer in self.layers if not layer.fits), None)
        if wrong is None:
            return None
        return (
            f"INPUT DOES NOT FIT the network: at batch norm {wrong.place} ({wrong.layer}) the "
            f"inputs' mean is {wrong.deviations:.2g} deviations from what it has learnt, and their "
            f"variance {_times(wrong.times)} what it has learnt. int8 would be calibrated on what "
            f"the network never met; say what it is given by scale, mean and std of [input] in a "
            f"recipe."
        )


def _times(ratio: float) -> str:
    """Return "2,704 times" or "1/1,600 of", with two digits."""
    if ratio >= 1:
        return f"{float(f'{ratio:.2g}'):,.0f} times"
    return f"1/{float(f'{1 / max(ratio, 1e-30):.2g}'):,.0f} of"


@dataclass
class _Met:
    """Sums over all that a batch norm was given, per channel."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, values: Tensor) -> None:
        flat = values.double().transpose(0, 1).flatten(1)
        self.count += flat.shape[1]
        self.total = self.total + flat.sum(1)
        self.squares = self.squares + flat.square().sum(1)


def measure_fitting(network: nn.Module, inputs: Sequence[tuple[Tensor, ...]]) -> Fitting:
    """Run the network on inputs, at most :data:`MOST_INPUTS` of them, and compare statistics.

    Layers without learnt ones are passed over: fresh ones, and those of files in which the mean is
    zero because it went into the shift.
    """
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and _has_learnt(module)
    }
    met: dict[str, _Met] = {}
    step = max(1, -(-len(inputs) // MOST_INPUTS))
    with _watched(norms, met), torch.inference_mode():
        for tensors in inputs[::step]:
            network(*tensors)
    every = enumerate(met, start=1)
    found = [_fit(name, place, norms[name], met[name]) for place, name in every if place <= FIRST]
    return Fitting(tuple(layer for layer in found if layer is not None))


def _has_learnt(norm: _BatchNorm) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    return mean is not None and variance is not None and bool(mean.any())


@contextmanager
def _watched(norms: dict[str, _BatchNorm], met: dict[str, _Met]) -> Iterator[None]:
    def watch(name: str) -> Any:
        def add(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            met.setdefault(name, _Met()).add(given[0])

        return add

    hooks = [norm.register_forward_pre_hook(watch(name)) for name, norm in norms.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _fit(name: str, place: int, norm: _BatchNorm, met: _Met) -> LayerFit | None:
    """Return how a layer fits; None where all of its channels are constant."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean = met.total / met.count
    variance = met.squares / met.count - mean.square()
    learnt = norm.running_var.double() + norm.eps
    varies = variance > 1e-12 * (met.squares / met.count)  # else a channel of zeroed filters
    if not bool(varies.any()):
        return None
    off = (mean - norm.running_mean.double()).abs() / learnt.sqrt()
    times = variance / learnt
    return LayerFit(name, place, _median(off[varies]), _median(times[varies]))


def _median(values: Tensor) -> float:
    return float(values.median())
