"""From tables to sections: types and ranges are checked, and mistakes told with their line."""

from __future__ import annotations

import dataclasses
import re
import typing
from typing import Any

from toolchain.errors import RecipeError, did_you_mean
from toolchain.recipe.checking import Checker, field_name, hints_of
from toolchain.recipe.renamed import field_now


class Reader(Checker):
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
        raise RecipeError(f"{place}: {field_name(keys)} {problem}")

    def section(self, kind: type[Any], table: object, keys: tuple[str, ...]) -> Any:
        """Return ``table`` as a dataclass of ``kind``."""
        if not isinstance(table, dict):
            self.fail(keys, f"must be a table (got {table!r})")
        fields = {field.name: field for field in dataclasses.fields(kind)}
        table = self._under_names_now(table, keys)
        for key in table:
            if key not in fields:
                hint = did_you_mean(key, fields)
                self.fail((*keys, key), f"is unknown; known here: {', '.join(fields)}{hint}")
        hints = hints_of(kind)
        values = {}
        for name, field in fields.items():
            if name in table:
                values[name] = self.value(hints[name], table[name], (*keys, name))
            elif field.default is field.default_factory is dataclasses.MISSING:
                self.fail((*keys, name), "is missing")
        return kind(**values)

    def _under_names_now(self, table: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
        """Return a table with its fields under the names that they have now."""
        renamed: dict[str, Any] = {}
        for key, value in table.items():
            name = field_now((*keys, key)) if keys else key
            if name in renamed or (name != key and name in table):
                self.fail((*keys, key), f"is the old name of {name}, which is there too")
            renamed[name] = value
        return renamed
