"""What a user's factory may give: plain networks, wrapped ones, and what cannot be worked on."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from toolchain.errors import ModelError

WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
}
"""torch's classes around a network -> the attribute that holds it."""

LAYERS = (_ConvNd, nn.Linear)


def plain_network(built: object, name: str) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the network that ``built`` is or wraps, for the CPU, in float32, in eval mode; notes.

    The values do not change: float32 holds all of float16 and bfloat16. ``built`` itself may
    change. Raises :class:`ModelError` for what is no network that can be worked on.
    """
    _refuse_programs(built, name)
    if not isinstance(built, nn.Module):
        raise ModelError(f"{name} must return a torch.nn.Module (got {_kind(built)})")
    network = _unwrapped(built)
    for module in network.modules():
        if any(True for _ in module.state_dict()):
            _refuse_programs(module, name)
    _refuse_empty(network, name)
    notes = tuple(_moved(network))
    let_copy(network)
    return network.eval(), notes


def let_copy(network: nn.Module) -> None:
    """Let a network be copied by :func:`copy.deepcopy`, whatever its code does."""
    for module in [*network.modules()]:
        _detach(module)
        _let_copy(module)


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _refuse_programs(built: object, name: str) -> None:
    """Raise :class:`ModelError` for networks whose layers cannot be cut any more."""
    for kind in type(built).__mro__:
        place = f"{kind.__module__}.{kind.__qualname__}"
        if kind is torch.jit.ScriptModule or place.startswith("torch.jit."):
            what, instead = "TorchScript", "the PyTorch network that was scripted or traced"
        elif place.startswith("torch.export.exported_program"):
            what, instead = "an ExportedProgram", "the PyTorch network that was exported"
        elif ".quantized." in place and place.startswith("torch."):
            what = f"quantised ({kind.__qualname__})"
            instead = "the float network (int8 files are made of that)"
        else:
            continue
        raise ModelError(
            f"{name} is {what}, whose layers cannot be cut; give {instead}, and its weights by "
            f"--ckpt"
        )


def _unwrapped(network: nn.Module) -> nn.Module:
    """Take a network, and its parts, out of what compiles or spreads them."""
    attribute = WRAPPERS.get(type(network).__name__)
    if attribute is not None and type(network).__module__.startswith("torch."):
        return _unwrapped(network._modules[attribute])  # type: ignore[arg-type]
    for key, child in network._modules.items():
        if child is not None:
            network._modules[key] = _unwrapped(child)
    return network


def _refuse_empty(network: nn.Module, name: str) -> None:
    tensors = [*network.parameters(), *network.buffers()]
    if any(is_lazy(tensor) for tensor in tensors):
        raise ModelError(
            f"{name} has lazy layers without weights; let the factory run it once on an input"
        )
    if any(tensor.is_meta for tensor in tensors):
        raise ModelError(f"{name} is on the device meta, without values; build it on the CPU")
    if not any(isinstance(module, LAYERS) for module in network.modules()):
        raise ModelError(
            f"{name} ({type(network).__name__}) has no convolution and no linear layer, so nothing "
            f"can be removed of it; give a network of layers of torch.nn"
        )


def _moved(network: nn.Module) -> Iterator[str]:
    """Move a network to the CPU and to float32, and say so."""
    tensors = [*network.parameters(), *network.buffers()]
    devices = sorted({str(tensor.device) for tensor in tensors if tensor.device.type != "cpu"})
    if devices:
        network.cpu()
        yield f"The network was on {', '.join(devices)}; all is done on the CPU."
    small = {tensor.dtype for tensor in tensors} & {torch.float16, torch.bfloat16}
    if small:
        names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in small))
        yield f"The network is of {names}; files are of float32, which holds the same values."
    wide = any(parameter.dtype == torch.float64 for parameter in network.parameters())
    if wide:
        yield "The network is of float64; files are of float32, to which its weights are rounded."
    if small or wide:
        network.float()


def _detach(module: nn.Module) -> None:
    """Let go of the graph of what a network keeps of a run, which cannot be copied."""
    for key, value in vars(module).items():
        if isinstance(value, Tensor) and not value.is_leaf:
            module.__dict__[key] = value.detach()


def _let_copy(module: nn.Module) -> None:
    """Let a module be copied whose own ``__getattr__`` answers for names that copying looks up."""
    kind = type(module)
    if kind.__getattr__ is nn.Module.__getattr__ or hasattr(kind, "__deepcopy__"):
        return
    module.__class__ = subclass(kind, {"__deepcopy__": _deepcopy})


def _deepcopy(self: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Copy as :func:`copy.deepcopy` does what has no way of its own."""
    copied = type(self).__new__(type(self))
    memo[id(self)] = copied
    for key, value in vars(self).items():
        copied.__dict__[key] = copy.deepcopy(value, memo)
    return copied


def subclass(kind: type[nn.Module], methods: dict[str, Callable[..., Any]]) -> type[nn.Module]:
    """Return a class under the name of ``kind`` with some methods replaced."""
    space = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, **methods}
    made = types.new_class(kind.__name__, (kind,), {}, lambda body: body.update(space))
    assert issubclass(made, nn.Module)
    return made
