"""Whole numbers that tell where they come from, through the arithmetic of the code.

In a copy of a network the whole numbers in its modules' attributes are replaced by such numbers.
They behave as plain ones; what a view, a split or a slice is given then says whether it was
``self.c``, twice ``self.c``, or something that was worked out from a shape.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from toolchain.models.places import Value, value_of
from toolchain.surgery.narrowing import WIDTHS

Key: TypeAlias = tuple[str, str]
"""A module's name, and the place of a number in it: an attribute, or one in its code."""

FOLLOWS: Key = ("", "")
"""Where shapes and layers' own widths come from: they follow by themselves."""

SHAPE = "a shape"
"""In keys of numbers from shapes, along the channels, what else is a module's name."""

Form: TypeAlias = "Key | tuple[Any, ...] | int"
"""How a number was worked out: a key, ("+", form, form), or a number of the code."""

OPERATORS: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}


class Told(int):
    """A whole number with its form, and the keys in it."""

    form: Form
    keys: frozenset[Key]
    pins: set[Key]

    @classmethod
    def of(cls, value: int, key: Key, pins: set[Key] | None = None) -> Told:
        """Return the number at a place; ``pins`` gets the place if it becomes no whole number."""
        return _told(value, key, frozenset([key]), set() if pins is None else pins)

    @property
    def may_change(self) -> bool:
        """True if nothing is in it that follows by itself."""
        return FOLLOWS not in self.keys

    @property
    def is_of_shape(self) -> bool:
        """True if it was worked out from the shape of a tensor, along its channels."""
        return any(module == SHAPE for module, _ in self.keys)

    def __neg__(self) -> Told:
        return _told(-int(self), ("sub", 0, self.form), self.keys, self.pins)

    def __float__(self) -> float:
        """Tell that the number is used as more than a count, in ``math.sqrt`` say."""
        self.pins.update(self.keys)
        return float(int(self))

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        """Tell the same: a scale is the root of a width."""
        self.pins.update(self.keys)
        return pow(int(self), other, modulo)

    def __copy__(self) -> Told:
        return self

    def __deepcopy__(self, memo: object) -> Told:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


class ToldList(list[int]):
    """A list of numbers with the place where it stands."""

    key: Key


class ToldTuple(tuple[int, ...]):
    """The same, where it is a tuple."""

    key: Key


def told_list(values: Sequence[int], key: Key) -> ToldList | ToldTuple:
    """Return numbers that tell where they stand together; what tells in them goes on telling."""
    made = ToldTuple(values) if isinstance(values, tuple) else ToldList(values)
    made.key = key
    return made


def _told(value: int, form: Form, keys: frozenset[Key], pins: set[Key]) -> Told:
    made = Told(value)
    made.form, made.keys, made.pins = form, keys, pins
    return made


def _arithmetic(name: str, work: Callable[[int, int], int]) -> None:
    def forward(self: Told, other: object) -> Any:
        return _combined(name, work, self, other)

    def reflected(self: Told, other: object) -> Any:
        return _combined(name, work, other, self)

    setattr(Told, f"__{name}__", forward)
    setattr(Told, f"__r{name}__", reflected)


def _combined(name: str, work: Callable[[int, int], int], a: object, b: object) -> Any:
    if type(a) not in (int, Told) or type(b) not in (int, Told):
        return NotImplemented
    assert isinstance(a, int)
    assert isinstance(b, int)
    told = [each for each in (a, b) if isinstance(each, Told)]
    keys = frozenset[Key]().union(*(each.keys for each in told))
    forms = [each.form if isinstance(each, Told) else each for each in (a, b)]
    return _told(work(int(a), int(b)), (name, *forms), keys, told[0].pins)


for _name, _work in OPERATORS.items():
    _arithmetic(_name, _work)


def worked_out(form: Form, values: Mapping[Key, int]) -> int:
    """Return the number that a form gives for the numbers at its places."""
    if isinstance(form, int):
        return form
    if len(form) == 3:
        name, a, b = form
        return OPERATORS[name](worked_out(a, values), worked_out(b, values))
    return values[form]


def tell_attributes(
    network: nn.Module, values: dict[Key, int], lists: dict[Key, Value], pins: set[Key]
) -> None:
    """Replace the whole numbers in the attributes of ``network``, in place, and note them.

    ``values`` are the numbers, ``lists`` the lists of them that may be positions.

    What is an attribute of a layer or norm follows its weights by itself.
    """
    for name, module in network.named_modules():
        built_in = type(module).__module__.startswith("torch.nn.")
        is_layer = isinstance(
            module, _ConvNd | nn.Linear | _NormBase | nn.GroupNorm | nn.PReLU | nn.RNNBase
        )
        for attribute, value in list(vars(module).items()):
            if is_layer and attribute in WIDTHS:
                vars(module)[attribute] = _with_key(value, FOLLOWS, values, pins)
            elif not is_layer and (not built_in or isinstance(module, nn.Unflatten)):
                vars(module)[attribute] = _replaced(value, name, attribute, values, pins)
                if isinstance(told := vars(module)[attribute], ToldList | ToldTuple):
                    lists[told.key] = value_of(value)


def _replaced(value: Any, name: str, place: str, values: dict[Key, int], pins: set[Key]) -> Any:
    if type(value) in (tuple, list) and value and all(type(each) is int for each in value):
        keys = [(name, f"{place}.{at}") for at in range(len(value))]
        told = [_with_key(each, key, values, pins) for each, key in zip(value, keys, strict=True)]
        return told_list(type(value)(told), (name, place))
    return _with_key(value, (name, place), values, pins)


def _with_key(value: Any, key: Key, values: dict[Key, int], pins: set[Key]) -> Any:
    if type(value) is not int or value < 2:
        return value
    values[key] = value
    return Told.of(value, key, pins)
