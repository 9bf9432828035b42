"""What a recipe says: frozen sections, every field with its range and its unit."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Literal

from toolchain.recipe.checking import Range, Section

Criterion = Literal["fpgm", "l1"]
Scope = Literal["group", "layer"]
Rewrite = Literal["leaky", "factors", "heads", "largest", "rows"]
REWRITES: tuple[Rewrite, ...] = typing.get_args(Rewrite)
"""Exact rewrites of the ONNX file, in the order in which they are done: what is faster on a
Cortex-A72 and no slower elsewhere."""


Pixels = typing.Annotated[int, Range(1, 8192)]
PHOTO = Range(16, 8192)
"""Sides of photos, in pixels: a network of one's own that finds no boxes may take less."""

Finite = typing.Annotated[float, Range(-1e6, 1e6)]
Share = typing.Annotated[float, Range(0, 1)]
Positive = typing.Annotated[float, Range(0, 1e6, low_open=True)]
Factor = typing.Annotated[float, Range(1e-6, 1e6)]


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
    postprocess: Literal["none", "decode", "nms"] = "none"
    """What the exported files do themselves. ``decode``: boxes in pixels of the input, and
    probabilities. ``nms``: thresholds and suppression too, by this section's numbers."""


Width = typing.Annotated[int, Range(1, 65_536)]


@dataclass(frozen=True)
class PruneSection(Section, name="prune"):
    """Which filters are zeroed when a rate is given."""

    rate: typing.Annotated[float, Range(0, 1, high_open=True)] | None = None
    """floor(rate * n) of the n filters go; None zeroes nothing and removes what is zero."""
    criterion: Criterion = "fpgm"
    """``fpgm``: nearest to the geometric median first; ``l1``: smallest first."""
    scope: Scope = "group"
    """``layer``: each convolution on its own (the paper); ``group``: the same channel in every
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


Epochs = typing.Annotated[int, Range(0, 100_000)]


@dataclass(frozen=True)
class TrainSection(Section, name="train"):
    """Training by the data set's own faces: soft filter pruning, then the zeros held.

    The values are those of "Filter-Pruning of Lightweight Face Detectors Using a Geometric Median
    Criterion" (WACV workshops 2024), but for ``batch``, which it does not tell.
    """

    epochs: Epochs = 200
    """With soft filter pruning: what was zeroed may come back."""
    choose_every: typing.Annotated[int, Range(1, 100_000)] = 1
    """Epochs after which filters are chosen anew and zeroed. The paper says 1; the scripts that
    were published with it use 5."""
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Positive = 1e-3
    momentum: Share = 0.9
    """Momentum of ``sgd``."""
    weight_decay: typing.Annotated[float, Range(0, 1)] = 5e-4
    drops: tuple[Epochs, ...] = (50, 100)
    """Epochs at which the learning rate is multiplied by ``drop_factor``."""
    drop_factor: Positive = 0.1
    hold_epochs: Epochs = 10
    """After the soft ones, with the zeros held."""
    hold_learning_rate: Positive = 1e-3
    hold_drops: tuple[Epochs, ...] = (5,)
    """The same as ``drops``, counted from where the zeros are held."""
    batch: typing.Annotated[int, Range(1, 4096)] = 16
    """Crops in a step."""


@dataclass(frozen=True)
class CropSection(Section, name="crops"):
    """How the square crops that a network learns from are drawn; shares are probabilities."""

    side: typing.Annotated[int, Range(16, 8192)] = 480
    """Pixels of a crop's side. In smaller crops the coarsest levels are all border."""
    near_face: Share = 0.4
    """Share of crops that are centred near a face, scaled to a side drawn from ``face_sides``."""
    face_sides: tuple[Positive, Positive] = (8.0, 390.0)
    """Pixels, smallest and largest, drawn evenly on a logarithmic scale."""
    own_scale: Share = 0.6
    """Share of the other crops that keep the photo's scale; the rest draw from ``scales``."""
    scales: tuple[Positive, Positive] = (0.35, 1.6)
    """Smallest and largest."""
    smallest_face: typing.Annotated[float, Range(0, 8192)] = 6.0
    """Pixels: smaller faces of a crop are no targets."""
    brightness: typing.Annotated[float, Range(0, 255)] = 24.0
    """Largest shift of all colours, of 255."""
    contrast: Share = 0.2
    """Largest change of the contrast, as a share."""
    saturation: Share = 0.3
    """Largest change of the saturation, as a share."""


@dataclass(frozen=True)
class TeachSection(Section, name="teach"):
    """Training with a teacher: block by block first, then end to end."""

    batch: typing.Annotated[int, Range(1, 4096)] = 1
    """Crops in a step."""
    local_share: typing.Annotated[float, Range(0, 1)] = 0.4
    """Of the crops, learnt from block by block."""
    local_share_warm_start: typing.Annotated[float, Range(0, 1)] = 0.2
    """The same, of a training that starts from weights: blocks learn to do without what goes."""
    layer_share: typing.Annotated[float, Range(0, 1)] = 0.0
    """Of what is learnt block by block, what is learnt layer by layer before it; batch norm is
    frozen from the start then."""
    solved: typing.Annotated[int, Range(0, 1_000_000)] = 0
    """Further crops, at the start of a training from random weights, by which all layers are solved
    in closed form; batch norm is frozen from the start then."""
    recalibration_share: typing.Annotated[float, Range(0, 0.5)] = 0.1
    """Of the crops, at the start, with batch norm by the batch; then it is averaged and frozen."""
    recalibration_share_warm_start: typing.Annotated[float, Range(0, 0.5)] = 0.05
    """The same, of a training that starts from weights; at most what is learnt block by block."""
    local_rate: Positive = 1e-2
    """Adam's learning rate block by block; falls to zero as a cosine, as the next one does."""
    local_rate_warm_start: Positive = 3e-3
    """The same, of a training that starts from weights."""
    joint_rate: Positive = 8e-4
    """End to end."""
    features: typing.Annotated[float, Range(0, 1000)] = 10.0
    """Weight of the teacher's features, end to end; in the last quarter a tenth of it."""
    labels: typing.Annotated[float, Range(0, 100)] = 0.0
    """Weight of the data set's own faces beside the teacher's word, end to end."""
    soft_share: typing.Annotated[float, Range(0, 0.95)] = 0.0
    """Of the end-to-end steps, with soft filter pruning: filters are chosen anew, zeroed, and may
    come back. 0 chooses once, in the teacher, before the first step."""
    choices: typing.Annotated[int, Range(1, 10_000)] = 10
    """How often filters are chosen in that share."""


