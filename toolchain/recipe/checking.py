"""The one check of a section's fields: of what a file says, and of what Python code gives."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import numbers
import types
import typing
from collections.abc import Hashable
from typing import Any, Literal

from toolchain.errors import RecipeError


@dataclasses.dataclass(frozen=True)
class Range:
    """The values a number may take; attached to a field by ``Annotated``."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        left = ">" if self.low_open else ">="
        right = "<" if self.high_open else "<="
        return f"{left} {self.low:g} and {right} {self.high:g}"


class Section:
    """A part of a recipe, a frozen dataclass whose fields are checked when it is made.

    ``PruneSection(rate=5.0)`` raises :class:`RecipeError`: "prune.rate must be >= 0 and < 1 (got
    5.0)". Lists become tuples, and whole numbers floats, where a field says so.
    """

    section_name: typing.ClassVar[str] = ""
    """What messages call it: its table in a recipe."""

    def __init_subclass__(cls, name: str = "") -> None:
        super().__init_subclass__()
        cls.section_name = name or cls.section_name

    def __post_init__(self) -> None:
        """Check every field by its annotation."""
        checker = Checker()
        for name, hint in hints_of(type(self)).items():
            value = getattr(self, name)
            checked = checker.value(hint, value, (self.section_name, name))
            if checked is not value:
                object.__setattr__(self, name, checked)


def hints_of(kind: type[Any]) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields, with their ranges."""
    return _hints_of(typing.cast("Hashable", kind))


@functools.cache
def _hints_of(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


class Checker:
    """Holds values against annotations; messages call them by their keys."""

    def fail(self, keys: tuple[str, ...], problem: str) -> typing.NoReturn:
        """Raise a :class:`RecipeError` about the field ``keys``."""
        raise RecipeError(f"{field_name(keys)} {problem}")

    def value(self, hint: Any, value: object, keys: tuple[str, ...]) -> Any:
        """Return ``value`` as the type that ``hint`` says, if it is one and in its range."""
        origin = typing.get_origin(hint)
        if origin is types.UnionType or origin is typing.Union:
            inner = [option for option in typing.get_args(hint) if option is not type(None)]
            return None if value is None else self.value(inner[0], value, keys)
        if dataclasses.is_dataclass(hint):
            return self.section(typing.cast("type[Any]", hint), value, keys)
        if origin is typing.Annotated:
            base, limits = typing.get_args(hint)
            number = self.value(base, value, keys)
            if number not in limits:
                self.fail(keys, f"must be {limits} (got {value!r})")
            return number
        if origin is Literal:
            choices = typing.get_args(hint)
            if value not in choices:
                self.fail(keys, f"must be one of {', '.join(choices)} (got {value!r})")
            return value
        if origin is tuple:
            return self.items(hint, value, keys)
        if origin in (dict, collections.abc.Mapping):
            return self.table(hint, value, keys)
        return self.scalar(hint, value, keys)

    def section(self, kind: type[Any], value: object, keys: tuple[str, ...]) -> Any:
        """Return a section that is one already."""
        if not isinstance(value, kind):
            self.fail(keys, f"must be a {kind.__name__} (got {value!r})")
        return value

    def table(self, hint: Any, value: object, keys: tuple[str, ...]) -> dict[str, Any]:
        """Return a table of things that are called by any name; every entry is checked."""
        if not isinstance(value, collections.abc.Mapping):
            self.fail(keys, f"must be a table (got {value!r})")
        _, kind = typing.get_args(hint)
        return {key: self.value(kind, entry, (*keys, str(key))) for key, entry in value.items()}

    def items(self, hint: Any, value: object, keys: tuple[str, ...]) -> tuple[Any, ...]:
        """Return a list or a tuple as a tuple; every entry is checked."""
        arguments = typing.get_args(hint)
        if not isinstance(value, list | tuple):
            self.fail(keys, f"must be a list (got {value!r})")
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(value) != len(arguments):
            self.fail(keys, f"must have {len(arguments)} entries (got {len(value)})")
        return tuple(self.value(a, v, keys) for a, v in zip(arguments, value, strict=True))

    def scalar(self, hint: type[Any], value: object, keys: tuple[str, ...]) -> Any:
        """Return a number, text or truth value; whole numbers pass for others."""
        if hint in _KINDS and isinstance(value, _KINDS[hint]) and not isinstance(value, bool):
            try:
                value = hint(value)
            except OverflowError:
                self.fail(keys, f"must be a number that a float can hold (got {value!r})")
        if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
            self.fail(keys, f"must be {hint.__name__} (got {value!r})")
        return value


_KINDS: dict[type[Any], type[Any]] = {float: numbers.Real, int: numbers.Integral}
"""What passes for a number: NumPy's are among them."""


def field_name(keys: tuple[str, ...]) -> str:
    """Return how a message calls a field."""
    return ".".join(key if key.isprintable() else repr(key) for key in keys)
