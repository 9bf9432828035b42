"""Torch-Pruning's own removal at a rate, and what it leaves of the network's outputs."""

from __future__ import annotations

import contextlib
import copy
import signal
from collections.abc import Iterator

import torch
import torch_pruning as tp
from torch import Tensor, nn

from tests.benchmarks.public.comparing import differences
from tests.benchmarks.public.records import Peer

LIMIT_S = 120
"""CPU seconds that a removal may take."""
OUT = (
    tp.prune_conv_out_channels,
    tp.prune_depthwise_conv_out_channels,
    tp.prune_linear_out_channels,
)


def removed(
    network: nn.Module,
    example: Tensor,
    inputs: list[Tensor],
    rate: float,
    outputs: list[str],
    *,
    floor: bool = False,
) -> Peer:
    """Remove a share of the filters by magnitude, as its README does; ``outputs`` stay whole.

    Of n filters it takes ceil(rate * n); with ``floor`` each layer has a rate of its own, by which
    it takes floor(rate * n). Beside a grouped convolution n is the filters of a group.
    """
    small = copy.deepcopy(network)
    soft = copy.deepcopy(network)
    try:
        with _limited():
            _remove(small, soft, example, rate, outputs, floor)
    except Exception as error:  # whatever a stranger's code raises is a finding
        return Peer(error=_words(error))
    after = sum(parameter.numel() for parameter in small.parameters())
    try:
        return Peer(after, differences(soft, small, inputs))
    except Exception as error:
        return Peer(after, error=f"afterwards: {_words(error)}")


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Stop what goes round in circles."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {LIMIT_S} CPU seconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _remove(
    small: nn.Module,
    soft: nn.Module,
    example: Tensor,
    rate: float,
    outputs: list[str],
    floor: bool,
) -> None:
    """Remove in ``small``, and zero the same in ``soft``."""
    modules = dict(small.named_modules())
    pruner = tp.pruner.BasePruner(
        small,
        example,
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=rate,
        pruning_ratio_dict=_floors(small, example, rate) if floor else {},
        ignored_layers=[modules[name] for name in outputs],
    )
    names = {id(module): name for name, module in modules.items()}
    for group in pruner.step(interactive=True):
        _zero(group, names, soft)
        group.prune()


def _floors(network: nn.Module, example: Tensor, rate: float) -> dict[nn.Module, float]:
    widths = {
        module: getattr(module, "out_channels", getattr(module, "out_features", None))
        for module in network.modules()
    }
    graph = tp.DependencyGraph().build_dependency(network, example)
    for group in graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]):
        members = [dependency.target.module for dependency, _ in group]
        divided = [each for each in members if 1 < getattr(each, "groups", 1) < each.in_channels]
        if divided:
            widths |= dict.fromkeys(members, divided[0].out_channels // divided[0].groups)
    return {
        module: max(0.0, int(rate * width) / width - 1e-9)
        for module, width in widths.items()
        if width
    }


def _zero(group: tp.Group, names: dict[int, str], soft: nn.Module) -> None:
    """Zero in the whole network the weights of the filters that go."""
    for dependency, indices in group:
        name = names.get(id(dependency.target.module))
        if dependency.handler not in OUT or name is None:
            continue
        module = soft.get_submodule(name)
        with torch.no_grad():
            weight = module.weight
            (weight.transpose(0, 1) if getattr(module, "transposed", False) else weight)[
                indices
            ] = 0.0
            if module.bias is not None:
                module.bias[indices] = 0.0


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:160]
