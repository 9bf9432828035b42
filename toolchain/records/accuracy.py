"""The frozen records of an evaluation: protocols, curves, results; nothing here computes.

Average precision is between 0 and 1 throughout; boxes are in pixels of the original photo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LEVELS = ("easy", "medium", "hard")
"""The official levels of WIDER FACE's validation set."""

OVERLAPS = "overlapping boxes"
"""The setting of a detector that says what becomes of them; without it the best stays alone."""

ProtocolName = Literal["single", "paper"]


@dataclass(frozen=True)
class Protocol:
    """How a detector is run on a photo before it is scored; printed with every result."""

    name: ProtocolName
    score_threshold: float
    """Boxes with a lower face probability are dropped."""
    max_candidates: int
    """Within one pass, only so many best boxes go into the suppression."""
    nms_iou: float
    """Within one pass, of two boxes that overlap more than this the lower score goes."""
    max_detections: int
    """At most so many boxes per photo (and per pass)."""
    max_side: int | None = None
    """Photos whose longer side has more pixels are shrunk to it first; None: original size."""
    size: tuple[int, int] | None = None
    """Photos are fitted into (height, width), as a file of that size has them on the board."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall at 1,000 thresholds, and the area under them, for one level."""

    level: str
    """``easy``, ``medium``, ``hard``; ``all`` where there are no official lists."""
    faces: int
    """Faces that count at this level."""
    ap: float | None
    """Average precision; None when no face counts."""
    precision: NDArray[np.float64]
    """(1000,), by falling threshold; 0 where there is no detection yet."""
    recall: NDArray[np.float64]
    """(1000,); 0 when no face counts."""


@dataclass(frozen=True)
class BrokenPhoto:
    """A photo that is there and cannot be read; it is scored as having no detections."""

    name: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """The photos that a result speaks of."""

    split: str
    listed: int
    """Photos that the ground truth lists."""
    missing: int
    """Of these, photos that are not in the folder; they are left out."""
    images: int
    """Photos that were scored."""
    limit: int | None
    """A spread-out sample of so many photos was asked for; None: all that are there."""
    sha256: str
    """Of the names and the ground truth of the photos that were scored."""

    @property
    def is_whole(self) -> bool:
        """True only if every listed photo was scored."""
        return self.images == self.listed


@dataclass(frozen=True)
class Subject:
    """What was evaluated."""

    name: str
    """The file's or folder's name, never its path."""
    kind: Literal["network", "onnx", "tflite", "ncnn", "peer", "detections"]
    """``network``: weights run by PyTorch; ``onnx``, ``tflite``: a file of ours; ``peer``: a model
    that OpenCV's FaceDetectorYN runs; ``detections``: boxes made elsewhere."""
    model: str | None
    """``eresfd``, ``extd``...; None for a peer."""
    sha256: str | None
    settings: Mapping[str, str] = field(default_factory=dict)
    """What else decides the result, in words: colour order, anchors' ratio, input size."""


