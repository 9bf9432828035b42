"""One run of a network as its modules see it: who was called, with what, and where paths join."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.models.watching import OperatorMode
from toolchain.operators import operator_name
from toolchain.surgery.channels import Flow
from toolchain.surgery.running import Example, as_inputs, fresh, plainly

SUMS = frozenset({"add", "add_", "sub", "sub_", "cat", "stack"})
"""Operators (``aten``) in which two ways through a network come together."""
TURNING = frozenset({"permute", "transpose", "t"})
"""Operators that give dimensions in another order."""
CHANNELS_LAST = (nn.Linear.forward, nn.LayerNorm.forward)
"""What is given and gives (N, ..., C); a subclass may permute."""


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
    shape: tuple[int, ...] = ()
    """Of the first tensor that it gives."""
    size: tuple[int, ...] = ()
    """Height and width of that, without batch and channels; empty for vectors."""
    maps: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    """Identities of the maps, floating tensors with channels, that it is given, and gives."""
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
    dims: dict[int, int] = field(default_factory=dict)
    """Tensor -> along which dimension its channels lie, where layers tell."""

    def dim_of(self, tensor: int) -> int:
        """Return along which dimension channels lie: where layers tell, or else the second."""
        return self.dims.get(tensor, 1)


def observe(network: nn.Module, example: Example, flow: Flow) -> Run:
    """Run a copy of ``network`` on ``example``, in its own mode, and return what it shows.

    ``flow`` says where the channels that layers write lie. Where it lost them, as where something
    fixed is added to them, they lie where they lay in a tensor of the same shape that they were
    made from, and else where a layer reads them.
    """
    copied = fresh(network)
    watcher = _Watcher(copied, flow)
    with plainly(), watcher:
        copied(*watcher.begin(as_inputs(example)))
    watcher.end()
    return watcher.run


class _Watcher(OperatorMode):
    def __init__(self, network: nn.Module, flow: Flow) -> None:
        super().__init__()
        self.run, self._told = Run(), flow.dims_given
        self._stack: list[str] = []
        self._open: list[ModuleCall] = []
        self._alive: dict[int, Tensor] = {}
        """What depends on the input; held, so that no identity is given twice."""
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
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            leaves = tree_leaves((args, kwargs))
            tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            versions = tuple(tensor._version for tensor in tensors)
            call = ModuleCall(name, _ids(tensors), versions, _has_others(leaves))
            call.maps = _ids(filter(is_map, leaves)), ()
            if type(module).forward in CHANNELS_LAST and tensors:
                self.run.dims.setdefault(id(tensors[0]), tensors[0].ndim - 1)
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
            call.maps = call.maps[0], _ids(filter(is_map, leaves))
            call.shape = tuple(tensors[0].shape) if tensors else ()
            told = self._told.get(name, [])[len(self.run.calls[name]) - 1 :]
            for tensor, dim in zip(tensors, told[0] if told else (), strict=False):
                if dim is not None:
                    self.run.dims[id(tensor)] = dim
            if type(module).forward in CHANNELS_LAST:
                self.run.dims[id(tensors[0])] = tensors[0].ndim - 1
            call.writes_given = tuple(each._version for each in given) != call.versions
            self._note(tensors)

        return hook

    def end(self) -> None:
        """Tell sizes, once all layers have told where channels lie."""
        for call in (call for calls in self.run.calls.values() for call in calls if call.gave):
            dim = self.run.dim_of(call.gave[0])
            call.size = tuple(s for place, s in enumerate(call.shape) if place not in (0, dim))

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
        if isinstance(out, Tensor):
            self._carry(operator_name(func), args, out)
        if len(read) > 1 and operator_name(func) in SUMS:
            self.run.joins.add(owner)
        return out

    def _carry(self, operator: str, args: Any, out: Tensor) -> None:
        """Note that channels lie where they lay in what a tensor of the same shape is made from, or
        where they were turned to.
        """
        for leaf in tree_leaves(args):
            dim = self.run.dims.get(id(leaf)) if isinstance(leaf, Tensor) else None
            if dim is not None and operator in TURNING:
                self.run.dims[id(out)] = _turned(operator, args, dim)
                return
            if dim is not None and leaf.shape == out.shape:
                self.run.dims[id(out)] = dim
                return


def _turned(operator: str, args: Any, dim: int) -> int:
    """Return where a dimension lies after an operator of ``TURNING``."""
    ndim = args[0].ndim
    order = list(range(ndim))
    if operator == "permute":
        order = [place % ndim for place in args[1]]
    else:
        one, other = (0, ndim - 1) if operator == "t" else (place % ndim for place in args[1:3])
        order[one], order[other] = order[other], order[one]
    return order.index(dim)


def is_map(leaf: object) -> bool:
    """Tell whether something is a floating tensor with channels."""
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 1


def _ids(tensors: Iterable[object]) -> tuple[int, ...]:
    return tuple(map(id, tensors))


def _has_others(leaves: Iterable[object]) -> bool:
    return any(leaf is not None and not isinstance(leaf, Tensor | bool | int) for leaf in leaves)
