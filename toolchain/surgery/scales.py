"""Attention that divides by the root of its queries' width, which no operator behind it shows."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from toolchain.records.reasons import Reason
from toolchain.surgery.watching import Watcher

ATTENTION = "scaled_dot_product_attention"


class Scales(TorchFunctionMode):
    """Protects the channels of queries and keys where the call does not say the scale."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == ATTENTION and kwargs.get("scale") is None:
            given = [*args[:2], kwargs.get("query"), kwargs.get("key")]
            for each in given:
                placed = self._watcher.placed(each)
                if isinstance(each, Tensor) and placed and placed.dim == each.ndim - 1:
                    reason = Reason("operator", operator=ATTENTION)
                    self._watcher.classes.protect(placed.nodes, reason)
        return func(*args, **kwargs)
