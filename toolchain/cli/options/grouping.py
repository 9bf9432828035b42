"""Options in groups: a command takes a dataclass, and each of its fields is an option."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with every parameter that is a dataclass spread over its fields.

    The fields are annotated as options of typer, have defaults, and keep their names on the command
    line; two groups of one command have no name in common.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    groups: dict[str, type] = {}
    spread: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            groups[name] = kind
            _add(spread, _fields_of(kind))
        else:
            _add(spread, [_keyword(name, kind, parameter.default)])

    @functools.wraps(command)
    def call(**given: object) -> None:
        for name, kind in groups.items():
            given[name] = kind(
                **{field.name: given.pop(field.name) for field in dataclasses.fields(kind)}
            )
        command(**given)

    del call.__wrapped__  # its signature is not that of the command
    call.__signature__ = inspect.Signature(list(spread.values()))  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in spread.values()}
    return call


def _fields_of(kind: type) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        _keyword(field.name, hints[field.name], field.default) for field in dataclasses.fields(kind)
    ]


def _keyword(name: str, kind: object, default: object) -> inspect.Parameter:
    empty = inspect.Parameter.empty if default is dataclasses.MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=empty, annotation=kind)


def _add(spread: dict[str, inspect.Parameter], more: list[inspect.Parameter]) -> None:
    for parameter in more:
        if parameter.name in spread:
            raise TypeError(f"two groups of options have a {parameter.name!r}")
        spread[parameter.name] = parameter
