"""From a description to a network."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from networks.blocks import (
    BLOCKS,
    JOINS,
    OUTPUTS,
    SAME_CHANNELS,
    join_resized,
    resize,
    weighted_sum,
)
from networks.builder import Builder, Unfitting, as_map
from networks.descriptions import (
    Again,
    Block,
    Convolution,
    Description,
    Function,
    Join,
    Shape,
    Step,
)
from networks.functions import FUNCTIONS
from networks.layers import LEARNED, NEEDS, Apply

LAYOUTS = {"contiguous": "contiguous_format", "channels_last": "channels_last"}


class Network(nn.Module):
    """What a description describes."""

    def __init__(
        self, builder: Builder, heads: list[tuple[nn.Module, int]], form: str = "tuple"
    ) -> None:
        super().__init__()
        self.steps = nn.ModuleList(builder.modules)
        self.wiring = builder.wiring
        self.heads = nn.ModuleList(head for head, _ in heads)
        self.read = [source for _, source in heads]
        self.form = form

    def forward(self, image: Tensor, *others: Tensor) -> Any:
        values = [*map(as_map, others), image]
        for module, sources in self.wiring:
            values.append(self.steps[module](*(values[source] for source in sources)))
        pairs = zip(self.heads, self.read, strict=True)
        out = tuple(head(values[source]) for head, source in pairs)
        if self.form == "dict":
            return {f"level_{number}": value for number, value in enumerate(out)}
        if self.form == "nested":
            return {"levels": [(value,) for value in out], "count": len(out), "aux": None}
        return out if len(out) > 1 else out[0]


def module_of(builder: Builder, step: Convolution | Block | Function, shape: Shape) -> nn.Module:
    """What a step does to one value of this shape."""
    if isinstance(step, Convolution):
        return builder.unit(step, shape)
    if isinstance(step, Block):
        return BLOCKS[step.kind](builder, step, shape)
    if step.name in NEEDS and not NEEDS[step.name](*shape):
        raise Unfitting
    learned = LEARNED.get(step.name)
    return learned(shape[0]) if learned else Apply(FUNCTIONS[step.name])


def place_join(builder: Builder, step: Join) -> None:
    first, (channels, _, _) = builder.read(step.source)
    second, shape = builder.read(step.other)
    projection = None
    if step.kind != "concatenate" and shape[0] not in (1, channels):
        projection = builder.unit(Convolution(channels=channels, zeros=step.zeros), shape)
    if step.kind in SAME_CHANNELS and shape[0] == 1 != channels:
        raise Unfitting
    if step.kind == "weighted_sum":
        join = weighted_sum(builder.fusion, len(builder.modules) % 9)
    else:
        join = Apply(JOINS[step.kind])
    builder.place(Apply(join_resized, join, projection), first, second)


def place_again(builder: Builder, step: Again) -> None:
    first_read: dict[int, int] = {}
    for module, sources in builder.wiring:
        if len(sources) == 1:
            first_read.setdefault(module, sources[0])
    if not first_read:
        raise Unfitting
    module = list(first_read)[-1 - step.step % len(first_read)]
    channels, *size = builder.shape(first_read[module])
    source, shape = builder.read(step.source)
    if shape[0] != channels:
        source = builder.place(builder.unit(Convolution(channels=channels), shape), source)
    if shape[1:] != tuple(size):
        source = builder.place(Apply(resize), source, first_read[module])
    builder.call(module, source)


def place(builder: Builder, step: Step) -> None:
    if isinstance(step, Join):
        place_join(builder, step)
    elif isinstance(step, Again):
        place_again(builder, step)
    else:
        source, shape = builder.read(step.source)
        builder.place(module_of(builder, step, shape), source)


def build(description: Description) -> Network:
    """The network that a description describes, in eval mode, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(description.seed)
        builder = Builder(description)
        for step in description.steps:
            with suppress(Unfitting):
                place(builder, step)
        heads = []
        for output in description.outputs:
            source, shape = builder.read(output.source)
            heads.append((OUTPUTS[output.kind](builder, shape, output.zeros), source))
    network = Network(builder, heads, description.form).eval()
    layout = getattr(torch, LAYOUTS[description.layout])
    return network.to(getattr(torch, description.dtype)).to(memory_format=layout)
