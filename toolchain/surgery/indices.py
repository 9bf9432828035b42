"""Positions of channels in tensors: written in the code, or kept in a buffer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from toolchain.operators.classes import Nodes
from toolchain.surgery.channels import Flow, Pick
from toolchain.surgery.layers import storage_key

INTEGERS = (torch.int32, torch.int64)


class Indices:
    """Knows which tensors hold positions that no image decides."""

    def __init__(
        self, flow: Flow, tensors: Mapping[int, tuple[str, Tensor]], saved: Collection[str]
    ) -> None:
        self.reached: dict[str, list[int]] = {}
        """Buffer of positions -> the channels among which it picks."""
        self._flow, self._tensors, self._saved = flow, tensors, saved
        self._literals: dict[int, Tensor] = {}  # the tensor is held to keep its id

    def note(self, operator: str, outputs: Iterable[Tensor], written: Iterable[Tensor]) -> None:
        """Remember tensors that were made of a list in the code, until they are written to."""
        for tensor in written:
            self._literals.pop(id(tensor), None)
        if operator == "lift_fresh":
            self._literals.update((id(tensor), tensor) for tensor in outputs)

    def is_fixed(self, index: Tensor) -> bool:
        """Return True if ``index`` stands in the code, or is a buffer or a view of one."""
        known = id(index) in self._literals or storage_key(index) in self._tensors
        return known and index.dtype in INTEGERS

    def picks(self, operator: str, index: Tensor, nodes: Nodes) -> bool:
        """Return True if ``index``, positions among ``nodes``, is a buffer that can be changed.

        One that is not among what files keep cannot: it would come back as it was.
        """
        entry = self._tensors.get(storage_key(index))
        if entry is None:
            return False
        name, whole = entry
        self.reached.setdefault(name, []).extend(nodes)
        same = whole.ndim == 1 and len(whole) == len(index) and index.data_ptr() == whole.data_ptr()
        if (
            name not in self._saved
            or not same
            or (len(whole) > 1 and index.stride() != whole.stride())
        ):
            return False
        return self._flow.follow(Pick(operator, ("", name), tuple(nodes), tuple(index.tolist())))


def put_positions(network: nn.Module, name: str, positions: Iterable[int]) -> None:
    """Replace a buffer of positions, in place, in every module that has it."""
    owner, _, attribute = name.rpartition(".")
    old = getattr(network.get_submodule(owner), attribute)
    new = torch.tensor(list(positions), dtype=old.dtype)
    for module in network.modules():
        for key, value in module._buffers.items():
            if value is old:
                module._buffers[key] = new