@dataclass(frozen=True)
class ExportSection(Section, name="export"):
    """How the ONNX file is made."""

    rewrites: tuple[Rewrite, ...] = REWRITES
    """Which rewrites are done, where they apply; README has what each brings."""


@dataclass(frozen=True)
class ProofSection(Section, name="proof"):
    """How far two sides may differ before the export is stopped.

    Every difference is a share of the range of the channel that it is in, on the input where it is;
    the largest difference unless it says mean. Where the number type cannot resolve that, because a
    channel is constant or nearly so, what it can resolve is allowed: see
    :mod:`toolchain.records.spots`.
    """

    surgery_limit: typing.Annotated[float, Range(0, 1e-3)] = 1e-5
    """Soft against shrunk network in the network's own type, after both agreed in float64."""
    onnx_limit: typing.Annotated[float, Range(0, 1e-2)] = 1e-4
    """Shrunk network against the ONNX file, and against TFLite and ncnn."""
    rewrite_limit: typing.Annotated[float, Range(0, 1e-3)] = 1e-5
    """The ONNX file before and after a rewrite."""
    half_limit: Share = 1e-3
    """Half precision: mean difference."""
    half_boxes: Share = 0.98
    """Share of all boxes that it must find as the float file does, on photos that are held out, but
    for two standard deviations of such a share."""
    half_loss: Share = 0.001
    """Average precision that it may lose, from 0 to 1."""
    half_decisions: Share = 0.02
    """Of networks that find no boxes: share of an output's decisions (scores above
    ``decode.score_threshold``, leading classes) that may differ, but for chance as above."""
    int8_limit: Share = 0.05
    """int8: mean difference; the three below are to int8 what half precision's are to it."""
    int8_boxes: Share = 0.8
    int8_loss: Share = 0.01
    int8_decisions: Share = 0.02


Amount = typing.Annotated[int, Range(1, 1e18)]


@dataclass(frozen=True)
class BudgetSection(Section, name="budget"):
    """What the main file may cost on one board, as ``[budget.rpi4]``; None: no limit."""

    instructions: Amount | None = None
    """Of one inference on one thread."""
    latency_ms: Positive | None = None
    """The middle of the estimate."""
    size_bytes: Amount | None = None
    memory_bytes: Amount | None = None
    """Peak of the process."""
    parameters: Amount | None = None
    """Deployed ones."""


@dataclass(frozen=True)
class Limit(Section, name="limit"):
    """How much worse a figure may get: the larger of both holds."""

    relative: Share = 0.0
    """Share of the figure before."""
    absolute: typing.Annotated[float, Range(0, 1e18)] = 0.0
    """Difference in the figure's own unit."""


@dataclass(frozen=True)
class GateSection(Section, name="gate"):
    """What a change may make worse before the gate stops it."""

    instructions: Limit = Limit(relative=0.005)
    """Of one inference; they repeat to a few hundredths of a percent."""
    multiply_adds: Limit = Limit(relative=0.005)
    operators: Limit = Limit()
    """Number of operators of a type, as the runtime runs them."""
    parameters: Limit = Limit()
    """Deployed ones."""
    size_bytes: Limit = Limit(relative=0.01)
    peak_memory_bytes: Limit = Limit(relative=0.1)
    """One file takes up to 7 % more in one run than in another."""
    parity: Limit = Limit(absolute=0.1)
    """Of a link: its difference as a share of its own limit."""
    outputs: Limit = Limit(absolute=1e-4)
    """Largest difference from the baseline's outputs, as a share of their range."""
    boxes: Limit = Limit()
    """Share of the boxes on photos that only one side finds."""
    average_precision: Limit = Limit(absolute=0.001)
    """From 0 to 1."""
    time: Limit = Limit(relative=0.03)
    """Measured, where it is asked for; what is surely above it is stopped."""


@dataclass(frozen=True)
class Recipe(Section, name="recipe"):
    """A whole recipe: every section that one model has."""

    model: ModelSection
    input: InputSection = InputSection()
    anchors: AnchorSection | None = None
    """None for a network that is no anchor-based detector."""
    decode: DecodeSection = DecodeSection()
    prune: PruneSection = PruneSection()
    train: TrainSection = TrainSection()
    teach: TeachSection = TeachSection()
    crops: CropSection = CropSection()
    export: ExportSection = ExportSection()
    proof: ProofSection = ProofSection()
    budget: dict[str, BudgetSection] = field(default_factory=dict)
    """What the main file may cost, by board."""
    gate: GateSection = GateSection()
