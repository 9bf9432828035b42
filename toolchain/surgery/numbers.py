"""Numbers of channels in a network's code: where they stand, and what they must become.

While the network runs, its attributes hold numbers that tell where they come from
(:mod:`~toolchain.surgery.told`), and so do the numbers in the code of modules that are
interpreted. What a view, a split or a slice is given for a number of channels is noted with those
channels. Once some are gone, the number must be that of those that are left.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from toolchain.models.numbers import CHANGED
from toolchain.models.plain import subclass
from toolchain.models.rewriting import (
    RewritingError,
    arguments_of,
    changed,
    is_rewritten,
    own_class,
    traced,
    with_numbers,
)
from toolchain.operators.classes import Placed
from toolchain.surgery.channels import Use
from toolchain.surgery.told import FOLLOWS, Key, Told, tell_attributes

SIZED = ("view", "reshape", "expand", "unflatten")
PARTED = ("split", "split_with_sizes")
CUT = ("narrow", "__getitem__")


class Watching(Protocol):
    """What must be known of the run's channels."""

    numbers_follow: bool

    def placed(self, tensor: object) -> Placed | None:
        """Return where channels lie in ``tensor``, or None if no layer's channels are in it."""


def tell(network: nn.Module, in_code: Collection[str], values: dict[Key, int]) -> None:
    """Let numbers of ``network``, a copy, tell where they come from, in place; note them.

    ``in_code`` names modules whose code is interpreted; those that were rewritten always are.
    """
    graphs = {
        name: _graph_of(module)
        for name, module in network.named_modules()
        if name in in_code or is_rewritten(module)
    }
    tell_attributes(network, values)
    for name, module in [*network.named_modules()]:
        if name in graphs:
            _interpret(module, name, graphs[name], values)


def can_be_rewritten(network: nn.Module, name: str) -> bool:
    """Return True if the code of a module can be written anew."""
    try:
        _graph_of(network.get_submodule(name))
    except RewritingError:
        return False
    return True


def _graph_of(module: nn.Module) -> fx.Graph:
    """Return the graph of a module's code, with the numbers that it has now."""
    known: Mapping[str, tuple[int, int]] = vars(module).get(CHANGED, {})
    return changed(traced(module), {at: pair for at, pair in known.items() if ":" in at})


def _interpret(module: nn.Module, name: str, graph: fx.Graph, values: dict[Key, int]) -> None:
    kind = own_class(module)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return _Interpreter(self, graph, name, values).run(*arguments_of(kind, args, kwargs))

    module.__class__ = subclass(kind, {"forward": forward})


class _Interpreter(fx.Interpreter):
    """Runs a graph whose numbers tell their places."""

    def __init__(
        self, module: nn.Module, graph: fx.Graph, name: str, values: dict[Key, int]
    ) -> None:
        super().__init__(module, graph=graph)
        self._name, self._values = name, values
        self.extra_traceback = False

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)

        def told(place: str, number: int) -> int:
            if number < 2 and number > -2:
                return number
            self._values[self._name, place] = number
            return Told.of(number, (self._name, place))

        return with_numbers(n, args, kwargs, told)


