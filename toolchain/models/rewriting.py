"""Modules whose ``forward`` is written anew with other numbers in it.

``torch.fx`` traces one module's own ``forward``; the modules in it stay as they are and are called
as before. In the graph every number that the code gave to a view, a split or a slice can be read
and replaced. The module keeps its parameters, its children and its methods, and its class becomes
one under the same name that has the new ``forward``: it trains, is copied, pickled and exported.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from operator import getitem
from typing import Any, cast

from torch import fx, nn

from toolchain.models.places import Value, operator_of, value_of, with_numbers
from toolchain.models.plain import subclass

OWN_CLASS = "_toolchain_own_class"
"""Attribute of a class whose ``forward`` was written anew: the class before."""


class RewritingError(Exception):
    """A module's ``forward`` cannot be written anew; the message says why."""


class _Proxy(fx.Proxy):
    """A value of the graph; of the parts of a split or chunk the number is known."""

    def __len__(self) -> int:
        if parts := _parts(self.node):
            return parts
        raise TypeError("its length is not known")


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, *_: object) -> bool:
        return True

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Go through the parts of a split or chunk, whose number the code says."""
        parts = _parts(obj.node)
        if not parts:
            return super().iter(obj)
        return (
            obj.tracer.create_proxy("call_function", getitem, (obj, at), {}) for at in range(parts)
        )


def _parts(node: fx.Node) -> int:
    """Return into how many parts an operator divides; 0 where its arguments do not say."""
    name = operator_of(node)
    if name not in ("split", "split_with_sizes", "chunk"):
        return 0
    given = [*node.args[1:2], *(v for k, v in node.kwargs.items() if k != "dim")]
    if name == "chunk" and type(given[0]) is int:
        return int(given[0])
    return len(given[0]) if isinstance(given[0], tuple | list) else 0


def own_class(module: nn.Module) -> type[nn.Module]:
    """Return the class of ``module`` as its author wrote it."""
    return cast("type[nn.Module]", getattr(type(module), OWN_CLASS, type(module)))


def is_rewritten(module: nn.Module) -> bool:
    """Return True if the ``forward`` of ``module`` was written anew."""
    return own_class(module) is not type(module)


def traced(module: nn.Module) -> fx.Graph:
    """Return the graph of the ``forward`` that the author of ``module`` wrote.

    Raises :class:`RewritingError` where it decides by values, asks whether it is in training, has
    optional arguments, or does what no graph can hold.
    """
    kind = own_class(module)
    if "forward" in vars(module):
        raise RewritingError("its forward is its own")
    given = list(inspect.signature(kind.forward).parameters.values())[1:]
    if any(each.kind != each.POSITIONAL_OR_KEYWORD or each.default != each.empty for each in given):
        raise RewritingError("its forward has optional arguments")
    graph = _trace(module, kind)
    read = [str(node.target) for node in graph.nodes if node.op == "get_attr"]
    if any("_tensor_constant" in name for name in read):
        raise RewritingError("its forward makes tensors of its own")
    return graph


def _trace(module: nn.Module, kind: type[nn.Module]) -> fx.Graph:
    def refused(_: nn.Module) -> bool:
        raise RewritingError("its forward asks whether it is in training")

    asked: Any = property(refused)
    shadowing = subclass(kind, {"training": asked})
    shadow = shadowing.__new__(shadowing)
    for name, value in vars(module).items():
        shadow.__dict__[name] = value.copy() if isinstance(value, dict | set) else value
    try:
        return _Tracer().trace(shadow)
    except RewritingError:
        raise
    except Exception as error:  # a user's code may raise anything where it meets no tensors
        raise RewritingError(f"{type(error).__name__}: {error}") from error


def numbers_in(graph: fx.Graph) -> dict[str, Value | fx.Node]:
    """Return the numbers that may be of channels, and what works one out, by their places."""
    found: dict[str, Value | fx.Node] = {}

    def note(place: str, given: Any) -> Any:
        found[place] = given if isinstance(given, fx.Node) else value_of(given)
        return given

    for node in graph.nodes:
        with_numbers(node, node.args, node.kwargs, note)
    return found


def changed(graph: fx.Graph, numbers: Mapping[str, tuple[Value, Value]]) -> fx.Graph:
    """Put numbers into ``graph``, in place, by place: the one that is there, and the new one.

    Raises :class:`RewritingError` where another number is there, or none.
    """
    there = numbers_in(graph)
    for place, (before, _) in numbers.items():
        if there.get(place) != before and not isinstance(there.get(place), fx.Node):
            raise RewritingError(f"{place} must be {before} (got {there.get(place, 'nothing')})")

    def change(place: str, given: Any) -> Any:
        after = numbers[place][1] if place in numbers else given
        return list(after) if isinstance(after, tuple) else after

    for node in graph.nodes:
        node.args, node.kwargs = with_numbers(node, node.args, node.kwargs, change)
    return graph


def rewrite(module: nn.Module, numbers: Mapping[str, tuple[Value, Value]]) -> None:
    """Write the ``forward`` of ``module`` anew, in place, with other numbers; see :func:`changed`.

    Raises :class:`RewritingError` where that cannot be done.
    """
    code = changed(traced(module), numbers).python_code("self")
    space: dict[str, Any] = dict(code.globals)
    exec(compile(code.src, f"<{own_class(module).__name__}.forward, rewritten>", "exec"), space)
    with_forward(module, space["forward"], numbers)


def with_forward(
    module: nn.Module, forward: Callable[..., Any], numbers: Mapping[str, tuple[Value, Value]]
) -> None:
    """Give ``module`` another ``forward``, in place, that copies and pickles keep."""
    kind = own_class(module)

    def reduce(self: nn.Module, *_: int) -> tuple[Any, ...]:
        return _empty, (kind,), (dict(numbers), vars(self)), None, None, _filled

    def copied(self: nn.Module, memo: dict[int, Any]) -> nn.Module:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(vars(self), memo))
        return new

    methods: dict[str, Any] = {"forward": forward, OWN_CLASS: kind, "__reduce_ex__": reduce}
    if getattr(kind, "__deepcopy__", None) is None:
        methods["__deepcopy__"] = copied
    module.__class__ = subclass(kind, methods)


def _empty(kind: type[nn.Module]) -> nn.Module:
    return kind.__new__(kind)


def _filled(
    module: nn.Module, state: tuple[dict[str, tuple[Value, Value]], dict[str, Any]]
) -> None:
    """Give an unpickled module its contents, and the ``forward`` that it had."""
    numbers, contents = state
    module.__dict__.update(contents)
    rewrite(module, numbers)


def arguments_of(
    kind: type[nn.Module], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[Any]:
    """Yield the arguments of a call of ``forward`` in their order, without the module itself."""
    bound = inspect.signature(kind.forward).bind(None, *args, **kwargs)
    yield from list(bound.arguments.values())[1:]
