"""Putting weights into networks, strictly, and saving networks of any width."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from toolchain.errors import CheckpointError
from toolchain.models import detector
from toolchain.models.choosing import PLAIN, Choice, choose
from toolchain.models.headers import METADATA_KEY
from toolchain.models.layouts import FOLDED_STATISTICS, STATISTICS_KEY, Checkpoint
from toolchain.models.numbers import changes_of, read_changes
from toolchain.models.state_dicts import StateDict
from toolchain.models.values import check_values
from toolchain.system.files import write_bytes

SCHEMA = 1

NUMBERS_KEY = "numbers"
"""Metadata of a native file of a network whose code holds numbers of channels that were changed."""

STATISTICS = ("running_mean", "running_var")
"""How the names of batch norm's running statistics end."""


def load_into(
    network: nn.Module, checkpoint: Checkpoint, model: str, choice: Choice = PLAIN
) -> tuple[str, ...]:
    """Load ``checkpoint`` into ``network``, of model ``model``; return what there is to say.

    Every tensor must be there and fit. A native file may hold narrower layers and added biases: the
    network takes its shapes first. It may also say that batch norm's running statistics are folded,
    and leave out all of them. Raises :class:`CheckpointError`, and leaves the network alone then.
    """
    other = checkpoint.model is not None and checkpoint.model != model
    if checkpoint.layout == "native":
        if other:
            raise _mistaken(checkpoint, model)
        checkpoint = _with_statistics(network, checkpoint)
        if NUMBERS_KEY in checkpoint.metadata:
            read_changes(network, checkpoint.metadata[NUMBERS_KEY], checkpoint.name)
        _take_shapes(network, checkpoint)
    expected = {
        name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)
    }
    try:
        taken = choose(checkpoint.name, checkpoint.dicts, expected, choice, model)
    except CheckpointError as error:
        if other:
            raise _mistaken(checkpoint, model) from error
        raise
    notes = (*taken.notes, *check_values(checkpoint.name, taken.state, network))
    network.load_state_dict(dict(taken.state), strict=False)
    if checkpoint.layout == "native" and detector.find(model) is not None:
        _check_widths(network, checkpoint)
    return notes


def _mistaken(checkpoint: Checkpoint, model: str) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint.name} is a checkpoint of {checkpoint.model}; expected one of {model} "
        f"(choose the model {checkpoint.model}, or another file)"
    )


def _with_statistics(network: nn.Module, checkpoint: Checkpoint) -> Checkpoint:
    """Add means of 0 and variances of 1 where the file says that it leaves all of them out."""
    if checkpoint.metadata.get(STATISTICS_KEY) != FOLDED_STATISTICS:
        return checkpoint
    if any(name.endswith(STATISTICS) for name in checkpoint.state):
        return checkpoint  # what is missing is told by the strict check
    state = dict(checkpoint.state)
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            scale = state.get(f"{name}.weight")
            width = module.num_features if scale is None else int(scale.numel())
            state[f"{name}.running_mean"] = torch.zeros(width)
            state[f"{name}.running_var"] = torch.ones(width)
    return dataclasses.replace(checkpoint, dicts=(StateDict("", state),))


def _check_widths(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Widths that contradict each other show when the network runs."""
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, 64, 64))
    except (RuntimeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{checkpoint.name} holds layers whose widths contradict each other "
            f"({' '.join(str(error).split())[:160]}); write it again"
        ) from error


def _take_shapes(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Narrow the layers of a freshly built network to the widths of a shrunk one.

    A parameter that several modules share stays shared.
    """
    made: dict[int, nn.Parameter] = {}
    for name, module in network.named_modules():
        for key, tensor in [*module._parameters.items(), *module._buffers.items()]:
            found = checkpoint.state.get(f"{name}.{key}" if name else key)
            if found is None or (tensor is not None and found.shape == tensor.shape):
                continue
            if tensor is not None and (
                found.ndim != tensor.ndim or found.shape[2:] != tensor.shape[2:]
            ):
                continue  # told by the strict check
            if key in module._parameters:
                own = tensor if tensor is not None else module._parameters["weight"]
                learns = own is None or own.requires_grad
                new = nn.Parameter(torch.empty_like(found, device="cpu"), requires_grad=learns)
                module._parameters[key] = (
                    new if tensor is None else made.setdefault(id(tensor), new)
                )
            else:
                module._buffers[key] = torch.empty_like(found)
        _take_widths(module)
        if isinstance(module, nn.RNNBase):
            _take_recurrent_widths(module)


def _take_recurrent_widths(module: nn.RNNBase) -> None:
    first, state = module._parameters["weight_ih_l0"], module._parameters["weight_hh_l0"]
    assert first is not None
    assert state is not None
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    module.input_size, module.hidden_size = int(first.shape[1]), len(state) // gates


def _take_widths(module: nn.Module) -> None:
    """Let the width attributes follow the shapes of the weights."""
    weight: Tensor | None = module._parameters.get("weight")
    if weight is None:  # a norm without scale has statistics
        weight = module._buffers.get("running_mean")
    if weight is None:
        return
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, _ConvNd):
        depthwise = module.groups > 1 and module.groups == module.in_channels
        wide, per_group = (1, 0) if module.transposed else (0, 1)
        if depthwise:
            multiplier = module.out_channels // module.in_channels
            module.groups = weight.shape[0] // (1 if module.transposed else multiplier)
        outer = weight.shape[wide] * (module.groups if module.transposed else 1)
        inner = weight.shape[per_group] * (1 if module.transposed else module.groups)
        module.out_channels, module.in_channels = int(outer), int(inner)
    elif isinstance(module, nn.GroupNorm):  # whole groups go
        module.num_groups = module.num_groups * int(weight.shape[0]) // module.num_channels
        module.num_channels = int(weight.shape[0])
    elif weight.ndim == 1:
        for attribute in ("num_features", "num_parameters"):
            if hasattr(module, attribute):
                setattr(module, attribute, int(weight.shape[0]))


def save_native(network: nn.Module, path: Path, metadata: dict[str, object]) -> None:
    """Write ``network`` as safetensors; the same bytes each time.

    Its widths are among the metadata, and the numbers in its code that a surgery changed.
    """
    state = unique_state(network)
    widths = {
        name: [int(tensor.shape[0]), int(tensor.shape[1])]
        for name, tensor in state.items()
        if tensor.ndim >= 2
    }
    content = {**metadata, "widths": widths}
    if numbers := changes_of(network):
        content[NUMBERS_KEY] = numbers
    write_native(state, path, content)


def write_native(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, object]) -> None:
    """Write tensors by their names, and metadata as they are, as a native file."""
    content = {"schema": SCHEMA, **metadata}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    write_bytes(path, save(tensors, metadata={METADATA_KEY: text}))


def unique_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict, each shared tensor as a copy under each of its names."""
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        pointer = tensor.untyped_storage().data_ptr()
        state[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return state
