"""Along which dimension channels lie in what modules give, as a run of the network shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.surgery.watching import Watcher

Dims = tuple[int | None, ...]
"""Of each tensor that a module gives: where channels lie; None if no layer's are known in it."""


@contextlib.contextmanager
def noting_boundaries(
    network: nn.Module, watcher: Watcher, found: dict[str, list[Dims]]
) -> Iterator[None]:
    """Let a run of ``network`` under ``watcher`` fill ``found``, by module and call.

    The hooks go with the run: they hold the watcher, which holds all tensors of it.
    """

    def noting(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _given: Any, gave: Any) -> None:
            tensors = [leaf for leaf in tree_leaves(gave) if isinstance(leaf, Tensor)]
            found.setdefault(name, []).append(tuple(map(watcher.dim_of, tensors)))

        return hook

    hooks = [module.register_forward_hook(noting(name)) for name, module in network.named_modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
