"""PyTorch's exports of the two detectors: in a test run each is made once, for all who need it.

An export takes seconds, mostly of PyTorch's own work, and many tests need the same one on the way
to what they look at. Networks of other classes are exported each time, and so is all that a test
with the fixture ``afresh`` exports.
"""

from __future__ import annotations

import hashlib
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
        path = folder / key
        if not path.exists():
            model = REAL(network, example, names, dynamic=dynamic)
            beside = folder / f"{key}.{secrets.token_hex(4)}"
            beside.write_bytes(model.SerializeToString(deterministic=True))
            beside.rename(path)
        return onnx.load_from_string(path.read_bytes())

    return export


def _key(network: nn.Module, example: Any, names: Any, dynamic: bool) -> str | None:
    """Name all that an export depends on: layers, values, shapes; None if it is more than that."""
    if type(network) not in (EResFD, EXTD) or any(
        module._forward_hooks or module._forward_pre_hooks for module in network.modules()
    ):
        return None
    shapes = [(tensor.shape, tensor.dtype) for tensor in example]
    facts = (type(network), network, network.training, shapes, names, dynamic)
    digest = hashlib.sha256("\n".join(map(str, facts)).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
