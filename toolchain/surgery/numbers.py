"""Numbers of channels in a network's code: where they stand, and what they must become.

While the network runs, its attributes hold numbers that tell where they come from
(:mod:`~toolchain.surgery.told`), and so do the numbers in the code of modules that are
interpreted. What a view, a split or a slice is given for a number of channels is noted with those
channels. Once some are gone, the number must be that of those that are left.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from toolchain.models.numbers import CHANGED, Change
from toolchain.models.places import (
    ATTENTION,
    is_positional,
    is_rooted,
    is_scale,
    value_of,
    with_numbers,
)
from toolchain.models.plain import subclass
from toolchain.models.rewriting import (
    RewritingError,
    arguments_of,
    changed,
    is_rewritten,
    own_class,
    traced,
)
from toolchain.operators.classes import Placed
from toolchain.surgery.channels import Flow, Pick, Use
from toolchain.surgery.cuts import CUT, PARTED, SIZED, Given, GivenList, cuts, indexed, sizes
from toolchain.surgery.told import FOLLOWS, SHAPE, Key, Told, tell_attributes, told_list


class Watching(Protocol):
    """What must be known of the run's channels."""

    numbers_follow: bool

    flow: Flow

    def placed(self, tensor: object) -> Placed | None:
        """Return where channels lie in ``tensor``, or None if no layer's channels are in it."""


def tell(network: nn.Module, in_code: Collection[str], flow: Flow) -> None:
    """Let numbers of ``network``, a copy, tell where they come from, in place; note them in a flow.

    ``in_code`` names modules whose code is interpreted; those that were rewritten always are.
    """
    graphs = {
        name: _graph_of(module)
        for name, module in network.named_modules()
        if name in in_code or is_rewritten(module)
    }
    tell_attributes(network, flow.values, flow.lists, flow.pins)
    for name, module in [*network.named_modules()]:
        if name in graphs:
            _interpret(module, name, graphs[name], flow)


def can_be_rewritten(network: nn.Module, name: str) -> bool:
    """Return True if the code of a module can be written anew."""
    try:
        _graph_of(network.get_submodule(name))
    except RewritingError:
        return False
    return True


def _graph_of(module: nn.Module) -> fx.Graph:
    """Return the graph of a module's code, with the numbers that it has now."""
    known: Mapping[str, Change] = vars(module).get(CHANGED, {})
    return changed(traced(module), {at: pair for at, pair in known.items() if ":" in at})


def _interpret(module: nn.Module, name: str, graph: fx.Graph, flow: Flow) -> None:
    kind = own_class(module)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return _Interpreter(self, graph, name, flow).run(*arguments_of(kind, args, kwargs))

    module.__class__ = subclass(kind, {"forward": forward})


class _Interpreter(fx.Interpreter):
    """Runs a graph whose numbers tell their places."""

    def __init__(self, module: nn.Module, graph: fx.Graph, name: str, flow: Flow) -> None:
        super().__init__(module, graph=graph)
        self._name, self._flow = name, flow
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        """Return what a node gives; a number that does not tell may be of the input's size."""
        given = super().run_node(n)
        return Told.of(given, FOLLOWS) if type(given) is int and n.op != "placeholder" else given

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)

        least = 0 if is_positional(n) else 2  # a size of 1 or -1 is no number of channels

        def told(place: str, given: Any) -> Any:
            key = self._name, place
            if is_rooted(n):
                return self._rooted(key, given)
            if isinstance(given, int) and not isinstance(given, bool):
                follows = isinstance(given, Told) and not given.may_change
                if abs(given) < least or follows:
                    return given
                self._flow.values[key] = int(given)
                if isinstance(given, Told) and given.may_change:
                    self._flow.worked_out[key] = given.form
                return Told.of(int(given), key)
            if isinstance(given, torch.Size) or not isinstance(given, slice | list | tuple):
                return given
            self._flow.lists[key] = value_of(given)
            if isinstance(given, slice):
                return slice(given.start, given.stop, Told.of(given.step, key))
            return told_list(given, key)

        return with_numbers(n, args, kwargs, told)

    def _rooted(self, key: Key, given: Any) -> Any:
        """Let a width of which a root is taken stay the number that it is; or return ``given``.

        Of attention ``given`` are the queries. What several calls take it of must be one width.
        """
        flow = self._flow
        width = given.shape[-1] if isinstance(given, Tensor) and is_scale(key[1]) else given
        if not (isinstance(width, Told) and width.is_of_shape and width.may_change):
            return given
        known = flow.roots.setdefault(key, width.keys)
        if self._nodes(known) != self._nodes(width.keys):
            flow.pins |= known | width.keys
            flow.worked_out.pop(key, None)
            flow.values.pop(key, None)
            flow.roots[key] = frozenset()
            return given
        flow.worked_out[key], flow.values[key] = width.form, int(width)
        return int(width)

    def _nodes(self, keys: Iterable[Key]) -> set[int]:
        return {node for key in keys for node in self._flow.shapes.get(key, ())}


