"""An output folder of ``shrink``: what lies in it under which name, and what it tells of itself.

    folder = RunFolder.open(Path("out/eresfd"))
    folder.report.deployed_parameters_after, folder.certificate.is_complete, folder.onnx

Everything is read once, when it is first asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from toolchain.errors import InputError
from toolchain.records.certificate import NAME as CERTIFICATE
from toolchain.records.certificate import (
    Certificate,
    companions_of,
    demand_unchanged,
    open_folder,
)

ONNX = "model.onnx"
"""The main file."""
WEIGHTS = "model.safetensors"
"""The smaller network."""
REPORT, REPORT_MD, REPORT_HTML = "report.json", "report.md", "report.html"
MANIFEST = "manifest.json"
"""All files with their hashes; a folder that has one may be replaced by another run."""
BOARD_SUFFIXES = (".onnx", ".tflite", ".param")
"""Of files that run on a board."""
NCNN_FOLDER = "model_ncnn"
NCNN = f"{NCNN_FOLDER}/model.ncnn.param"
"""The network as ncnn has it: three files, for which the one stands that tells its layers."""

__all__ = [
    "BOARD_SUFFIXES",
    "CERTIFICATE",
    "MANIFEST",
    "NCNN",
    "NCNN_FOLDER",
    "ONNX",
    "REPORT",
    "REPORT_HTML",
    "REPORT_MD",
    "WEIGHTS",
    "RunFolder",
    "RunReport",
    "model_file",
    "name_of",
    "size_of",
]


def model_file(path: Path) -> Path:
    """Return the file that a path means: of an ncnn file's folder, the one that stands for it."""
    inside = path / Path(NCNN).name
    return inside if inside.is_file() else path


def name_of(path: Path) -> str:
    """Return a model file's name as its output folder has it; an ncnn file lies in its own."""
    return f"{path.absolute().parent.name}/{path.name}" if companions_of(path.name) else path.name


def size_of(path: Path) -> int:
    """Return the bytes of a model file, with those that belong to it."""
    files = [path, *(path.with_name(name) for name in companions_of(path.name))]
    return sum(file.stat().st_size for file in files)


@dataclass(frozen=True)
class RunReport:
    """What ``report.json`` tells, as far as other parts of the toolchain need it."""

    model: str
    source_sha256: str | None
    """Of the checkpoint; None for weights of a seed."""
    deployed_parameters_before: int
    deployed_parameters_after: int
    macs_before: int
    macs_after: int
    size: tuple[int, int]
    """(height, width) in pixels, at which multiply-accumulates are counted."""
    size_bytes: Mapping[str, int]
    """File name -> bytes."""
    widths: Mapping[str, int]
    """Output channels of each layer after the surgery."""
    versions: Mapping[str, str]
    """Of what was at work."""
    accuracy: Mapping[str, Any] | None = None
    """What was measured of these weights before they were shipped, as
    :class:`~toolchain.records.members.MemberAccuracy`; None for all others."""
    ncnn_instructions: Mapping[str, int] = field(default_factory=dict)
    """By core, what the ncnn file is estimated to take; empty where there is none."""


@dataclass(frozen=True)
class RunFolder:
    """An output folder of ``shrink``, or of :func:`toolchain.export`."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return the folder; raise :class:`InputError` in one line if it is none."""
        if not path.is_dir():
            raise InputError(f"{path}: is no folder; give an output folder of toolchain shrink")
        folder = cls(path)
        _ = folder.certificate  # what has none, or one that was changed, is refused here
        return folder

    @cached_property
    def certificate(self) -> Certificate:
        """The lineage of its files; raises :class:`InputError` where it was changed."""
        return open_folder(self.path)

    @cached_property
    def report(self) -> RunReport:
        """What the run found; raises :class:`InputError` where that cannot be read."""
        try:
            return _report(json.loads((self.path / REPORT).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{self.path / REPORT}: is no report of toolchain shrink") from error

    @property
    def onnx(self) -> Path:
        """The main file."""
        return self.path / ONNX

    @property
    def weights(self) -> Path:
        """The smaller network as safetensors."""
        return self.path / WEIGHTS

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files for a board, by name; those in its folders are steps on the way to them."""
        found = [*self.path.glob("model*"), self.path / NCNN]
        found = [path for path in found if path.is_file()]
        return tuple(sorted(path for path in found if path.suffix in BOARD_SUFFIXES))

    def demand_unchanged(self, names: Iterable[str] | None = None) -> None:
        """Raise :class:`InputError` unless files (None: all) are those that were proved."""
        demand_unchanged(self.path, self.certificate, names)


def _report(content: dict[str, Any]) -> RunReport:
    deployed, macs = content["deployed_parameters"], content["macs"]
    height, width = macs["size"]
    return RunReport(
        model=str(content["model"]),
        source_sha256=content["source"]["sha256"],
        deployed_parameters_before=int(deployed["before"]),
        deployed_parameters_after=int(deployed["after"]),
        macs_before=int(macs["before"]),
        macs_after=int(macs["after"]),
        size=(int(height), int(width)),
        size_bytes={str(name): int(size) for name, size in content["size_bytes"].items()},
        widths={str(each["layer"]): int(each["out_channels_after"]) for each in content["layers"]},
        versions={key: str(value) for key, value in sorted(content["versions"].items())},
        accuracy=content.get("accuracy"),
        ncnn_instructions=dict((content.get("board") or {}).get("by_core", {})),
    )
