"""Along which dimension channels lie in what modules give, as a run of the network shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.surgery.watching import Watcher

Dims = tuple[int | None, ...]
"""Of each tensor that a module gives: where channels lie; None if no layer's are known in it."""


def note_boundaries(network: nn.Module, watcher: Watcher) -> dict[str, list[Dims]]:
    """Return what a run of ``network`` under ``watcher`` will fill in, by module and call.

    The network is given hooks, in place: it is a copy.
    """
    found: dict[str, list[Dims]] = {}

    def noting(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _given: Any, gave: Any) -> None:
            tensors = [leaf for leaf in tree_leaves(gave) if isinstance(leaf, Tensor)]
            found.setdefault(name, []).append(tuple(map(watcher.dim_of, tensors)))

        return hook

    for name, module in network.named_modules():
        module.register_forward_hook(noting(name))
    return found
