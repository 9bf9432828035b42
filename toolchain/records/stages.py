"""The frozen records that stages hand on; nothing here computes.

Every record turns into JSON by :func:`dataclasses.asdict`; field names carry their units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from toolchain.records.certificate import Certificate
from toolchain.records.members import MemberAccuracy
from toolchain.records.parity import Parity
from toolchain.records.reasons import Reason, Removal
from toolchain.records.timings import Estimate

Verdict = Literal["dropped", "folded", "carried", "kept"]
"""What became of a channel. *dropped*: nothing of it was left to account for. *folded*: its
constant went into the bias of what reads it. *carried*: its constant went into the weights that
read another constant channel, its carrier. *kept*: it is still there, and the reason says why."""


@dataclass(frozen=True)
class FilterVerdict:
    """What the surgery did with one zeroed filter."""

    layer: str
    index: int
    """The filter, counted as in the network before the surgery; its channel has the same number."""
    verdict: Verdict
    reason: Reason


@dataclass(frozen=True)
class LayerChange:
    """One layer before and after the surgery, for tables and pictures."""

    layer: str
    kind: str
    out_channels_before: int
    out_channels_after: int
    in_channels_before: int
    in_channels_after: int
    zeroed_filters: int
    dropped: int
    folded: int
    carried: int
    kept: int
    """``dropped`` ... ``kept`` count zeroed filters; they add up to ``zeroed_filters``."""


@dataclass(frozen=True)
class Number:
    """A number of channels in the network's code that the surgery changed."""

    module: str
    """The module's name; empty for the network itself."""
    place: str
    """An attribute (``c``, ``sizes.1``); or, with a colon, an argument in the module's code, whose
    ``forward`` was written anew (``split:1.0``); or a buffer of positions."""
    before: int | str | tuple[int, ...]
    """A number; or the positions of channels that are picked, or the slice that picks them."""
    after: int | str | tuple[int, ...]

    @property
    def in_code(self) -> bool:
        """True if it stood in the code, False if in an attribute."""
        return ":" in self.place


@dataclass(frozen=True)
class Surgery:
    """Everything that one surgery did."""

    rounds: int
    filters: tuple[FilterVerdict, ...]
    layers: tuple[LayerChange, ...]
    removed_live_filters: int = 0
    """Filters with non-zero weights that went because nothing reads them, or because all that
    they compute does not depend on the image."""
    without_torch_pruning: str = ""
    """Why torch-pruning could not follow the network, so that our own run alone told which
    channels belong together; empty if it could."""
    removal: Removal | None = None
    """What was to be removed, and what went; None where nobody asked."""
    by_arithmetic: tuple[str, ...] = ()
    """Operators that put channels elsewhere (``aten``'s), of which some went, and after which the
    code's own arithmetic is right."""
    numbers: tuple[Number, ...] = ()
    """What was changed where the code holds numbers of channels."""

    def count(self, verdict: Verdict) -> int:
        """Return how many zeroed filters got ``verdict``."""
        return sum(item.verdict == verdict for item in self.filters)


@dataclass(frozen=True)
class Cost:
    """What a network costs to store and to run once on one image."""

    deployed_parameters: int
    """Weights and biases of layers after batch norm is folded, each shared tensor once."""
    non_layer_parameters: int
    """Parameters outside layers (EResFD's 18 fusion weights); exporters bake them in."""
    macs: int
    """Multiply-accumulates of one image at ``size``."""
    size: tuple[int, int]
    """(height, width) of that image."""
    uncounted_operators: tuple[str, ...] = ()
    """Operators that multiply and add but have no counting rule; empty for both detectors."""


@dataclass(frozen=True)
class Latency:
    """A quick comparison of two ONNX files on this machine: a ratio, never a promise."""

    ratio: float
    """Median over rounds of after / before, measured interleaved in one run."""
    ratio_low: float
    ratio_high: float
    """Quartiles of the ratio over the rounds."""
    before_ms: float
    after_ms: float
    rounds: int
    threads: int
    size: tuple[int, int]
    runtime: str
    machine: str


@dataclass(frozen=True)
class Artifact:
    """A file that was written."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Stage:
    """How long a stage took."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Detections:
    """Boxes on one photo, in its pixels."""

    boxes: tuple[tuple[float, float, float, float], ...]
    """(left, top, right, bottom)."""
    scores: tuple[float, ...]


@dataclass(frozen=True)
class PhotoComparison:
    """The same photo through the network before and after."""

    name: str
    before: Detections
    after: Detections
    max_box_diff_px: float | None
    """Largest difference of any coordinate; None when the boxes cannot be paired."""
    before_png: bytes = field(repr=False, default=b"")
    after_png: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class Source:
    """Where the weights came from."""

    path: str | None
    """The file's name (never its folder), or None when they were made from a seed."""
    layout: str
    sha256: str | None
    trained: bool
    seed: int
    accuracy: MemberAccuracy | None = None
    """Of a shipped network, measured as it is shipped; None for all other weights."""


@dataclass(frozen=True)
class Rewritten:
    """What a rewrite of the ONNX file did."""

    name: str
    changed: int
    """How many operators were rewritten or are gone."""
    lacking: str | None
    """Why nothing was, in words; None if something was."""


WORTH = 0.5
"""Share of a rate that must be saved in instructions on a board, or the rate does not pay."""


@dataclass(frozen=True)
class OnBoard:
    """What the network is estimated to take on a board, in the runtime that is fastest there."""

    board: str
    """As ``toolchain targets`` names it."""
    runtime: str
    """With its version."""
    size: tuple[int, int]
    """(height, width) of the input."""
    before: int
    """Instructions of one inference, one thread, of the network before the surgery."""
    after: int
    milliseconds: Estimate
    """Of ``after``."""
    uncounted: tuple[str, ...] = ()
    """Kinds of operators that are in neither."""
    by_core: Mapping[str, int] = field(default_factory=dict)
    """What ``after`` is on every core whose layers are known."""

    @property
    def saved(self) -> float:
        """The share of the instructions that is saved; negative if there are more."""
        return 1 - self.after / self.before


@dataclass(frozen=True)
class Report:
    """All that one run of ``shrink`` found; the report room only renders it."""

    model: str
    source: Source
    rate: float | None
    criterion: str | None
    scope: str | None
    stages: tuple[Stage, ...]
    surgery: Surgery
    cost_before: Cost
    cost_after: Cost
    parity_exact: Parity | None
    """Of the surgery in float64, where it is exact or wrong; None where the network does not run
    in float64."""
    parity_surgery: Parity
    """Of the surgery in the network's own type, against float64's truth where there is one."""
    parity_onnx: Parity
    latency: Latency | None
    artifacts: tuple[Artifact, ...]
    onnx_before_bytes: int
    """Size of the network before, exported in the same way."""
    photos: tuple[PhotoComparison, ...]
    notes: tuple[str, ...]
    """What the reader must know: untrained, one-shot pruning costs accuracy, and so on."""
    versions: dict[str, str]
    command: str
    accuracy: MemberAccuracy | None = None
    """Measured of these very weights before they were shipped; None: not known. The shrunk network
    has it too, as the proof says."""
    certificate: Certificate | None = None
    """The lineage of all files, with what each link costs."""
    rewrites: tuple[Rewritten, ...] = ()
    """In the order in which they were done."""
    board: OnBoard | None = None
    """What the network would take on a board; None where that cannot be told."""
