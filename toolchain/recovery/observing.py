"""One run of a network as its modules see it: who was called, with what, and where paths join."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.models.watching import OperatorMode
from toolchain.operators import operator_name
from toolchain.surgery.running import Example, as_inputs, fresh, plainly

SUMS = frozenset({"add", "add_", "sub", "sub_", "cat", "stack"})
"""Operators (``aten``) in which two ways through a network come together."""
CHANNELS_LAST = (nn.Linear.forward, nn.LayerNorm.forward)
"""What gives (N, ..., C)."""


@dataclass
class ModuleCall:
    """One call of a module."""

    name: str
    given: tuple[int, ...]
    """Identities of the tensors that it is given."""
    versions: tuple[int, ...]
    others: bool
    """True if it is given or gives what is no tensor, beside None."""
    gave: tuple[int, ...] = ()
    size: tuple[int, ...] = ()
    """Height and width of the first tensor that it gives; empty for vectors."""
    writes_given: bool = False
    """True if it writes into what it is given."""


@dataclass
class Run:
    """What one run showed, in the order of calls."""

    calls: dict[str, list[ModuleCall]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    """Modules as they are called first, the outer before the inner."""
    joins: set[str] = field(default_factory=set)
    """Modules in whose own code paths come together."""
    readers: dict[int, set[str]] = field(default_factory=dict)
    """Tensor -> modules whose own code reads it by an operator."""


def observe(network: nn.Module, example: Example) -> Run:
    """Run a copy of ``network`` on ``example``, in its own mode, and return what it shows."""
    copied = fresh(network)
    watcher = _Watcher(copied)
    with plainly(), watcher:
        copied(*watcher.begin(as_inputs(example)))
    return watcher.run


class _Watcher(OperatorMode):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.run = Run()
        self._stack: list[str] = []
        self._open: list[ModuleCall] = []
        self._alive: dict[int, Tensor] = {}
        """What depends on the input; held, so that no identity is given twice."""
        self._channels_last: set[int] = set()
        """Of these, what a linear layer or a layer norm gave: (N, ..., C)."""
        for name, module in network.named_modules():
            module.register_forward_pre_hook(self._entering(name), with_kwargs=True)
            module.register_forward_hook(self._leaving(name), with_kwargs=True)

    def begin(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the inputs, from which on values are followed."""
        self._note(inputs)
        return inputs

    def _note(self, leaves: Iterable[object]) -> None:
        self._alive.update((id(leaf), leaf) for leaf in leaves if isinstance(leaf, Tensor))

    def _entering(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            leaves = tree_leaves((args, kwargs))
            tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            versions = tuple(tensor._version for tensor in tensors)
            call = ModuleCall(name, _ids(tensors), versions, _has_others(leaves))
            if name not in self.run.calls:
                self.run.order.append(name)
            self.run.calls.setdefault(name, []).append(call)
            self._stack.append(name)
            self._open.append(call)

        return hook

    def _leaving(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, gave: Any) -> None:
            assert self._stack.pop() == name
            call, leaves = self._open.pop(), tree_leaves(gave)
            tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            call.gave = _ids(tensors)
            call.others |= _has_others(leaves)
            if type(module).forward in CHANNELS_LAST:  # a subclass may permute
                self._channels_last.update(call.gave)
            call.size = self._size(tensors[0]) if tensors else ()
            call.writes_given = tuple(each._version for each in given) != call.versions
            self._note(tensors)

        return hook

    def _size(self, tensor: Tensor) -> tuple[int, ...]:
        """Return the size of a tensor (N, C, ...), or (N, ..., C), without batch and channels."""
        return tuple(tensor.shape[1:-1] if id(tensor) in self._channels_last else tensor.shape[2:])

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        read = {id(leaf) for leaf in tree_leaves((args, kwargs)) if id(leaf) in self._alive}
        out = func(*args, **(kwargs or {}))
        owner = self._stack[-1] if self._stack else ""
        for each in read:
            self.run.readers.setdefault(each, set()).add(owner)
        if read:
            self._note(tree_leaves(out))
        if isinstance(out, Tensor) and any(
            isinstance(leaf, Tensor) and id(leaf) in self._channels_last and leaf.shape == out.shape
            for leaf in tree_leaves(args)
        ):
            self._channels_last.add(id(out))
        if len(read) > 1 and operator_name(func) in SUMS:
            self.run.joins.add(owner)
        return out


def _ids(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    return tuple(map(id, tensors))


def _has_others(leaves: Iterable[object]) -> bool:
    return any(leaf is not None and not isinstance(leaf, Tensor | bool | int) for leaf in leaves)
