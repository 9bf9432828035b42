"""The ledger of one surgery: what became of every zeroed filter, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from toolchain.records.reasons import Reason
from toolchain.records.stages import FilterVerdict, LayerChange, Verdict
from toolchain.surgery.layers import Layer


class Origins:
    """Which channel of the network at the start each channel of each layer is."""

    def __init__(self, layers: dict[str, Layer]) -> None:
        self._outputs = {name: list(range(layer.out_channels)) for name, layer in layers.items()}
        self._inputs = {name: list(range(layer.in_channels)) for name, layer in layers.items()}

    def output(self, layer: str, channel: int) -> int:
        """Return what an output channel was at the start."""
        return self._outputs[layer][channel]

    def inputs(self, layer: str, channels: Iterable[int]) -> tuple[int, ...]:
        """Return what some input channels were at the start, in order."""
        return tuple(sorted(self._inputs[layer][channel] for channel in channels))

    def now(self, layer: str, output: int) -> int:
        """Return where an output channel of the start is now."""
        return self._outputs[layer].index(output)

    def narrow(self, layer: str, kept_out: Sequence[int], kept_in: Sequence[int]) -> None:
        """Follow a layer of which only these channels are left."""
        self._outputs[layer] = [self._outputs[layer][channel] for channel in kept_out]
        self._inputs[layer] = [self._inputs[layer][channel] for channel in kept_in]


@dataclass
class Ledger:
    """Collects verdicts over the rounds; indices are those of the network at the start."""

    origins: Origins

    zeroed: dict[str, list[int]]
    """Layer -> its filters with only zero weights, at the start."""
    widths: dict[str, tuple[str, int, int]]
    """Layer -> kind, channels out and in at the start."""
    verdicts: dict[tuple[str, int], tuple[Verdict, Reason]] = field(default_factory=dict)
    removed_live: int = 0

    @classmethod
    def open(cls, layers: dict[str, Layer]) -> Ledger:
        """Begin with what the network is."""
        return cls(
            origins=Origins(layers),
            zeroed={
                name: layer.zero_filters().nonzero().flatten().tolist()
                for name, layer in layers.items()
            },
            widths={
                name: (layer.kind, layer.out_channels, layer.in_channels)
                for name, layer in layers.items()
            },
        )

    def remove(self, layer: str, index: int, verdict: Verdict, reason: Reason) -> None:
        """Enter that a filter went."""
        if index in self.zeroed.get(layer, []):
            self.verdicts[layer, index] = (verdict, reason)
        else:
            self.removed_live += 1

    def keep(self, layer: str, index: int, reason: Reason) -> None:
        """Enter that a zeroed filter stays."""
        self.verdicts[layer, index] = ("kept", reason)

    def filters(self) -> tuple[FilterVerdict, ...]:
        """Return all zeroed filters with their verdicts, in the order of the network."""
        return tuple(
            FilterVerdict(layer, index, *self.verdicts[layer, index])
            for layer, indices in self.zeroed.items()
            for index in indices
        )

    def layers(self, after: dict[str, Layer]) -> tuple[LayerChange, ...]:
        """Return every layer before and after."""
        return tuple(self._change(name, layer) for name, layer in after.items())

    def _change(self, name: str, layer: Layer) -> LayerChange:
        kind, out_channels, in_channels = self.widths[name]
        found = [self.verdicts[name, index][0] for index in self.zeroed.get(name, [])]
        return LayerChange(
            layer=name,
            kind=kind,
            out_channels_before=out_channels,
            out_channels_after=layer.out_channels,
            in_channels_before=in_channels,
            in_channels_after=layer.in_channels,
            zeroed_filters=len(found),
            dropped=found.count("dropped"),
            folded=found.count("folded"),
            carried=found.count("carried"),
            kept=found.count("kept"),
        )