@dataclass(frozen=True)
class Evaluation:
    """One detector under one protocol on one sample."""

    subject: Subject
    protocol: Protocol | None
    """None for detections made elsewhere."""
    sample: Sample
    curves: tuple[Curve, ...]
    """One per level; empty where there is no ground truth."""
    broken: tuple[BrokenPhoto, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float | None = None
    """Time spent on photos in this run; None when nothing was run."""
    resumed_images: int = 0
    """Photos that an earlier, interrupted run had already done."""
    workers: int = 0
    threads: int = 0
    """Processes, and threads in each."""
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    def ap(self, level: str) -> float | None:
        """Return the average precision at a level; None where there is none."""
        return next((curve.ap for curve in self.curves if curve.level == level), None)


@dataclass(frozen=True)
class Citation:
    """Where a published figure can be read."""

    title: str
    year: int | None
    """None where the source does not tell it."""
    where: str
    """An arXiv number, a DOI, or a repository and its file."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of the paper's Tables 1 and 2."""

    model: str
    """``eresfd`` or ``extd``."""
    variant: str
    """``original`` (as its own paper reports it), ``reproduced`` or ``pruned``."""
    criterion: str | None
    """``fpgm`` or ``l1``; None where nothing was pruned."""
    rate: float | None
    """Pruning rate in percent; None where nothing was pruned."""
    easy: float
    medium: float
    hard: float
    parameters: int | None
    """Scalars that are not zero; None where the paper gives none."""
    sparsity: float | None
    """Share of zeroed scalars in percent; None where the paper gives none."""

    def ap(self, level: str) -> float | None:
        """Return the published average precision at a level; None where there is none."""
        return {"easy": self.easy, "medium": self.medium, "hard": self.hard}.get(level)


@dataclass(frozen=True)
class Comparator:
    """A detector of the paper's Figures 2 and 3 with its published figures.

    The average precisions come from different protocols, which ``protocol`` tells in words.
    """

    name: str
    """With its variant: ``SCRFD-0.5GF``."""
    family: str
    """The name in the paper's figures: ``SCRFD``."""
    parameters: int | None
    easy: float | None
    medium: float | None
    hard: float | None
    protocol: str
    parameters_source: Citation | None
    ap_source: Citation | None

    def ap(self, level: str) -> float | None:
        """Return the published average precision at a level; None where there is none."""
        return {"easy": self.easy, "medium": self.medium, "hard": self.hard}.get(level)


@dataclass(frozen=True)
class MeasuredPeer:
    """A detector of others that was measured as the networks that ship were."""

    name: str
    where: str
    """Where it comes from, with its file and licence."""
    parameters: int
    size_bytes: int
    """Of its file."""
    size: tuple[int, int]
    """(height, width) that its instructions are of."""
    runtime: str
    """With its version."""
    easy: float
    medium: float
    hard: float
    protocol: str
    photos: int
    instructions: Mapping[str, int]
    """By core: of one inference on one thread, counted on the emulated core."""


@dataclass(frozen=True)
class NotFound:
    """A detector of the paper's figures of which something was found in no source."""

    name: str
    missing: str


@dataclass(frozen=True)
class Picture:
    """A photo with boxes drawn, once or several times side by side."""

    name: str
    panels: tuple[tuple[str, bytes], ...]
    """(caption, JPEG or PNG bytes) each."""
    words: str
    """What it shows: ``7 of 12 faces missed``."""


@dataclass(frozen=True)
class Member:
    """One checkpoint of the tables: as it came (soft) and shrunk."""

    name: str
    """The file's name."""
    model: str
    """``eresfd`` or ``extd``."""
    variant: str
    """``original``, ``reproduced``, ``pruned``; ``own`` for others."""
    criterion: str | None
    rate: float | None
    """Pruning rate in percent."""
    soft: Evaluation
    shrunk: Evaluation | None
    """None where nothing was removed, so that the network is the same."""
    nothing_removed: bool
    parameters: int
    """Scalars of the soft network, zero or not."""
    nonzero_parameters: int
    deployed_before: int
    """Parameters after batch norm is folded, of the soft network."""
    deployed_after: int
    """The same of the shrunk network."""
    macs_before: int
    macs_after: int
    size_of_macs: tuple[int, int]
    """Height and width in pixels of the image that the MACs are of."""
    onnx_bytes: int | None
    published: PublishedRow | None
    """The paper's row for the same checkpoint."""

    @property
    def sparsity(self) -> float:
        """Zeroed scalars of the soft network in percent, as the paper's "real sparsity"."""
        return (1 - self.nonzero_parameters / self.parameters) * 100


@dataclass(frozen=True)
class PeerMember:
    """A detector made elsewhere, in a table of its own."""

    evaluation: Evaluation
    parameters: int | None
    size_bytes: int
