"""Deep copies of networks, the same that :func:`copy.deepcopy` makes, at a third of the time.

A surgery runs some forty copies of a network. Most of what a module holds are dozens of numbers,
names and empty dictionaries, on each of which :func:`copy.deepcopy` spends as long as on a tensor.
"""

from __future__ import annotations

import copy
import copyreg
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

ATOMS = frozenset(
    (int, float, bool, str, bytes, complex, type(None), type(...), torch.dtype, torch.device, type)
)
"""Types of what a copy shares with the original."""


def copied(network: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Return what ``copy.deepcopy(network, memo)`` returns.

    ``memo`` has by identity what is copied already. Raises what a user's own code raises when it
    is copied.
    """
    made: nn.Module = _copied(network, memo)
    return made


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """Return what ``copy.deepcopy(value, memo)`` returns."""
    known = memo.get(id(value))
    if known is not None:
        return known
    kind = type(value)
    if kind in ATOMS or (kind is tuple and all(type(each) in ATOMS for each in value)):
        return value
    if kind is dict or (kind is OrderedDict and not vars(value)):
        return _copied_dictionary(value, memo)
    if isinstance(value, nn.Module):
        return _copied_module(value, memo)
    return copy.deepcopy(value, memo)


def _copied_dictionary(values: dict[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    made = memo[id(values)] = type(values)()
    _fill(made, values, memo)
    return made


def _fill(made: dict[Any, Any], values: dict[Any, Any], memo: dict[int, Any]) -> None:
    for key, value in values.items():
        name = key if type(key) is str else _copied(key, memo)
        if type(value) in ATOMS:
            made[name] = value
        else:
            known = memo.get(id(value))
            made[name] = _copied(value, memo) if known is None else known


def _copied_module(module: nn.Module, memo: dict[int, Any]) -> Any:
    """Return a copy of a module; one that says itself how it is copied is asked."""
    kind = type(module)
    if (
        kind in copyreg.dispatch_table
        or hasattr(kind, "__deepcopy__")
        or "__deepcopy__" in vars(module)
    ):
        return copy.deepcopy(module, memo)
    parts = module.__reduce_ex__(4)
    if (
        not isinstance(parts, tuple)
        or parts[:2] != (copyreg.__newobj__, (kind,))  # type: ignore[attr-defined]
        or type(parts[2]) is not dict
        or any(part is not None for part in parts[3:])
    ):
        return copy.deepcopy(module, memo)
    memo.setdefault(id(memo), []).append(parts)  # alive as long as their ids are in the memo
    made = memo[id(module)] = kind.__new__(kind)
    state: dict[str, Any] = {}
    _fill(state, parts[2], memo)
    made.__setstate__(state)
    return made
