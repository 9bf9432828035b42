"""The traits of an operator, and what its rules are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor

from toolchain.operators.classes import Classes, Nodes, Placed


class Watcher(Protocol):
    """What channel rules may ask of the run."""

    classes: Classes
    numbers_follow: bool
    """True while an operator runs whose numbers of channels can be changed with the channels."""

    def get(self, tensor: object) -> Nodes | None:
        """Return the nodes of ``tensor``'s dimension 1, or None if its channels lie elsewhere."""

    def placed(self, tensor: object) -> Placed | None:
        """Return where channels lie in ``tensor``, or None if no layer's channels are in it."""

    def divide(self, operator: str, parts: Sequence[Nodes]) -> None:
        """Remember that an operator's parts must lose equally many channels each."""

    def is_fixed(self, index: Tensor) -> bool:
        """Return True if ``index`` stands in the code, or is a buffer or a view of one."""

    def picks(self, operator: str, index: Tensor, nodes: Nodes) -> bool:
        """Return True if ``index``, positions among ``nodes``, is a buffer that can be changed."""

    def multiply(self, operator: str, nodes: Nodes) -> None:
        """Remember that an operator sums over channels, each a product of two factors."""

    def is_state(self, tensor: Tensor) -> bool:
        """Return True for zeros with which a recurrent module begins, as wide as it is."""

    def adds_bias(self, tensor: Tensor, nodes: Nodes) -> bool:
        """Return True if ``tensor`` is the bias of the layer that wrote ``nodes``."""

    def join_tensor(self, tensor: Tensor, nodes: Nodes) -> bool:
        """Tie a parameter or buffer with one entry per channel to ``nodes``."""


@dataclass(frozen=True)
class Call:
    """One operator call."""

    watcher: Watcher
    name: str
    """The operator's ``aten`` name, without overload."""
    args: tuple[Any, ...]
    inputs: list[Tensor]
    outputs: list[Tensor]
    written: list[Tensor]
    """Arguments that the operator changes in place."""
    func: Callable[..., Any] | None = None
    """The operator itself."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def out(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    @property
    def x(self) -> Tensor:
        """The first argument."""
        first: Tensor = self.args[0]
        return first

    @property
    def x_nodes(self) -> Nodes | None:
        """The nodes of the first argument's dimension 1."""
        return self.watcher.get(self.args[0])

    @property
    def x_placed(self) -> Placed | None:
        """Where channels lie in the first argument."""
        return self.watcher.placed(self.args[0])

    def dim(self, position: int, default: int = 0) -> int:
        """Return the argument at ``position`` as a dimension counted from the front."""
        value = self.args[position] if len(self.args) > position else default
        return int(value) % self.x.ndim


ChannelRule: TypeAlias = Callable[[Call], "Nodes | Placed | list[Placed] | tuple[()] | None"]
"""Returns the output's nodes (of dimension 1, or placed along another; one for each output where
they differ), or None when this call does not keep channels apart. An empty tuple says that nothing
is left of them, though they are kept apart: :meth:`Watcher.multiply` was told what became of them.
"""

NanRule: TypeAlias = Callable[[Any, tuple[Any, ...], Any], Any]
"""Runs the operator (func, args, kwargs) so that the output is NaN exactly where it depends on
what is NaN in the arguments."""

MacsRule: TypeAlias = Callable[[tuple[Any, ...], Any], int]
"""Returns the multiply-accumulates of a call from its arguments and its result; values may be
missing (tensors on the device ``meta``), shapes are there."""

LayerKind: TypeAlias = Literal["", "convolution", "product", "batch_norm"]


@dataclass(frozen=True)
class Operator:
    """What is known of one operator; what is not known protects."""

    channels: ChannelRule | None = None
    """How it hands channels on; None where it does not keep them apart, or nobody knows."""
    nan: NanRule | Literal["carried", "unknown"] = "unknown"
    """``carried`` if its result is NaN wherever it depends on a NaN; a rule where that needs a
    correction (a weight of zero hides what it multiplies). Of any other, all that it gives counts
    as dependent on the image."""
    macs: MacsRule | int | None = None
    """Multiply-accumulates of a call; None where no rule says them."""
    layer: LayerKind = ""
    """The layer that it computes, linear in what it reads; or nothing."""
    multiplies: Literal["", "product", "attention"] = ""
    """How it multiplies two tensors that may both depend on the input, or nothing."""
    shape_only: bool = False
    """True if it takes a tensor for its shape and type alone."""
    view: bool = False
    """True if it computes nothing: what it gives still is the parameter that it looks at."""
    escapes: bool = False
    """True if values become Python numbers or shapes by it."""
    picks: bool = False
    """True if the values of a mask among its arguments, but not of the rest, become a shape."""
