"""What a random network is: frozen data that can be drawn, made smaller, printed and pasted."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields

SMALLEST, EXAMPLE, LARGEST = (11, 13), (16, 16), (19, 24)
"""(height, width) of the images that networks are tried on; two of them are odd."""

MOST_CHANNELS = 32

Shape = tuple[int, int, int]
"""(channels, height, width) of a value when the image has the smallest size."""


class Compact:
    """A repr that can be pasted and names only what differs from the defaults."""

    def __repr__(self) -> str:
        changed = [
            f"{item.name}={getattr(self, item.name)!r}"
            for item in fields(self)
            if item.default is MISSING or getattr(self, item.name) != item.default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


@dataclass(frozen=True, repr=False)
class Zeros(Compact):
    """What is zeroed in a layer. Levels are "none", "some" (40 %), "most" (all but one), "all"."""

    filters: str = "none"
    bias: bool = False  # that of the zeroed filters as well
    norm: bool = False  # scale and shift of the zeroed filters as well: no constant is left
    columns: str = "none"  # input channels that the layer multiplies by zero
    scales: str = "none"  # channels whose norm has a scale of zero, whatever their filter


@dataclass(frozen=True, repr=False)
class Convolution(Compact):
    """A convolution, its norm and its activation."""

    source: int = 0
    channels: int = 4
    kernel: int = 1
    stride: int = 1
    padding: str = "same"  # "none", "same" (keeps the size) or "large" (two pixels more)
    dilation: int = 1
    groups: int = 1  # 0 means depthwise; a number that does not fit is made smaller
    transposed: bool = False
    mode: str = "zeros"
    bias: bool = True
    norm: str = "none"
    activation: str = "none"
    zeros: Zeros = Zeros()
    weights: str = "own"  # how the layer comes by its weights, see WEIGHTS


@dataclass(frozen=True, repr=False)
class Block(Compact):
    """Several convolutions in a well-known pattern, see BLOCKS."""

    kind: str = "residual"
    source: int = 0
    channels: int = 4
    norm: str = "batch"
    activation: str = "relu"
    zeros: Zeros = Zeros()


@dataclass(frozen=True, repr=False)
class Function(Compact):
    """An operator on one value, with parameters (LEARNED) or without (FUNCTIONS)."""

    name: str
    source: int = 0


@dataclass(frozen=True, repr=False)
class Join(Compact):
    """An operator on two values; the second is resized, and projected if it must be."""

    kind: str = "add"
    source: int = 0
    other: int = 1
    zeros: Zeros = Zeros()  # in the projection


@dataclass(frozen=True, repr=False)
class Again(Compact):
    """An earlier step's module, called once more on another value."""

    step: int = 0
    source: int = 0


@dataclass(frozen=True, repr=False)
class Output(Compact):
    """One output of the network, see OUTPUTS."""

    kind: str = "convolution"
    source: int = 0
    zeros: Zeros = Zeros()


Step = Convolution | Block | Function | Join | Again


@dataclass(frozen=True, repr=False)
class Description(Compact):
    """A whole network; ``build`` makes the same weights of the same description every time."""

    steps: tuple[Step, ...] = ()
    outputs: tuple[Output, ...] = (Output(),)
    seed: int = 0
    aligned: bool = False
    """Layers of the same width zero the same channels, as pruning by dependency groups does."""
    second: str = "none"  # another input: an "image" of half the size, or a "vector" of five
    dtype: str = "float32"
    layout: str = "contiguous"  # or "channels_last", of the weights and the images
    form: str = (
        "tuple"  # of the outputs: "dict" or "nested", where "tuple" is one tensor or several
    )

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the images that the network takes."""
        if any(output.kind == "flattened" for output in self.outputs):
            return (EXAMPLE,)
        return (EXAMPLE, SMALLEST, LARGEST)
