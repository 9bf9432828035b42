"""Recipes as TOML again: what is not its default, so that it stays short."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping

from toolchain.recipe.sections import Recipe


def as_toml(recipe: Recipe) -> str:
    """Return TOML that reads as ``recipe``; fields that have their default are left out."""
    lines: list[str] = []
    for field in dataclasses.fields(Recipe):
        section = getattr(recipe, field.name)
        if section is not None:
            lines += _table(field.name, section)
    return "\n".join(lines).lstrip("\n") + "\n"


def _table(name: str, section: object) -> Iterator[str]:
    """Yield a table's own values under its heading, then the tables inside it."""
    fields, tables = dict(_changed(section)), {}
    values = []
    for key, value in fields.items():
        if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
            tables[f"{name}.{_key(key)}"] = value
        elif value is not None:
            values.append(f"{_key(key)} = {_value(value)}")
    if values:
        yield from ["", f"[{name}]", *values]
    for inner, value in tables.items():
        yield from _table(inner, value)


def _changed(section: object) -> Iterator[tuple[str, object]]:
    if isinstance(section, Mapping):
        yield from section.items()
        return
    assert dataclasses.is_dataclass(section)
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if value != field.default:
            yield field.name, value


def _key(name: str) -> str:
    plain = name.replace("_", "").replace("-", "")
    return name if plain.isascii() and plain.isalnum() else json.dumps(name, ensure_ascii=True)


def _value(value: object) -> str:
    """JSON writes texts, numbers and lists of them as TOML does."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=True)
