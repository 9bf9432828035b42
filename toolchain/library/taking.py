"""Taking a network as a training holds it: wrapped, on any device, in any mode; it stays as it is.

All analyses run on a plain copy on the CPU, in float32 and eval mode, that is called with tensors
alone. What is decided there is done to the live network's own parameters, found by their names.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from toolchain.errors import InputError, ModelError, in_one_line
from toolchain.models.arguments import Arguments
from toolchain.models.calling import adapted
from toolchain.models.leaves import is_plain, tensors_in
from toolchain.models.plain import WRAPPERS, plain_network
from toolchain.models.plain_weights import computed, make_plain

Example: TypeAlias = Tensor | Sequence[Any] | Mapping[str, Any]
"""What a network is called with: a tensor, a tuple of arguments, or a dictionary of keyword
arguments; tensors may lie in lists, tuples and dictionaries among these."""


@dataclass(frozen=True)
class Taken:
    """A copy to analyse, and what it is called with: ``network(*example)``."""

    network: nn.Module
    """On the CPU, in float32 and eval mode, without wrappers, computed weights made plain."""
    example: tuple[Tensor, ...]
    computed: frozenset[str]
    """Layers whose weight or bias the live network computes: weight norm, parametrisations."""


def take(network: nn.Module, example: Example) -> Taken:
    """Return a plain copy of ``network`` and its example; ``network`` is neither run nor changed.

    Forward hooks are copied with it, and called when the copy runs. Raises :class:`ModelError` for
    what is no network, is compiled to another form, sharded or without values, or does not run on
    the example, and :class:`InputError` for an example that is none.
    """
    if not isinstance(network, nn.Module):
        raise ModelError(f"network must be a torch.nn.Module (got {type(network).__name__})")
    arguments = arguments_of(example)
    _refuse_shards(network)
    plain, _ = plain_network(copied(network), "network")
    outputs = _run(plain, arguments)
    if not tensors_in(outputs):
        raise ModelError(f"{_name(network)} returns no tensor on the example")
    if not (arguments.is_plain and is_plain(outputs)):
        plain = adapted(plain, arguments)
    layers = frozenset(name.rpartition(".")[0] for name, *_ in computed(plain))
    make_plain(plain)
    return Taken(plain, arguments.tensors, layers)


def arguments_of(example: Example) -> Arguments:
    """Return an example as arguments, on the CPU, with float32 where there were other floats."""
    ready = tree_map(_on_cpu, example)
    if isinstance(ready, Tensor):
        arguments = Arguments((ready,))
    elif isinstance(ready, Mapping) and all(isinstance(key, str) for key in ready):
        arguments = Arguments((), dict(ready))
    elif isinstance(ready, tuple | list):
        arguments = Arguments(tuple(ready))
    else:
        arguments = Arguments(())
    if not arguments.tensors:
        raise InputError(
            f"example must be a tensor, a tuple of arguments or a dict of keyword arguments, with "
            f"a tensor among them, such as torch.zeros(1, 3, 320, 320) (got "
            f"{type(example).__name__})"
        )
    return arguments


def _on_cpu(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    if leaf.is_meta:
        raise InputError("example must have values; it is on the device meta")
    leaf = leaf.detach().cpu()
    return leaf.float() if leaf.is_floating_point() else leaf


def _run(network: nn.Module, arguments: Arguments) -> object:
    """Run a copy, for it may change while it runs."""
    try:
        with undisturbed(), torch.no_grad():
            return copied(network)(*arguments.by_place, **arguments.by_name)
    except Exception as error:  # a stranger's code may raise anything
        shapes = " and ".join("x".join(map(str, each.shape)) for each in arguments.tensors)
        raise ModelError(
            f"{_name(network)} does not run on the example, {shapes} ({in_one_line(error)}); it is "
            f"run on the CPU, in float32"
        ) from error


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the random numbers of a training as they are, and do without its casts and device."""
    on_cpu = torch.get_default_device().type == "cpu"
    with (
        torch.random.fork_rng(devices=[]),
        contextlib.nullcontext() if on_cpu else torch.device("cpu"),
        torch.autocast("cpu", enabled=False),
    ):
        yield


def _refuse_shards(network: nn.Module) -> None:
    kinds = {type(module).__name__ for module in network.modules()}
    tensors = {type(tensor).__name__ for tensor in network.parameters()}
    found = (kinds & {"FullyShardedDataParallel"}) | (tensors & {"DTensor", "FlatParameter"})
    if found:
        raise ModelError(
            f"{_name(network)} is sharded ({', '.join(sorted(found))}): no process has whole "
            f"filters; give the network before it is sharded, or use DistributedDataParallel"
        )


def _name(network: nn.Module) -> str:
    return type(unwrapped(network)).__name__


# Wrappers ---------------------------------------------------------------------------------------


def _inner(module: nn.Module) -> nn.Module | None:
    """Return what a wrapper of torch's holds; None for any other module."""
    attribute = WRAPPERS.get(type(module).__name__)
    if attribute is None or not type(module).__module__.startswith("torch."):
        return None
    return module._modules[attribute]


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network inside DDP, DataParallel, ``torch.compile`` and averages (EMA)."""
    inner = _inner(network)
    return network if inner is None else unwrapped(inner)


def copied(network: nn.Module) -> nn.Module:
    """Return a copy without wrappers, in the mode, type and device of ``network``."""
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        for module in reversed([*network.modules()]):  # what is inside comes first
            if _inner(module) is not None:
                memo[id(module)] = copy.deepcopy(unwrapped(module), memo)
        found: nn.Module = copy.deepcopy(network, memo)
    except Exception as error:  # a user's module may hold anything
        raise ModelError(
            f"{_name(network)} cannot be copied ({in_one_line(error)}); give a network that "
            f"copy.deepcopy takes"
        ) from error
    return found


def live_modules(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of a live network under the names that they have without wrappers."""
    network = unwrapped(network)
    yield prefix, network
    for name, child in network._modules.items():
        if child is not None:
            yield from live_modules(child, f"{prefix}.{name}" if prefix else name)


def live_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a live network under the names that they have without wrappers.

    One that several modules share has its first name.
    """
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for prefix, module in live_modules(network):
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{name}" if prefix else name] = parameter
    return found
