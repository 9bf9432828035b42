"""Calls that no operator behind them shows whole: what they do with channels is named by them.

PyTorch takes them apart into plain arithmetic before an operator is watched. Attention then divides
by the root of its queries' width, a norm by the root of a mean over channels, and
``nn.MultiheadAttention`` reads weights that belong to no layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from toolchain.records.reasons import Reason
from toolchain.surgery.watching import Watcher

ATTENTION = "scaled_dot_product_attention"
RMS_NORM = "rms_norm"
MULTIHEAD = "multi_head_attention_forward"


class Scales(TorchFunctionMode):
    """Protects the channels that such calls mix, or whose number they use, by the call's name."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        for each, first in _mixed(name, args, kwargs):
            placed = self._watcher.placed(each)
            if placed is not None and placed.dim >= first:
                self._watcher.classes.protect(placed.nodes, Reason("operator", operator=name))
        return func(*args, **kwargs)


def _mixed(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[Tensor, int]]:
    """Yield what a call is given whose channels must stay, if they lie along a dimension from the
    one that is told on."""
    given = [each for each in (*args[:3], *kwargs.values()) if isinstance(each, Tensor)]
    if name == ATTENTION and kwargs.get("scale") is None:
        values = [args[2] if len(args) > 2 else kwargs.get("value")]
        yield from ((x, x.ndim - 1) for x in given[:3] if all(x is not value for value in values))
    elif name == RMS_NORM and given:
        shape = args[1] if len(args) > 1 else kwargs["normalized_shape"]
        yield given[0], given[0].ndim - len(shape)
    elif name == MULTIHEAD:
        yield from ((x, x.ndim - 1) for x in given[:3])
