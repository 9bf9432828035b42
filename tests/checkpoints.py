"""Files of weights, as tests write and read them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from toolchain.errors import CheckpointError
from toolchain.models.headers import METADATA_KEY
from toolchain.models.layouts import CLOVAAI_PARTS, Checkpoint, read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into

State = dict[str, Tensor]
MODELS = ["eresfd", "extd"]
WEIGHT = "base.conv1.0.weight"
"""A tensor of EResFD, (8, 3, 5, 5)."""


@functools.cache
def drawn(model: str) -> State:
    return dict(build(model, 11).state_dict())


def random_state(model: str = "eresfd") -> State:
    """The weights of a network of a seed that nothing else here uses."""
    return dict(drawn(model))


def saved(path: Path, content: object, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def native(path: Path, state: State, metadata: object) -> Path:
    """A safetensors file as anyone could write it, with any metadata."""
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    save_file({key: value.clone() for key, value in state.items()}, path, {METADATA_KEY: text})
    return path


def five_files(folder: Path, state: State, stem: str = "face.pth") -> Path:
    folder.mkdir(exist_ok=True)
    for part in CLOVAAI_PARTS:
        prefix = f"{part}."
        content = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        saved(folder / f"{stem}.{part}.pth", content)
    return folder


def load(path: Path, model: str = "eresfd") -> tuple[Checkpoint, nn.Module]:
    checkpoint = read_checkpoint(path)
    network = build(model)
    load_into(network, checkpoint, model)
    return checkpoint, network


def assert_holds(network: nn.Module, state: State) -> None:
    found = network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def refusal(path: Path, model: str = "eresfd") -> str:
    """Return the message with which a file is refused; it must be one line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        load(path, model)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert path.name in message
    assert "weights_only" not in message, "torch's advice to load it all the same"
    return message
