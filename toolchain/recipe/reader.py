"""From tables to sections: types and ranges are checked, and mistakes told with their line."""

from __future__ import annotations

import collections.abc
import dataclasses
import re
import types
import typing
from typing import Any, Literal

from toolchain.errors import RecipeError, did_you_mean


class Reader:
    """Turns tables into dataclasses and knows the line of every key, for messages."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.lines = text.splitlines()

    def line(self, keys: tuple[str, ...]) -> int:
        """Return the line (from 1) of a key, or of the innermost table around it."""
        table, found, depth = "", 1, 0
        for number, line in enumerate(self.lines, start=1):
            header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
            key = re.match(r"""\s*([\w."'-]+)\s*=""", line)
            if header:
                table = place = header.group(1)
            elif key:
                place = ".".join(filter(None, [table, key.group(1)]))
            else:
                continue
            path = tuple(re.sub("[\"' ]", "", place).split("."))
            if ".".join(path) == ".".join(keys):  # names of layers have dots of their own
                return number
            if path == keys[: len(path)] and len(path) > depth:
                found, depth = number, len(path)
        return found

    def fail(self, keys: tuple[str, ...], problem: str) -> typing.NoReturn:
        """Raise a :class:`RecipeError` about the field ``keys``, with file and line."""
        place = f"{self.name}:{self.line(keys)}" if self.lines else self.name
        field = ".".join(key if key.isprintable() else repr(key) for key in keys)
        raise RecipeError(f"{place}: {field} {problem}")

    def section(self, kind: type[Any], table: object, keys: tuple[str, ...]) -> Any:
        """Return ``table`` as a dataclass of ``kind``."""
        if not isinstance(table, dict):
            self.fail(keys, f"must be a table (got {table!r})")
        fields = {field.name: field for field in dataclasses.fields(kind)}
        for key in table:
            if key not in fields:
                hint = did_you_mean(key, fields)
                self.fail((*keys, key), f"is unknown; known here: {', '.join(fields)}{hint}")
        hints = typing.get_type_hints(kind, include_extras=True)
        values = {}
        for name, field in fields.items():
            if name in table:
                values[name] = self.value(hints[name], table[name], (*keys, name))
            elif field.default is field.default_factory is dataclasses.MISSING:
                self.fail((*keys, name), "is missing")
        return kind(**values)

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

    def table(self, hint: Any, value: object, keys: tuple[str, ...]) -> dict[str, Any]:
        """Return a table of things that are called by any name; every entry is checked."""
        if not isinstance(value, dict):
            self.fail(keys, f"must be a table (got {value!r})")
        _, kind = typing.get_args(hint)
        return {key: self.value(kind, entry, (*keys, key)) for key, entry in value.items()}

    def items(self, hint: Any, value: object, keys: tuple[str, ...]) -> tuple[Any, ...]:
        """Return a list as a tuple; every entry is checked."""
        arguments = typing.get_args(hint)
        if not isinstance(value, list):
            self.fail(keys, f"must be a list (got {value!r})")
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(value) != len(arguments):
            self.fail(keys, f"must have {len(arguments)} entries (got {len(value)})")
        return tuple(self.value(a, v, keys) for a, v in zip(arguments, value, strict=True))

    def scalar(self, hint: type[Any], value: object, keys: tuple[str, ...]) -> Any:
        """Return a number, text or truth value; whole numbers pass for others."""
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:
                self.fail(keys, f"must be a number that a float can hold (got {value!r})")
        if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
            self.fail(keys, f"must be {hint.__name__} (got {value!r})")
        return value
