"""Parameters and multiply-accumulates, by rule; what has no rule is named, never taken for zero."""

from __future__ import annotations

import collections
import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from toolchain.exporting.fold import fold_batch_norm
from toolchain.models.plain_weights import computed, copied, make_plain
from toolchain.models.sizes import Example, as_example
from toolchain.models.watching import OperatorMode
from toolchain.operators import find, operator_name
from toolchain.operators.products import HIDDEN
from toolchain.records.stages import Cost
from toolchain.surgery.layers import storage_key


def measure_cost(network: nn.Module, example: Tensor | Example) -> Cost:
    """Count what ``network`` costs for one ``example`` (1, C, H, W), batch norm folded.

    ``example`` may be all tensors that the network is called with; the first one's size is told.
    """
    example = as_example(example)
    folded = fold_batch_norm(network, example)
    counter = _count(folded, example)
    height, width = (1, 1, *example[0].shape)[-2:]
    deployed, outside = count_parameters(folded)
    return Cost(
        deployed_parameters=deployed,
        non_layer_parameters=outside,
        macs=counter.macs,
        size=(int(height), int(width)),
        uncounted_operators=tuple(sorted(counter.uncounted)),
    )


def macs_by_weight(folded: nn.Module, example: Example) -> tuple[int, dict[str, int]]:
    """Return all MACs of a run, and those of each weight, by the parameter's name.

    ``folded`` is a network whose batch norms are folded, as far as they can be.
    """
    counter, copied = _WeightCounter(), copy.deepcopy(folded)
    with torch.no_grad(), counter:
        copied(*example)
    return counter.macs, {
        name: counter.by_memory[storage_key(parameter)]
        for name, parameter in copied.named_parameters()
        if parameter.ndim > 1 and storage_key(parameter) in counter.by_memory
    }


def _count(folded: nn.Module, example: Example) -> _Counter:
    """Count on shapes alone where the network runs so, and on real values otherwise."""
    counter = _Counter()
    try:
        with torch.no_grad(), counter:
            copy.deepcopy(folded).to("meta")(*(tensor.to("meta") for tensor in example))
    except Exception:  # a stranger's code may raise anything without values
        counter, copied = _Counter(), copy.deepcopy(folded)
        with torch.no_grad(), counter:
            copied(*example)
    return counter


def _is_of_torch(module: nn.Module) -> bool:
    """Tell whether a module is one of PyTorch's layers, or made of one by a class of one's own."""
    kinds = [kind for kind in type(module).__mro__ if kind not in (nn.Module, object)]
    return any(kind.__module__.startswith("torch.nn") for kind in kinds)


def count_parameters(folded: nn.Module) -> tuple[int, int]:
    """Return (parameters of layers, parameters outside layers) of a folded network.

    A batch norm that could not be folded counts scale and shift. A layer is a module without
    submodules; each shared tensor counts once. A weight that is computed from others, as by weight
    norm or a mask, counts as the plain weight that is deployed.
    """
    if any(True for _ in computed(folded)):
        folded = copied(folded)
        make_plain(folded)
    layers, outside, seen = 0, 0, set()
    for module in folded.modules():
        is_layer = not any(True for _ in module.children())
        for parameter in module.parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if is_layer and _is_of_torch(module):
                layers += parameter.numel()
            else:
                outside += parameter.numel()
        if isinstance(module, _BatchNorm) and not module.affine:
            layers += 2 * module.num_features
    return layers, outside


class _Counter(OperatorMode):
    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = operator_name(func)
        macs = find(name).macs
        if macs is not None:
            self.macs += macs if isinstance(macs, int) else macs(args, out)
        elif any(word in func.overloadpacket.__name__ for word in HIDDEN):
            self.uncounted.add(name)
        return out


class _WeightCounter(_Counter):
    """Counts by the memory of what is multiplied as well."""

    def __init__(self) -> None:
        super().__init__()
        self.by_memory: collections.Counter[int] = collections.Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        before = self.macs
        out = super().__torch_dispatch__(func, types, args, kwargs)
        for tensor in args if self.macs > before else ():
            if isinstance(tensor, Tensor):
                self.by_memory[storage_key(tensor)] += self.macs - before
        return out
