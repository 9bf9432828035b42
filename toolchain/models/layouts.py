"""Layouts of published checkpoints: what belongs to which network, and with which anchors.

layout               what it is                                        anchors
eresfd/clovaai       five files NAME.base.pth ... NAME.act_conf.pth    1.25 times as high as wide
eresfd/flat          one state dict, as the paper published it         square
extd/flat            one state dict                                    square
extd/epoch-weight    {"epoch": ..., "weight": state dict}              square
yunet/flat           one state dict                                    -
yunet/onnx           the published ONNX file, batch norm folded        -
plain                a state dict of a network of one's own            -
native               our own safetensors                               in its metadata
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from toolchain.errors import CheckpointError, ModelError
from toolchain.models.detector import detectors, names
from toolchain.models.headers import native_metadata
from toolchain.models.kinds import SAVE, is_safetensors
from toolchain.models.published_onnx import read_published
from toolchain.models.reading import read_pickle, read_safetensors
from toolchain.models.state_dicts import StateDict, find_state_dicts, quoted
from toolchain.system.files import sha256_of

CLOVAAI_PARTS = ("base", "loc", "conf", "act_loc", "act_conf")
STATISTICS_KEY, FOLDED_STATISTICS = "batch_norm", "folded statistics"
"""Metadata of a native file that leaves the running statistics of batch norm out: they are in its
scale and shift, so that all means are 0 and all variances 1."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights as they were read, by the names that the networks use."""

    name: str
    """The file's name, without its folder."""
    layout: str
    sha256: str
    dicts: tuple[StateDict, ...]
    """All that the file holds; which of them a network takes is told when it is loaded."""
    aspect_ratio: float | None
    """Anchor height over width that the layout tells; None where it tells nothing."""
    metadata: dict[str, object]
    """Of a native file; empty for others."""

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors of the first of the dictionaries."""
        return self.dicts[0].tensors

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
    if path.suffix == ".safetensors" or (path.is_file() and is_safetensors(path)):
        return _read_native(path)
    published = read_published(path) if path.is_file() else None
    if published is not None:
        model, tensors = published
        state = (StateDict("", tensors),)
        return Checkpoint(path.name, f"{model}/onnx", sha256_of(path), state, None, {})
    content = read_pickle(path)
    dicts = find_state_dicts(content)
    if content and not dicts:
        raise CheckpointError(
            f"{path}: there are no tensors in it, only {_entries(content)}; write {SAVE}"
        )
    dicts = dicts or [StateDict("", {})]
    layout = next((name for each in dicts if (name := _flat_layout(each, content))), "plain")
    return Checkpoint(
        name=path.name,
        layout=layout,
        sha256=sha256_of(path),
        dicts=tuple(dicts),
        aspect_ratio=None if layout == "plain" else 1.0,
        metadata={},
    )


def _entries(content: Mapping[str, object]) -> str:
    """Return the first entries of a file with what they are."""
    entries = [f"{quoted(str(key))} ({type(value).__name__})" for key, value in content.items()]
    more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
    return ", ".join(entries[:3]) + more


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
    state: dict[str, object] = {}
    for part, file in parts.items():
        for name, tensor in read_pickle(file).items():
            state[f"{part}.{str(name).removeprefix('module.')}"] = tensor
    digest = hashlib.sha256()
    for part, file in sorted(parts.items()):
        digest.update(f"{part}:{sha256_of(file)}\n".encode())
    return Checkpoint(
        parts["base"].name.removesuffix(".base.pth"),
        "eresfd/clovaai",
        digest.hexdigest(),
        (StateDict("", state),),
        1.25,
        {},
    )


def _read_native(path: Path) -> Checkpoint:
    tensors, metadata = read_safetensors(path)
    dicts = (StateDict("", tensors),)
    ours = native_metadata(path, metadata)
    if not ours:
        return Checkpoint(path.name, "plain", sha256_of(path), dicts, None, {})
    ratio = ours.get("aspect_ratio")
    ratio = float(ratio) if isinstance(ratio, int | float) else None
    return Checkpoint(path.name, "native", sha256_of(path), dicts, ratio, ours)


def _flat_layout(found: StateDict, content: Mapping[str, object]) -> str | None:
    """Return the detector's layout whose names are there, whatever stands before them."""
    for known in detectors():
        if known.marks and all(_holds(found, mark) for mark in known.marks):
            nested = found.key == "weight" and "epoch" in content
            layout = "epoch-weight" if nested and "epoch-weight" in known.layouts else "flat"
            return f"{known.name}/{layout}"
    return None


def _holds(found: StateDict, name: str) -> bool:
    return any(each == name or each.endswith(f".{name}") for each in found.entries)


def known_model(path: Path, asked: str | None) -> str:
    """Return the network that a checkpoint belongs to, or the one that was asked for."""
    if asked is not None:
        return asked
    found = read_checkpoint(path).model
    if found is None:
        raise ModelError(
            f"{path.name} does not tell which network it belongs to; say it by --model "
            f"({', '.join(names())}, or module:factory)"
        )
    return found