class Numbers(TorchFunctionMode):
    """Notes the numbers of channels that operators are given."""

    def __init__(self, network: nn.Module, watcher: Watching, flow: Flow) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self.unknown: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
        """Module -> operators in its code with numbers that do not tell, and their channels."""
        self.of_shapes: list[tuple[str | None, Use]] = []
        """Numbers of channels that were worked out from shapes, with the module of that code."""
        self._watcher, self._flow = watcher, flow
        self._names = {id(module): name for name, module in network.named_modules()}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in SIZED or name in PARTED or name in CUT:
            return self._run(name, func, args, kwargs)
        if name == ATTENTION and kwargs.get("scale") is None:
            self._note_scale(name, args[0] if args else kwargs.get("query"))
        out = func(*args, **kwargs)
        if name == "size" or (name == "__get__" and func.__self__ is Tensor.shape):
            return self._shape(args[0], out, args[1:] or tuple((kwargs or {}).values()))
        return out

    def _shape(self, x: Tensor, out: Any, asked: tuple[Any, ...]) -> Any:
        """Let the sides of a shape tell whose they are: those along channels follow them."""
        placed = self._watcher.placed(x)

        def told(dim: int, side: int) -> int:
            if placed is not None and dim != placed.dim:
                return Told.of(side, FOLLOWS)
            key = SHAPE, str(len(self._flow.shapes))
            self._flow.readers[key] = self._module()
            self._flow.shapes[key] = () if placed is None else tuple(placed.nodes)
            self._flow.values[key] = side
            return Told.of(side, key, self._flow.pins)

        if isinstance(out, torch.Size):
            return torch.Size([told(dim, side) for dim, side in enumerate(out)])
        return told(int(asked[0]) % x.ndim, out) if type(out) is int and asked else out

    def _run(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else None
        if not isinstance(x, Tensor):
            return func(*args, **kwargs)
        before = self._watcher.placed(x)
        if name in SIZED:
            out = func(*args, **kwargs)
            after = self._watcher.placed(out)
            self._note(name, after, [] if after is None else sizes(name, x, args, kwargs, out))
            return out
        given = cuts(name, x, args, kwargs)
        lists = indexed(x, args[1]) if name == "__getitem__" else ()
        picks = [each for each in lists if isinstance(each, GivenList)]
        self._watcher.flow.fixed.update(
            each.key
            for each in picks
            if each.key is not None and (before is None or each.dim != before.dim)
        )
        self._watcher.numbers_follow = before is not None and self._follow(
            name, before, given, picks
        )
        try:
            out = func(*args, **kwargs)
        finally:
            self._watcher.numbers_follow = False
        self._note(name, before, given)
        return out

    def _follow(
        self, name: str, placed: Placed, given: Sequence[Given], picks: Sequence[GivenList]
    ) -> bool:
        """Return True if all that cuts or picks channels can be changed with them."""
        along = [each.number for each in given if each.dim == placed.dim]
        lists = [each for each in picks if each.dim == placed.dim]
        for each in lists:
            if each.key is None:
                self._note_unknown(name, tuple(placed.nodes))
        follow = all(map(_may_change, along)) and all(each.key is not None for each in lists)
        return (
            follow
            and bool(along or lists)
            and all(
                self._watcher.flow.follow(
                    Pick(name.strip("_"), each.key, tuple(placed.nodes), each.positions, each.cut)
                )
                for each in lists
                if each.key is not None
            )
        )

    def _note(self, name: str, placed: Placed | None, given: Iterable[Given]) -> None:
        if placed is None:
            return
        for each in given:
            number, own = each.number, each.dim == placed.dim
            nodes = tuple(placed.nodes[each.start : each.stop]) if own else None
            if isinstance(number, Told):
                if number.may_change:
                    sign = -1 if number < 0 else 1
                    keys, form = number.keys, number.form
                    use = Use(name.strip("_"), form, keys, nodes, sign, each.needed)
                    if number.is_of_shape:
                        self.of_shapes.append((self._module(), use))
                    else:
                        self.uses.append(use)
            elif nodes is not None and (number > 1 or name in CUT):
                self._note_unknown(name, tuple(placed.nodes))

    def _note_scale(self, name: str, query: object) -> None:
        """Note that attention takes its scale from the width of its queries."""
        placed = self._watcher.placed(query)
        if placed is not None and isinstance(query, Tensor) and placed.dim == query.ndim - 1:
            self._note_unknown(name, tuple(placed.nodes))

    def _note_unknown(self, name: str, nodes: tuple[int, ...]) -> None:
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


def _may_change(number: int) -> bool:
    return isinstance(number, Told) and number.may_change and not number.is_of_shape
