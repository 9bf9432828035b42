"""Weights out of ONNX files in which detectors were published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from toolchain.models.detector import Detector, detectors
from toolchain.models.headers import check_size

OURS = "detector"
"""Metadata of files that the toolchain exported."""
Convolution = tuple[Tensor, Tensor]
"""Weight (out, in / groups, ...) and bias (out,)."""


def read_published(path: Path) -> tuple[str, dict[str, Tensor]] | None:
    """Return the detector that an ONNX file holds, and its state dict.

    None for any other file, such as one that the toolchain made, or that cannot be read. Batch norm
    is folded into the file's convolutions, so the network's own does nothing. Raises
    :class:`CheckpointError` for a file that is too large.
    """
    known = [each for each in detectors() if each.convolutions]
    if path.suffix != ".onnx" or not known:
        return None
    check_size(path)
    try:
        model = onnx.load(path, load_external_data=False)
        if any(entry.key == OURS for entry in model.metadata_props):
            return None
        found = _convolutions(model.graph)
    except Exception:  # damaged files raise errors of many kinds; who reads them next tells
        return None
    for each in known:
        state = _state(each, found)
        if state is not None:
            return each.name, state
    return None


def _convolutions(graph: Any) -> list[Convolution]:
    """Return those whose weights lie in the file, in the graph's order."""
    held = {each.name: each for each in graph.initializer}
    wanted = [node.input for node in graph.node if node.op_type == "Conv" and len(node.input) == 3]
    return [
        (_tensor(held[weight]), _tensor(held[bias]))
        for _, weight, bias in wanted
        if weight in held and bias in held
    ]


def _tensor(initializer: Any) -> Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(initializer), np.float32))


def _state(detector: Detector, found: Sequence[Convolution]) -> dict[str, Tensor] | None:
    """Return a detector's state dict with these convolutions; None if they are not its own."""
    if len(found) != len(detector.convolutions):
        return None
    with torch.random.fork_rng(devices=[]):  # reading a file draws nothing that a run counts on
        network = detector.factory()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, (weight, bias) in zip(detector.convolutions, found, strict=True):
        if state[f"{name}.weight"].shape != weight.shape or len(bias) != len(weight):
            return None
        state[f"{name}.weight"], state[f"{name}.bias"] = weight, bias
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            _do_nothing(state, name, module)
    return state


def _do_nothing(state: dict[str, Tensor], name: str, norm: nn.Module) -> None:
    """Let batch norm give what it is given: mean 0, variance 1, and a scale of its epsilon's."""
    assert isinstance(norm, _BatchNorm)
    like = state[f"{name}.weight"]
    state[f"{name}.weight"] = torch.full_like(like, (1 + norm.eps) ** 0.5)
    state[f"{name}.bias"] = torch.zeros_like(like)
    state[f"{name}.running_mean"] = torch.zeros_like(like)
    state[f"{name}.running_var"] = torch.ones_like(like)