class Numbers(TorchFunctionMode):
    """Notes the numbers of channels that operators are given."""

    def __init__(self, network: nn.Module, watcher: Watching) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self.unknown: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
        """Module -> operators in its code with numbers that do not tell, and their channels."""
        self._watcher = watcher
        self._names = {id(module): name for name, module in network.named_modules()}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in SIZED or name in PARTED or name in CUT:
            return self._run(name, func, args, kwargs)
        out = func(*args, **kwargs)
        if name == "size" or (name == "__get__" and func.__self__ is Tensor.shape):
            return _shape(out)
        return out

    def _run(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else None
        if not isinstance(x, Tensor):
            return func(*args, **kwargs)
        before = self._watcher.placed(x)
        if name in CUT or name in PARTED:
            given = _cuts(name, x, args, kwargs)
            along = [number for dim, number, *_ in given if before and dim == before.dim]
            self._watcher.numbers_follow = bool(along) and all(map(_may_change, along))
        try:
            out = func(*args, **kwargs)
        finally:
            self._watcher.numbers_follow = False
        if name in SIZED:
            after = self._watcher.placed(out)
            sizes = [] if after is None else list(_sizes(name, x, args, kwargs, out))
            self._note(name, after, [(d, n, 0, int(out.shape[d]), True) for d, n in sizes])
        elif before is not None:
            self._note(name, before, given)
        return out

    def _note(self, name: str, placed: Placed | None, given: Iterable[Given]) -> None:
        if placed is None:
            return
        for dim, number, start, stop, needed in given:
            nodes = tuple(placed.nodes[start:stop]) if dim == placed.dim else None
            if isinstance(number, Told):
                if number.may_change:
                    sign = -1 if number < 0 else 1
                    use = Use(name.strip("_"), number.form, number.keys, nodes, sign, needed)
                    self.uses.append(use)
            elif nodes is not None and number > 1:
                module = self._module()
                if module is not None:
                    self.unknown.setdefault(module, []).append((name, nodes))

    def _module(self) -> str | None:
        """Return the module whose code runs."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            owner = frame.f_locals.get("self")
            if isinstance(owner, nn.Module) and id(owner) in self._names:
                return str(self._names[id(owner)])
            frame = frame.f_back
        return None


Given = tuple[int, int, int, int, bool]
"""A dimension, a number given for it, and of which places it is the number: from, to. True if one
must be left of them."""


def _may_change(number: int) -> bool:
    return isinstance(number, Told) and number.may_change


def _shape(out: Any) -> Any:
    if isinstance(out, torch.Size):
        return torch.Size([Told.of(side, FOLLOWS) for side in out])
    return Told.of(out, FOLLOWS) if type(out) is int else out


def _flat(values: Sequence[Any]) -> list[Any]:
    return list(values[0]) if values and isinstance(values[0], tuple | list) else list(values)


def _sizes(
    name: str, x: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Tensor
) -> Iterator[tuple[int, int]]:
    """Yield each dimension of the result, and the size that was given for it."""
    if name == "unflatten":
        dim = args[1] if len(args) > 1 else kwargs["dim"]
        sizes = args[2] if len(args) > 2 else kwargs["sizes"]
        first = dim % x.ndim if isinstance(dim, int) else 0
    else:
        sizes = _flat(args[1:]) or _flat(list(kwargs.values()))
        first = 0
    for at, size in enumerate(sizes):
        if isinstance(size, int) and size > 0 and first + at < out.ndim:
            yield first + at, size


def _cuts(name: str, x: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Given]:
    """Return the numbers by which channels or positions are cut."""
    if name == "__getitem__":
        return list(_slices(x, args[1]))
    dim = args[2 if name in PARTED else 1] if len(args) > (2 if name in PARTED else 1) else None
    dim = kwargs.get("dim", 0) if dim is None else dim
    dim = int(dim) % x.ndim
    if name == "narrow":
        start = args[2] if len(args) > 2 else kwargs["start"]
        length = args[3] if len(args) > 3 else kwargs["length"]
        if not isinstance(start, int):
            return []
        at = int(start) % max(1, x.shape[dim])
        first = [(dim, start, 0, at, False)] if at else []
        return [*first, (dim, length, at, at + int(length), True)]
    sizes = args[1] if len(args) > 1 else next(v for k, v in kwargs.items() if k != "dim")
    if isinstance(sizes, int):
        whole = range(0, int(x.shape[dim]) - int(sizes) + 1, int(sizes))
        return [(dim, sizes, at, at + int(sizes), True) for at in whole]
    found, at = list[Given](), 0
    for size in sizes:
        found.append((dim, size, at, at + int(size), True))
        at += int(size)
    return found


def _slices(x: Tensor, index: Any) -> Iterator[Given]:
    items = index if isinstance(index, tuple) else (index,)
    if not all(each is None or each is Ellipsis or isinstance(each, slice | int) for each in items):
        return
    taken = sum(isinstance(each, slice | int) for each in items)
    dim = 0
    for each in items:
        if each is Ellipsis:
            dim += x.ndim - taken
        elif isinstance(each, slice):
            yield from _bounds(dim, int(x.shape[dim]), each)
        if isinstance(each, slice | int) and not isinstance(each, bool):
            dim += 1


def _bounds(dim: int, width: int, cut: slice) -> Iterator[Given]:
    """Yield a slice's bounds: one from the front counts what lies before it, else what follows."""
    for bound in (cut.start, cut.stop):
        if isinstance(bound, int) and bound and abs(bound) < width:
            at = int(bound)
            yield (dim, bound, 0, at, False) if at > 0 else (dim, bound, at % width, width, True)
