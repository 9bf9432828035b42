"""Which modules learn, where not all do: the rest stays as it is, and costs no gradients."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from toolchain.errors import InputError, did_you_mean


def let_learn(network: nn.Module, patterns: Sequence[str] | None) -> frozenset[str]:
    """Let only the modules learn that shell patterns name, and all within them, in place.

    None lets all learn. Return the names of all modules that stay as they are, in their statistics
    too. Raises :class:`InputError` for a pattern that names none, or none that has parameters.
    """
    if patterns is None:
        return frozenset()
    if isinstance(patterns, str) or not patterns:
        raise InputError(f"learn must be a list, such as ['head', 'neck.*'] (got {patterns!r})")
    modules = dict(network.named_modules())
    chosen = [name for pattern in patterns for name in _named(modules, pattern)]
    staying = frozenset(
        name for name in modules if not any(f"{name}.".startswith(f"{each}.") for each in chosen)
    )
    for name in staying:
        for parameter in modules[name].parameters(recurse=False):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"learn: there are no weights in {', '.join(patterns)}; name others")
    return staying


def _named(modules: dict[str, nn.Module], pattern: str) -> list[str]:
    names = [name for name in modules if name and fnmatchcase(name, pattern)]
    if not names:
        hint = did_you_mean(pattern, [*modules])
        raise InputError(f"learn: no module's name matches {pattern!r}{hint}")
    return names
