"""What is measured of one network."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import __version__ as torch_version

import toolchain

ROOMS = ("models", "operators", "surgery", "pruning", "checking", "exporting", "library")
"""What of the package is measured."""


@dataclass(frozen=True)
class Shrunk:
    """One surgery: what was zeroed, what of it went, and what it took."""

    parameters_before: int
    parameters_after: int
    zeroed: int
    """Filters with only zero weights."""
    kept: int
    """Those of them that are still there."""
    kept_by: Mapping[str, int]
    """Reason, with its operator -> how many it keeps."""
    not_asked_by: Mapping[str, int]
    """Reason -> filters that the rate would take and that are not even zeroed."""
    differences: tuple[float, ...]
    """By output, the largest in float64 over all sizes, as a share of the output's range."""
    proof: float | None
    """The same as the tool's own proof says."""
    ways: tuple[str, ...]
    """How the code follows: ``arithmetic``, ``attribute``, ``rewritten``; empty if it need not."""
    without_torch_pruning: bool
    choose_s: float
    cut_s: float
    prove_s: float
    """CPU seconds of one thread."""


@dataclass(frozen=True)
class Peer:
    """Torch-Pruning's removal at the same rate."""

    parameters_after: int | None = None
    differences: tuple[float, ...] = ()
    """From the network with the same filters zeroed."""
    error: str = ""
    """What it, or the smaller network, ends with."""


@dataclass(frozen=True)
class Measured:
    """All that is measured of one network; a stage that failed is in ``errors`` instead."""

    name: str
    state: str
    shape: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    """Heights and widths at which outputs were compared."""
    parameters: int
    published: int | None
    done: tuple[str, ...] = ()
    """Stages that were measured, whether they succeeded or not."""
    layer: Shrunk | None = None
    """Each layer's filters zeroed on their own, weights alone."""
    group: Shrunk | None = None
    """Filters chosen by a rate, in groups."""
    memory_mb: int = 0
    """The most that the process held up to here: choosing, surgery and proof."""
    peer: Peer = field(default_factory=Peer)
    """At the same rate; it takes a filter more than the rate where that is no whole number."""
    peer_floor: Peer = field(default_factory=Peer)
    """At the rate of each layer that takes floor(rate * n) filters, as ours does."""
    files: Mapping[str, float | None] = field(default_factory=dict)
    """File -> its largest difference from what it was made of, as a share of a channel's range."""
    errors: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write beside and move into place."""
        path = path_of(self.name, folder)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(asdict(self), indent=1) + "\n")
        beside.replace(path)

    @classmethod
    def read(cls, path: Path) -> Measured:
        """Read what :meth:`write` wrote."""
        content: dict[str, Any] = json.loads(path.read_text())
        for part, kind in (
            ("layer", Shrunk),
            ("group", Shrunk),
            ("peer", Peer),
            ("peer_floor", Peer),
        ):
            if content[part] is not None:
                content[part] = kind(**content[part])
        content["done"] = tuple(content["done"])
        return cls(**content)


def path_of(name: str, folder: Path) -> Path:
    """Where a network's measurement lies."""
    return folder / f"{re.sub('[^A-Za-z0-9.-]+', '-', name)}.json"


def state() -> str:
    """Tell apart states of the code under test: measurements of different ones do not mix."""
    package = Path(toolchain.__file__).parent
    folders = [package / room for room in ROOMS] + [Path(__file__).parent / "networks"]
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(path.read_bytes())
    peer = version("torch-pruning")
    return f"{digest.hexdigest()[:12]}, torch {torch_version}, Torch-Pruning {peer}"
