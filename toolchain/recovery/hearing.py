"""What blocks are given and give while a network runs, told one by one: nothing piles up."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from toolchain.recovery.block import Block
from toolchain.recovery.observing import is_map

Call = tuple[str, int]
"""A block's name, and which of its calls: 0 is the first."""
Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
"""By place and by name."""


@dataclass(frozen=True)
class Heard:
    """One call of one block."""

    block: Block
    call: Call
    given: Arguments
    gave: Any

    @property
    def dims_given(self) -> tuple[int, ...]:
        """Along which dimension channels lie, of each map that is given."""
        return self._dims(0, self.given)

    @property
    def dims_gave(self) -> tuple[int, ...]:
        """The same of each map that the block gave."""
        return self._dims(1, self.gave)

    def _dims(self, side: int, value: Any) -> tuple[int, ...]:
        known = self.block.dims
        return known[self.call[1]][side] if known else (1,) * len(maps(value))


@contextmanager
def hearing(
    network: nn.Module, blocks: Sequence[Block], hear: Callable[[Heard], object]
) -> Iterator[None]:
    """Tell ``hear`` of each call of the ``blocks`` in one run of the network, as it ends."""
    modules = dict(network.named_modules())
    handles = []
    for block in blocks:
        ear = _Ear(block, hear)
        first, last = modules[block.modules[0]], modules[block.modules[-1]]
        handles.append(first.register_forward_pre_hook(ear.begin, with_kwargs=True))
        handles.append(last.register_forward_hook(ear.end))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Ear:
    def __init__(self, block: Block, hear: Callable[[Heard], object]) -> None:
        self.block, self.hear = block, hear
        self.open: list[Arguments] = []
        self.calls: Counter[str] = Counter()

    def begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given: Arguments = (args, kwargs)
        self.open.append(tree_map(_copied, given) if self.block.writes_given else given)

    def end(self, _: nn.Module, __: Any, gave: Any) -> None:
        name = self.block.name
        call = name, self.calls[name]
        self.calls[name] += 1
        self.hear(Heard(self.block, call, self.open.pop(), gave))


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def answer(modules: Mapping[str, nn.Module], block: Block, given: Arguments) -> Any:
    """Return what a block of ``modules``, which are all of a network by name, gives."""
    first, *rest = block.modules
    gave = modules[first](*given[0], **given[1])
    for name in rest:
        gave = modules[name](gave)
    return gave


def maps(value: Any) -> list[Tensor]:
    """Return the floating tensors with channels in what a block is given or gives."""
    return [leaf for leaf in tree_leaves(value) if is_map(leaf)]


def with_maps(given: Arguments, change: Callable[[int, Tensor], Tensor]) -> Arguments:
    """Return arguments in which the map number i is ``change(i, map)``."""
    count = itertools.count()
    changed: Arguments = tree_map(
        lambda leaf: change(next(count), leaf) if is_map(leaf) else leaf, given
    )
    return changed


def run(network: nn.Module, arguments: Arguments) -> Any:
    """Run a network without gradients."""
    with torch.no_grad():
        return network(*arguments[0], **arguments[1])
