"""Networks by name: the detectors, or a user's ``module:factory``."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toolchain.errors import ModelError, in_one_line
from toolchain.models import detector
from toolchain.models.plain import let_copy, plain_network


@dataclass(frozen=True)
class Built:
    """A network as its name gives it."""

    network: nn.Module
    """In eval mode, on the CPU, in float32."""
    places: tuple[object, ...] = ()
    """Where a user may say what it is called with: network, class, factory and module."""
    notes: tuple[str, ...] = ()


def build(name: str, seed: int = 0) -> nn.Module:
    """Return the network ``name`` in eval mode with weights drawn from ``seed``.

    The rest is as in :func:`build_network`.
    """
    return build_network(name, seed).network


def build_network(name: str, seed: int = 0) -> Built:
    """Return the network ``name`` with weights drawn from ``seed``.

    ``module:factory`` imports ``module`` (from the current folder, too) and calls ``factory``;
    ``module:factory(width=0.5)`` calls it with arguments, which must be literals. A network that
    is there already is copied. Raises :class:`ModelError`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        known = detector.find(name)
        if known is not None:
            return Built(known.factory().eval())
        module, factory, arguments = _find(name)
        torch.manual_seed(seed)  # whatever the import drew
        made = _made(name, factory, arguments)
    network, notes = plain_network(made, name)
    return Built(network, (network, factory, module), notes)


@dataclass(frozen=True)
class _Arguments:
    by_place: tuple[Any, ...] = ()
    by_name: tuple[tuple[str, Any], ...] = ()


def _made(name: str, factory: Any, arguments: _Arguments | None) -> object:
    if isinstance(factory, nn.Module) and arguments is None:
        let_copy(factory)
        return copy.deepcopy(factory)
    if not callable(factory) or isinstance(factory, nn.Module):
        raise ModelError(f"{name}: is a {type(factory).__name__}, which cannot be called")
    arguments = arguments or _Arguments()
    needed = _not_given(factory, arguments)
    if needed:
        given = name.partition("(")[0]
        raise ModelError(
            f"{name} needs arguments; give them as {given}({', '.join(f'{n}=...' for n in needed)})"
        )
    try:
        return factory(*arguments.by_place, **dict(arguments.by_name))
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise ModelError(f"{name} failed to build: {in_one_line(error)}") from error


def _not_given(factory: Callable[..., object], arguments: _Arguments) -> list[str]:
    """Return the arguments without a default that are not given."""
    try:
        signature = inspect.signature(factory)
        bound = signature.bind_partial(*arguments.by_place, **dict(arguments.by_name)).arguments
    except (TypeError, ValueError):  # told by the call itself
        return []
    return [
        key
        for key, parameter in signature.parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and key not in bound
    ]


def _find(name: str) -> tuple[object, object, _Arguments | None]:
    """Return the module, what it has under the name, and the arguments; None: it is not called."""
    module_name, _, expression = name.partition(":")
    if not expression:
        raise ModelError(
            f"no model {name!r}: must be one of {', '.join(detector.names())}, or module:factory "
            f"for a network of your own"
        )
    path, arguments = _read_call(expression, name)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing a user's code may raise anything
        raise ModelError(
            f"cannot import {module_name!r} from {here} or the environment ({in_one_line(error)})"
        ) from error
    found: object = module
    for attribute in path:
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise ModelError(
                f"module {module_name} has no callable {'.'.join(path)!r}{_hint(module)}"
            ) from error
    if not callable(found):
        raise ModelError(f"module {module_name} has no callable {'.'.join(path)!r}{_hint(module)}")
    return module, found, arguments


def _hint(module: object) -> str:
    """Name what a module has that could be meant: its own functions, networks and their classes."""
    own = getattr(module, "__name__", None)
    names = [
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (
            isinstance(value, nn.Module)
            or (callable(value) and getattr(value, "__module__", None) == own)
        )
    ]
    return f"; it has {', '.join(names[:8])}" if names else ""


def _read_call(expression: str, name: str) -> tuple[list[str], _Arguments | None]:
    """Read ``a.b`` or ``a.b(1, width=0.5)``; nothing is evaluated but literals."""
    try:
        node = ast.parse(expression.strip(), mode="eval").body
        if not isinstance(node, ast.Call):
            return _dotted(node), None
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("**")
        by_name = [(str(each.arg), ast.literal_eval(each.value)) for each in node.keywords]
        by_place = [ast.literal_eval(each) for each in node.args]
        return _dotted(node.func), _Arguments(tuple(by_place), tuple(by_name))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ModelError(
            f"{name!r} must be module:factory, or module:factory(width=0.5) with numbers, texts, "
            f"lists or None as arguments"
        ) from error


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    raise ValueError("not a dotted name")
