"""Inputs that are tried where nothing is told: the likeliest first."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from toolchain.models.arguments import Arguments, outputs_of, required
from toolchain.models.plain import LAYERS
from toolchain.models.registry import Built
from toolchain.models.told_inputs import input_size

CHANNELS = (3, 1, 4)
"""Channels of an image that are tried after those of the network's first convolutions."""


def candidates(
    built: Built, size: tuple[int, int] | None
) -> Iterator[tuple[Arguments, str | None]]:
    """Yield what a network may be called with, the likeliest first, and a note on it."""
    network = built.network
    count = len(required(network))
    for shape, note in _shapes(built, size):
        yield Arguments(tuple(torch.zeros(shape) for _ in range(max(1, count)))), note
    if count != 1:
        return
    for shape, _ in _shapes(built, size):
        asked = _asked_keys(network, shape)
        if asked:
            keys = ", ".join(map(repr, asked))
            found = Arguments(({key: torch.zeros(shape) for key in asked},))
            yield found, f"The network is called with a dictionary of {keys}."


def _shapes(
    built: Built, size: tuple[int, int] | None
) -> Iterator[tuple[tuple[int, ...], str | None]]:
    """Yield shapes of an input: by ``input_size``, then by the channels of first layers."""
    told = input_size(built.places)
    if told is not None and len(told) > 2:
        channels, *own = told
        yield (1, channels, *(size if size and len(own) == 2 else own)), None
        return
    images, modules = size or told, [*built.network.modules()]
    if all(isinstance(module, nn.Linear) for module in modules if isinstance(module, LAYERS)):
        first = next(module for module in modules if isinstance(module, nn.Linear))
        yield (1, first.in_features), None
    if images is None:
        return
    widths = [module.in_channels for module in modules if isinstance(module, nn.Conv2d)]
    usual = widths[0] if widths else None
    for channels in dict.fromkeys([*widths[:1], *CHANNELS, *sorted(set(widths))]):
        note = None
        if usual is not None and channels != usual:
            note = (
                f"The network takes {channels} channels, found by trying; its first convolution "
                f"reads {usual}. If that is wrong, give --input-shape."
            )
        yield (1, channels, *images), note


class _Asked(dict[str, Tensor]):
    """Gives an image for every key, and remembers which were asked for."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def __missing__(self, key: str) -> Tensor:
        self[key] = torch.zeros(self.shape)
        return self[key]


def _asked_keys(network: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """Return the keys that a network reads of its argument, if it runs on a dictionary."""
    asked = _Asked(shape)
    try:
        outputs_of(network, Arguments((asked,)))
    except Exception:  # a stranger's code may raise anything
        return []
    return [key for key in asked if isinstance(key, str)]
