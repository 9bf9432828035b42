"""PyTorch's exports of the two detectors: of the same code each is made once, for all who need it.

An export takes seconds, all of PyTorch's own work, and what it makes is the same for all weights
of a network but for the weights themselves. So a file that is there is taken with other weights put
in; that they are right is proved in each test that exports. Networks of other classes are exported
each time, and so is all that a test with the fixture ``afresh`` exports.
"""

from __future__ import annotations

import collections
import hashlib
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from toolchain.exporting import onnx_file
from toolchain.models.eresfd import EResFD
from toolchain.models.extd import EXTD

Export = Callable[..., onnx.ModelProto]
REAL: Export = onnx_file._export


def kept_in(folder: Path) -> Export:
    """Return an exporter that keeps what it makes in ``folder``, also for other processes."""

    def export(network: nn.Module, example: Any, names: Any, *, dynamic: bool) -> onnx.ModelProto:
        key = _key(network, example, names, dynamic)
        if key is None:
            return REAL(network, example, names, dynamic=dynamic)
        weights, place = _weights(network), folder / key
        model = _found(place, weights)
        if model is None:
            model = REAL(network, example, names, dynamic=dynamic)
            _keep(place, model, weights)
        return model

    return export


def _key(network: nn.Module, example: Any, names: Any, dynamic: bool) -> str | None:
    """Name all that an export depends on but the weights; None if it is more than that."""
    if type(network) not in (EResFD, EXTD) or any(
        module._forward_hooks or module._forward_pre_hooks for module in network.modules()
    ):
        return None
    shapes = [(tensor.shape, tensor.dtype) for tensor in example]
    state = [(name, each.shape, each.dtype) for name, each in network.state_dict().items()]
    facts = (type(network), network, network.training, shapes, names, dynamic, *state)
    return hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()


def _weights(network: nn.Module) -> dict[str, bytes]:
    state = network.state_dict().items()
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in state}


def _found(place: Path, weights: dict[str, bytes]) -> onnx.ModelProto | None:
    """Return a file that was made of such a network, with these weights; None if there is none."""
    for facts in sorted(place.glob("*.json")):
        fixed = json.loads(facts.read_text())
        if all(_digest(weights[name]) == digest for name, digest in fixed.items()):
            model = onnx.load_from_string(facts.with_suffix(".onnx").read_bytes())
            for tensor in model.graph.initializer:
                if tensor.name in weights and tensor.name not in fixed:
                    tensor.raw_data = weights[tensor.name]
            return model
    return None


def _keep(place: Path, model: onnx.ModelProto, weights: dict[str, bytes]) -> None:
    """Keep a file, and the digests of those weights that no others may take the place of.

    That is what stands in the file in another way than as it is, and what is there twice, for an
    exporter may write it once.
    """
    there = {tensor.name: tensor.raw_data for tensor in model.graph.initializer}
    times = collections.Counter(weights.values())
    fixed = {
        name: _digest(data)
        for name, data in weights.items()
        if there.get(name) != data or times[data] > 1
    }
    place.mkdir(exist_ok=True)
    beside = place / secrets.token_hex(8)
    beside.with_suffix(".onnx").write_bytes(model.SerializeToString(deterministic=True))
    beside.write_text(json.dumps(fixed))
    beside.rename(beside.with_suffix(".json"))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
