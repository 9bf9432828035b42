"""Layouts of published checkpoints: what belongs to which network, and with which anchors.

layout               what it is                                        anchors
eresfd/clovaai       five files NAME.base.pth ... NAME.act_conf.pth    1.25 times as high as wide
eresfd/flat          one state dict, as the paper published it         square
extd/flat            one state dict                                    square
extd/epoch-weight    {"epoch": ..., "weight": state dict}              square
plain                a state dict of a network of one's own            -
native               our own safetensors                               in its metadata
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from toolchain.errors import CheckpointError
from toolchain.files import sha256_of
from toolchain.models.reading import read_header, read_pickle, read_safetensors

CLOVAAI_PARTS = ("base", "loc", "conf", "act_loc", "act_conf")
METADATA_KEY = "toolchain"
STATISTICS_KEY, FOLDED_STATISTICS = "batch_norm", "folded statistics"
"""Metadata of a native file that leaves the running statistics of batch norm out: they are in its
scale and shift, so that all means are 0 and all variances 1."""
WRAPPERS = ("weight", "state_dict", "model_state_dict", "model")
"""Keys under which training scripts put the state dict."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights as they were read, by the names that the networks use."""

    name: str
    """The file's name, without its folder."""
    layout: str
    sha256: str
    state: dict[str, Tensor]
    aspect_ratio: float | None
    """Anchor height over width that the layout tells; None where it tells nothing."""
    metadata: dict[str, object]
    """Of a native file; empty for others."""

    @property
    def model(self) -> str | None:
        """The network that the layout belongs to, or None."""
        if self.layout == "native":
            return str(self.metadata.get("model"))
        return self.layout.split("/")[0] if "/" in self.layout else None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read any known layout; raise :class:`CheckpointError` in one line."""
    parts = _clovaai_parts(path)
    if parts is not None:
        return _read_clovaai(parts)
    if path.suffix == ".safetensors":
        return _read_native(path)
    content = read_pickle(path)
    wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
    inner = content[wrapper] if wrapper else content
    if not isinstance(inner, Mapping):
        raise CheckpointError(f"{path}: {wrapper} is no dictionary of tensors")
    state = _tensors(path, inner)
    layout = _flat_layout(state, wrapper, content)
    return Checkpoint(
        name=path.name,
        layout=layout,
        sha256=sha256_of(path),
        state=state,
        aspect_ratio=None if layout == "plain" else 1.0,
        metadata={},
    )


def _clovaai_parts(path: Path) -> dict[str, Path] | None:
    """Return the five files if ``path`` is their folder or their common prefix."""
    if path.is_dir():
        bases = sorted(path.glob("*.base.pth"))
        if len(bases) != 1:
            raise CheckpointError(
                f"{path}: expected one NAME.base.pth with its four companions, found {len(bases)}"
            )
        path = bases[0].with_name(bases[0].name.removesuffix(".base.pth"))
    parts = {part: path.with_name(f"{path.name}.{part}.pth") for part in CLOVAAI_PARTS}
    if path.is_file() or not parts["base"].is_file():
        return None
    missing = [file.name for file in parts.values() if not file.is_file()]
    if missing:
        raise CheckpointError(f"{path}: the layout of five files lacks {', '.join(missing)}")
    return parts


def _read_clovaai(parts: dict[str, Path]) -> Checkpoint:
    state: dict[str, Tensor] = {}
    for part, file in parts.items():
        for name, tensor in _tensors(file, read_pickle(file)).items():
            state[f"{part}.{name}"] = tensor
    digest = hashlib.sha256()
    for part, file in sorted(parts.items()):
        digest.update(f"{part}:{sha256_of(file)}\n".encode())
    return Checkpoint(
        parts["base"].name.removesuffix(".base.pth"),
        "eresfd/clovaai",
        digest.hexdigest(),
        state,
        1.25,
        {},
    )


def _read_native(path: Path) -> Checkpoint:
    tensors, metadata = read_safetensors(path)
    state = _tensors(path, tensors)
    ours = _native_metadata(path, metadata)
    if not ours:
        return Checkpoint(path.name, "plain", sha256_of(path), state, None, {})
    ratio = ours.get("aspect_ratio")
    ratio = float(ratio) if isinstance(ratio, int | float) else None
    return Checkpoint(path.name, "native", sha256_of(path), state, ratio, ours)


def read_metadata(path: Path) -> dict[str, object]:
    """Return the metadata of a native file, empty for others' safetensors; reads no tensors.

    Raises :class:`CheckpointError` in one line.
    """
    return _native_metadata(path, read_header(path))


def _native_metadata(path: Path, metadata: Mapping[str, str]) -> dict[str, object]:
    """Return our part of a file's metadata, checked; empty where there is none."""
    try:
        ours = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its toolchain metadata is damaged ({error})") from error
    if not isinstance(ours, dict):
        raise CheckpointError(f"{path}: its toolchain metadata is damaged (it is no table)")
    if not ours:
        return {}
    ratio, model = ours.get("aspect_ratio"), ours.get("model")
    if not isinstance(model, str) or not model.isprintable():
        raise CheckpointError(f"{path}: its toolchain metadata is damaged (model is {model!r})")
    if ratio is not None and not (type(ratio) in (int, float) and 0.1 <= ratio <= 10):
        raise CheckpointError(
            f"{path}: its toolchain metadata is damaged (aspect_ratio must be >= 0.1 and <= 10; "
            f"got {str(ratio)[:40]})"
        )
    return ours


def _tensors(path: Path, content: Mapping[str, object]) -> dict[str, Tensor]:
    """Check that all entries are finite tensors; take off DataParallel's prefix."""
    state: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: entry {name!r} must be a tensor (got {type(value).__name__})"
            )
        if value.layout != torch.strided or value.is_meta or value.is_complex():
            raise CheckpointError(
                f"{path}: {name} must be a dense tensor of real numbers (got {value.layout}, "
                f"{value.dtype}, on {value.device})"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise CheckpointError(
                f"{path}: {name} holds {count} values that are NaN or infinite; the training "
                f"diverged, take an earlier checkpoint"
            )
        state[str(name).removeprefix("module.")] = value
    return state


def _flat_layout(state: dict[str, Tensor], wrapper: str | None, content: object) -> str:
    if "base.m0.fpn.w1" in state:
        return "eresfd/flat"
    if "upfeat.0.0.weight" in state and "base.2.conv.0.weight" in state:
        wrapped = wrapper == "weight" and isinstance(content, Mapping) and "epoch" in content
        return "extd/epoch-weight" if wrapped else "extd/flat"
    return "plain"
