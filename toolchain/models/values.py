"""Checking the values of weights before a network takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from toolchain.errors import CheckpointError
from toolchain.models.parametrised import is_dense
from toolchain.models.state_dicts import shown


def check_values(file: str, state: Mapping[str, Tensor], network: nn.Module) -> Iterator[str]:
    """Raise :class:`CheckpointError` for values that no network can have; yield notes on types."""
    expected, parameters = network.state_dict(), dict(network.named_parameters())
    types: dict[tuple[torch.dtype, torch.dtype], int] = {}
    for name, tensor in state.items():
        _check_kind(file, name, tensor)
        wanted = expected[name].dtype
        if not tensor.is_floating_point():
            if name in parameters and wanted.is_floating_point:
                raise CheckpointError(
                    f"{file}: {shown(name)} holds {_words(tensor.dtype)}, the network's are "
                    f"{_words(wanted)}; if these are quantised, give the checkpoint before that"
                )
            continue
        _check_finite(file, name, tensor, wanted)
        if tensor.dtype != wanted and wanted.is_floating_point:
            types[tensor.dtype, wanted] = types.get((tensor.dtype, wanted), 0) + 1
    for (found, wanted), count in types.items():
        yield (
            f"Taken into the network's {_words(wanted)}: {count} of {len(state)} tensors of "
            f"{file}, which are {_words(found)}."
        )


def _check_kind(file: str, name: str, tensor: Tensor) -> None:
    if not is_dense(tensor) or tensor.is_complex():
        raise CheckpointError(
            f"{file}: {shown(name)} must be a dense tensor of real numbers (got {tensor.layout}, "
            f"{tensor.dtype}, on {tensor.device})"
        )


def _check_finite(file: str, name: str, tensor: Tensor, wanted: torch.dtype) -> None:
    if tensor.itemsize == 1:
        tensor = tensor.float()  # torch computes nothing in types of 8 bits
    wrong = int((~torch.isfinite(tensor)).sum())
    if wrong:
        raise CheckpointError(
            f"{file}: {shown(name)} is NaN or infinite in {wrong:,} of {tensor.numel():,} values; "
            f"the training diverged, take an earlier checkpoint"
        )
    if name.endswith("running_var") and bool((tensor < 0).any()):
        raise CheckpointError(
            f"{file}: {shown(name)} is below zero in {int((tensor < 0).sum()):,} of "
            f"{tensor.numel():,} values, which no variance can be; the file is damaged or was "
            f"changed, take another checkpoint"
        )
    if wanted.is_floating_point and not bool(torch.isfinite(tensor.to(wanted)).all()):
        wrong = int((~torch.isfinite(tensor.to(wanted))).sum())
        raise CheckpointError(
            f"{file}: {shown(name)} is too large for the network's {_words(wanted)} in {wrong:,} "
            f"of {tensor.numel():,} values; build the network in {_words(tensor.dtype)}"
        )


def _words(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
