"""What a recipe says: frozen sections, every field with its range and its unit."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Literal

from toolchain.recipe.checking import Range, Section
from toolchain.recipe.evaluate_section import EvaluateSection
from toolchain.recipe.limit_sections import BudgetSection, GateSection, ProofSection
from toolchain.recipe.numbers import Factor, Finite, Pixels, Positive, Share
from toolchain.recipe.task_section import Kind, TaskSection
from toolchain.recipe.training_sections import CropSection, TeachSection, TrainSection

Criterion = Literal["fpgm", "l1"]
Scope = Literal["group", "layer"]
Rewrite = Literal["leaky", "factors", "heads", "largest", "rows"]
REWRITES: tuple[Rewrite, ...] = typing.get_args(Rewrite)
"""Exact rewrites of the ONNX file, in the order in which they are done: what is faster on a
Cortex-A72 and no slower elsewhere."""


@dataclass(frozen=True)
class ModelSection(Section, name="model"):
    """Which network, and how it starts when there are no weights."""

    name: str
    """``eresfd``, ``extd``, or ``module:factory`` for a network of your own."""
    seed: typing.Annotated[int, Range(0, 2**31 - 1)] = 0
    """Seed of the random weights and of the random inputs of the proofs."""


@dataclass(frozen=True)
class InputSection(Section, name="input"):
    """What the network is given: float32 (1, channels, height, width), made of pixels 0 to 255 by

        x = (pixel * scale - mean) / std

    channel by channel. What is trained with torchvision's numbers has ``scale`` = 1/255 =
    0.00392156862745098, ``mean`` = [0.485, 0.456, 0.406] and ``std`` = [0.229, 0.224, 0.225].
    """

    height: Pixels = 480
    """Pixels. The exported file has this height unless it is made dynamic."""
    width: Pixels = 640
    """Pixels."""
    color_order: Literal["RGB", "BGR", "GRAY"] = "RGB"
    """Order of the input channels: three of them, or the one of ``GRAY``."""
    mean: tuple[Finite, ...] = (123.0, 117.0, 104.0)
    """Subtracted, in units of pixel * scale, in ``color_order``: one entry for all channels, or one
    for each."""
    scale: Factor = 1.0
    """By which pixels are multiplied before the mean is subtracted; from 1e-6 to 1e6."""
    std: tuple[Factor, ...] = (1.0,)
    """By which the rest is divided, in the same unit as the mean, in ``color_order``: one entry for
    all channels, or one for each; from 1e-6 to 1e6."""
    range: tuple[Finite, Finite] | None = None
    """Lowest and highest value that the network is given, in units of x: synthetic inputs, of
    proofs and of int8's calibration, are drawn in it. None: what pixels of 0 and 255 become, over
    all channels."""
    dtype: Literal["float32", "uint8"] = "float32"
    """What the exported files take. ``uint8``: a camera's pixels (1, height, width, 3), blue first;
    the files put them in order, scale them and subtract the mean themselves."""
    fit: Literal["letterbox", "stretch", "crop"] = "letterbox"
    """How photos of other proportions become the input: all of it at the top left, the rest filled
    with the mean; stretched; or the largest part in its middle. Faces are letterboxed."""
    shapes: tuple[str, ...] = ()
    """What a network of one's own is called with, where that is not one image of the size above:
    shapes such as ``1x12x160x160``, ``mask=1x1x64x64`` or ``1x16:int64``."""

    @property
    def channels(self) -> int:
        """How many the photos have when they are fed."""
        return 1 if self.color_order == "GRAY" else 3

    @property
    def means(self) -> tuple[float, ...]:
        """The mean, an entry per channel."""
        return self.mean * self.channels if len(self.mean) == 1 else self.mean

    @property
    def stds(self) -> tuple[float, ...]:
        """``std``, an entry per channel."""
        return self.std * self.channels if len(self.std) == 1 else self.std

    @property
    def is_plain(self) -> bool:
        """True if a mean is subtracted from colours, and that is all."""
        return self.scale == 1 and set(self.std) == {1.0} and self.channels == 3

    @property
    def given(self) -> tuple[float, float]:
        """``range``, or what it is where it is not said.

        Of pixels minus (123, 117, 104): (-123, 151).
        """
        if self.range is not None:
            return self.range
        ends = [
            (pixel * self.scale - mean) / std
            for pixel in (0, 255)
            for mean, std in zip(self.means, self.stds, strict=True)
        ]
        return min(ends), max(ends)

    def problem(self) -> tuple[str, str] | None:
        """Return a field that does not fit the others, and what it must be; None if all fit."""
        counts = sorted({1, self.channels})
        for name in ("mean", "std"):
            entries = getattr(self, name)
            if len(entries) not in counts:
                wanted = " or ".join(map(str, counts))
                noun = "entry" if counts == [1] else "entries"
                return name, f"must have {wanted} {noun} for {self.color_order} ({_got(entries)})"
        if self.range is not None and not self.range[0] < self.range[1]:
            return "range", f"must be lowest and highest, [low, high] (got {list(self.range)})"
        return None


def _got(entries: tuple[float, ...]) -> str:
    return f"got {len(entries)}: {list(entries)}"


@dataclass(frozen=True)
class AnchorSection(Section, name="anchors"):
    """One anchor per cell, centred at (i + 0.5) * stride."""

    sizes: tuple[Positive, ...]
    """Anchor width in pixels, per level."""
    strides: tuple[typing.Annotated[int, Range(1, 1024)], ...]
    """Pixels per cell, per level, fine to coarse; level i has ceil(height / stride) rows."""
    aspect_ratio: typing.Annotated[float, Range(0.1, 10)] = 1.0
    """Anchor height over width. Belongs to the weights; a known layout overrides it."""


@dataclass(frozen=True)
class DecodeSection(Section, name="decode"):
    """From raw outputs to boxes (SSD's encoding)."""

    variances: tuple[Positive, Positive] = (0.1, 0.2)
    """Scale of the centre offsets and of the log sizes."""
    score_threshold: Share = 0.4
    """Boxes with a lower face probability are not shown."""
    nms_iou: Share = 0.3
    """Of two boxes that overlap more than this, the lower score goes."""
    max_detections: typing.Annotated[int, Range(1, 100_000)] = 750
    """At most so many boxes per image."""
    support: Share | None = None
    """None: of boxes that overlap too much the best stays as it is. A number: it becomes their
    mean, weighted by score and overlap, and its log-odds grow by this times the log of what all
    of them weigh over what it weighs alone. Not where ``postprocess`` is ``nms``."""
    postprocess: Literal["none", "decode", "nms"] = "none"
    """What the exported files do themselves. ``decode``: boxes in pixels of the input, and
    probabilities. ``nms``: thresholds and suppression too, by this section's numbers."""

    @property
    def board_support(self) -> float | None:
        """``support`` as the files have it: those that suppress by themselves leave the best."""
        return None if self.postprocess == "nms" else self.support

    @property
    def bare(self) -> DecodeSection:
        """That of files beside these which give raw outputs: faces found by either are the same."""
        return dataclasses.replace(self, postprocess="none", support=self.board_support)


Width = typing.Annotated[int, Range(1, 65_536)]


@dataclass(frozen=True)
class PruneSection(Section, name="prune"):
    """Which filters are zeroed when a rate is given."""

    rate: typing.Annotated[float, Range(0, 1, high_open=True)] | None = None
    """floor(rate * n) of the n filters go; None zeroes nothing and removes what is zero."""
    criterion: Criterion = "fpgm"
    """``fpgm``: nearest to the geometric median first; ``l1``: smallest first."""
    scope: Scope = "group"
    """``layer``: each layer on its own (the paper); ``group``: the same channel in every
    layer of a dependency group, so that all of it can be removed."""
    protected: tuple[str, ...] = ("loc.*", "conf.*")
    """Layers, as shell patterns, that are never zeroed."""
    widths: dict[str, Width] = field(default_factory=dict)
    """Filters that stay, by a layer of a dependency group, which need not be its first; all other
    groups go by the rate. In scope ``group`` alone. ``toolchain plan`` writes them."""
    pruned_channels: dict[str, tuple[typing.Annotated[int, Range(0, 65_535)], ...]] = field(
        default_factory=dict
    )
    """Which filters of a group in ``widths`` go, from 0, where the criterion is not to choose;
    ``toolchain plan`` writes those whose absence changes the outputs least."""
    align: typing.Annotated[int, Range(1, 4096)] = 1
    """What stays of a group that goes by the rate is a multiple of it: filters go in blocks, of as
    many groups as it takes until the rate's share of all filters is gone. 4 is what ncnn computes
    in; 1 takes floor(rate * n) of every group, as in the paper. In scope ``group`` alone."""

    @property
    def zeroes(self) -> bool:
        """True if it asks for filters to be zeroed."""
        return bool(self.rate or self.widths or self.pruned_channels)

    @property
    def chosen_by(self) -> str:
        """The criterion, or ``outputs`` where the filters are named."""
        return "outputs" if self.pruned_channels else self.criterion


@dataclass(frozen=True)
class ExportSection(Section, name="export"):
    """How the ONNX file is made."""

    rewrites: tuple[Rewrite, ...] = REWRITES
    """Which rewrites are done, where they apply; README has what each brings."""


@dataclass(frozen=True)
class Recipe(Section, name="recipe"):
    """A whole recipe: every section that one model has."""

    model: ModelSection
    input: InputSection = InputSection()
    anchors: AnchorSection | None = None
    """None for a network that is no anchor-based detector."""
    decode: DecodeSection = DecodeSection()
    task: TaskSection = field(default_factory=TaskSection)
    prune: PruneSection = PruneSection()
    train: TrainSection = field(default_factory=TrainSection)
    teach: TeachSection = field(default_factory=TeachSection)
    crops: CropSection = field(default_factory=CropSection)
    export: ExportSection = ExportSection()
    evaluate: EvaluateSection = field(default_factory=EvaluateSection)
    proof: ProofSection = field(default_factory=ProofSection)
    budget: dict[str, BudgetSection] = field(default_factory=dict)
    """What the main file may cost, by board."""
    gate: GateSection = field(default_factory=GateSection)

    @property
    def evaluation(self) -> str | None:
        """What evaluates it: as ``evaluate.function`` says; else ``wider`` of a face detector."""
        return self.evaluate.function or ("wider" if self.anchors is not None else None)

    @property
    def task_kind(self) -> Kind:
        """What the network is for: as ``task.kind`` says; else faces by its anchors, else raw."""
        return self.task.kind or ("raw" if self.anchors is None else "faces")

    @property
    def leaves_maps(self) -> bool:
        """True if an ncnn file may leave maps as they are: the board's program finds boxes."""
        return self.task_kind in ("faces", "boxes")

    def task_problem(self) -> tuple[str, str] | None:
        """Return a field of ``[task]`` that does not fit the others, and why; None if all fit."""
        if self.task_kind == "faces" and self.anchors is None:
            return "task.kind", "of faces needs [anchors]; add them, or say another kind"
        if self.task_kind != "faces" and self.anchors is not None:
            return (
                "task.kind",
                f"of {self.task_kind} goes without [anchors], which are for faces; leave them out "
                f"(those of boxes are task.anchors)",
            )
        if self.task_kind == "faces" and self.input.fit != "letterbox":
            return "input.fit", f"must be letterbox for faces (got {self.input.fit!r})"
        if self.task.anchors and len(self.task.anchors) != len(self.task.strides):
            return (
                "task.anchors",
                f"must have one list per stride ({len(self.task.strides)}; got "
                f"{len(self.task.anchors)})",
            )
        return None
