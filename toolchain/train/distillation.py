"""Learning from a teacher: block by block first, then end to end.

*Local*: every block of the student gets what the teacher's block gets and regresses what it gives;
the error of a channel is divided by the teacher's variance there. Deep networks that start from
random weights learn in minutes this way, because no block waits for those before it.

*End to end*: the student runs on its own, and its features, scores and boxes are drawn to the
teacher's. Pixels near faces weigh more in both.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.train.ranks import total

BLOCKS = {
    "eresfd": (
        "base.conv1",
        "base.conv2",
        "base.conv3",
        "base.conv4",
        "base.m0.b2_*.[0-9]",
        "base.m0.fpn.laterals.*",
        "base.m0.fpn.itm.*",
        "base.m0.fpn",
        "base.m0.FEM_*",
        "loc.*",
        "conf.*",
    ),
    "extd": ("base.*", "upfeat.*", "loc.*", "conf.*"),
}
"""Blocks that learn locally, as shell patterns over whole names up to a further dot."""

FEATURES = {"eresfd": ("base.m0.FEM_*",), "extd": ("upfeat.*",)}
"""Blocks whose outputs are features in the end-to-end loss."""

FACE_SCORE_FLOOR, FACE_SCORE_SPAN = 0.15, 0.5
"""A teacher's background scores are near 0.1; from 0.65 on a pixel counts as a face in full."""


@dataclass(frozen=True)
class LossWeights:
    """How the parts of the end-to-end loss are weighed."""

    features: float = 10.0
    scores: float = 1.0
    logits: float = 0.3
    boxes: float = 2.0
    labels: float = 0.0
    """Of the detection loss against the data set's own faces; 0 learns from the teacher alone."""
    face: float = 4.0
    """Added weight of a pixel on a face, in the local loss and in that of features."""


def names_of(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return the modules that a pattern names; ``*`` does not reach over a dot."""
    return [
        name
        for name, _ in network.named_modules()
        if any(
            fnmatch.fnmatchcase(name, pattern) and name.count(".") == pattern.count(".")
            for pattern in patterns
        )
    ]


Value = Tensor | list[Tensor]


@dataclass(frozen=True)
class Seen:
    """One call of one block of the teacher."""

    name: str
    given: Value
    gave: Value


@contextmanager
def watching(network: nn.Module, names: Sequence[str]) -> Iterator[list[Seen]]:
    """Note what the blocks ``names`` are given and give, in order, while the block runs."""
    seen: list[Seen] = []

    def note(name: str) -> object:
        def hook(_module: nn.Module, given: tuple[Value, ...], gave: Value) -> None:
            # Lists are copied: a network may put other tensors into its own.
            seen.append(Seen(name, _copied(given[0]), _copied(gave)))

        return hook

    modules = dict(network.named_modules())
    handles = [modules[name].register_forward_hook(note(name)) for name in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _copied(value: Value) -> Value:
    return value if isinstance(value, Tensor) else list(value)


def _tensors(value: Value) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class Lesson:
    """What the teacher says about a batch."""

    loc: Tensor
    """(N, P, 4)."""
    logits: Tensor
    """(N, P, 2)."""
    face: Tensor
    """(N, P) from 0 (background) to 1 (a face for sure)."""
    seen: tuple[Seen, ...]


def lesson(teacher: nn.Module, images: Tensor, names: Sequence[str]) -> Lesson:
    """Run the teacher on (N, 3, H, W) and note what its blocks do."""
    with torch.no_grad(), watching(teacher, names) as seen:
        loc, logits = teacher(images)
    score = logits.softmax(dim=2)[:, :, 1]
    face = ((score - FACE_SCORE_FLOOR) / FACE_SCORE_SPAN).clamp(0, 1)
    return Lesson(loc, logits, face, tuple(seen))


def face_map(face: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Lay the anchors' weights (N, P), levels of ``shapes`` in order, on one map of the finest.

    Every level is enlarged to the finest and the largest counts: (N, 1, H_0, W_0).
    """
    levels = face.split([rows * columns for rows, columns in shapes], dim=1)
    maps = [
        F.interpolate(level.view(-1, 1, *shape), size=shapes[0], mode="nearest")
        for level, shape in zip(levels, shapes, strict=True)
    ]
    return torch.stack(maps).amax(dim=0)


def level_shapes(height: int, width: int, strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return (rows, columns) of each level's cells."""
    return [(-(-height // stride), -(-width // stride)) for stride in strides]


@dataclass(frozen=True)
class Channels:
    """What is known beforehand of the channels of a block's inputs and outputs."""

    given_alive: tuple[Tensor, ...]
    """For each tensor that it is given (1, C, 1, 1): 0 for channels that the student lacks."""
    gave_alive: tuple[Tensor, ...]
    """The same for each tensor that it gives."""
    variance: tuple[Tensor, ...]
    """For each tensor that the teacher's block gives (C,): its variance over many crops."""


def local_loss(
    student: nn.Module,
    taught: Lesson,
    faces: Tensor,
    channels: Mapping[str, Channels],
    weight: float,
) -> Tensor:
    """Return the mean over blocks of the student's error on the teacher's own inputs.

    ``faces`` (N, 1, H, W) weighs pixels by 1 + ``weight`` times it. Channels that the student lacks
    are not fed and not asked for.
    """
    modules = dict(student.named_modules())
    losses = []
    for call in taught.seen:
        known = channels[call.name]
        fed = [a * b for a, b in zip(_tensors(call.given), known.given_alive, strict=True)]
        answer = modules[call.name](fed[0] if isinstance(call.given, Tensor) else fed)
        errors = relative_errors(answer, call.gave, known, faces, weight)
        losses.append(torch.stack([_mean(error) for error in errors]).mean())
    return torch.stack(losses).mean()


def relative_errors(
    found: Value, wanted: Value, known: Channels, faces: Tensor, weight: float
) -> list[Tensor]:
    """Return the squared error over the teacher's variance, per tensor and alive channel (C,)."""
    errors = []
    for ours, theirs, alive, variance in zip(
        _tensors(found), _tensors(wanted), known.gave_alive, known.variance, strict=True
    ):
        pixels = 1 + weight * F.adaptive_max_pool2d(faces, theirs.shape[2:])
        squares = (ours.float() - theirs.float()) ** 2
        error = (squares * pixels).sum(dim=(0, 2, 3)) / total(pixels.sum())
        errors.append((error / variance)[alive.flatten() > 0])
    return errors


def feature_error(
    found: Value, wanted: Value, known: Channels, faces: Tensor, weight: float
) -> Tensor:
    """Return the mean over channels of e / (1 + e), e being the relative error of all processes.

    Its gradient is that of log(1 + e), as the divisor is taken as a constant: end to end some
    channels, mostly of coarse levels, are tens of variances off at first, and must not drown all
    others.
    """
    errors = relative_errors(found, wanted, known, faces, weight)
    return torch.stack([_mean(error / (1 + total(error))) for error in errors]).mean()


def _mean(errors: Tensor) -> Tensor:
    """Return the mean, 0 of nothing."""
    return errors.sum() / max(1, len(errors))


def end_to_end_loss(
    outputs: tuple[Tensor, Tensor],
    features: Sequence[Seen],
    taught: Lesson,
    faces: Tensor,
    channels: Mapping[str, Channels],
    weights: LossWeights,
) -> Tensor:
    """Return the weighted sum of the distances of features, scores, logits and boxes.

    ``outputs`` and ``features`` are the student's; the lesson must hold the same feature blocks.
    """
    loc, logits = outputs[0].float(), outputs[1].float()
    wanted = {call.name: call for call in taught.seen}
    errors = [
        feature_error(call.gave, wanted[call.name].gave, channels[call.name], faces, weights.face)
        for call in features
    ]
    face = taught.face
    share = 0.05 + face  # background is nearly all there is, and says little
    weight = total(share.sum())
    kl = F.kl_div(
        logits.log_softmax(dim=2),
        taught.logits.log_softmax(dim=2),
        reduction="none",
        log_target=True,
    ).sum(dim=2)
    margin = F.smooth_l1_loss(
        logits[..., 1] - logits[..., 0],
        taught.logits[..., 1] - taught.logits[..., 0],
        reduction="none",
    )
    boxes = (loc - taught.loc).abs().mean(dim=2)
    return (
        weights.features * torch.stack(errors).mean()
        + weights.scores * (kl * share).sum() / weight
        + weights.logits * (margin * share).sum() / weight
        + weights.boxes * (boxes * face).sum() / (total(face.sum()) + 1)
    )


VARIANCE_FLOOR, SQUARE_FLOOR = 0.01, 1e-3
"""Of a tensor's mean variance and mean square: what hardly varies must not weigh beyond measure."""


def channels_of(
    teacher: nn.Module, pruned: nn.Module, images: Tensor, names: Sequence[str]
) -> dict[str, Channels]:
    """Look at the blocks' channels on many crops (N, 3, H, W).

    ``pruned`` is the teacher with the student's filters zeroed: a channel that is zero everywhere
    in it is one that the student lacks. A block that is called more than once has a channel if
    any call has it.
    """
    with torch.no_grad(), watching(pruned, names) as seen:
        pruned(images)
    alive: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
    for call in seen:
        masks = _alive(call.given), _alive(call.gave)
        earlier = alive.get(call.name, masks)
        alive[call.name] = _either(earlier[0], masks[0]), _either(earlier[1], masks[1])
    variance = {
        call.name: tuple(_variance(tensor) for tensor in _tensors(call.gave))
        for call in lesson(teacher, images, names).seen
    }
    return {
        name: Channels(tuple(given), tuple(gave), variance[name])
        for name, (given, gave) in alive.items()
    }


def _alive(value: Value) -> list[Tensor]:
    return [
        (tensor.abs().amax(dim=(0, 2, 3), keepdim=True) > 0).to(tensor.dtype)
        for tensor in _tensors(value)
    ]


def _either(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    return [torch.maximum(a, b) for a, b in zip(one, other, strict=True)]


def _variance(tensor: Tensor) -> Tensor:
    variance = tensor.var(dim=(0, 2, 3))
    floor = VARIANCE_FLOOR * variance.mean() + SQUARE_FLOOR * tensor.square().mean() + 1e-8
    return variance.clamp(min=float(floor))


def start_like(student: nn.Module, teacher: nn.Module, names: Sequence[str]) -> None:
    """Give each block's last batch norm the teacher's scale (its size) and shift, in place.

    Batch norm's shift and scale are the mean and spread of what it gives, so deep blocks start
    near the teacher's; the filters stay random. Heads take over the teacher's biases.
    """
    ours, theirs = dict(student.named_modules()), dict(teacher.named_modules())
    for name in names:
        for inner, module in _last_norms(ours[name]):
            other = theirs[f"{name}.{inner}" if inner else name]
            with torch.no_grad():
                module.weight.copy_(other.weight.abs())
                module.bias.copy_(other.bias)
        if isinstance(ours[name], nn.Conv2d) and ours[name].bias is not None:
            with torch.no_grad():
                ours[name].bias.copy_(theirs[name].bias)


def _last_norms(block: nn.Module) -> list[tuple[str, nn.BatchNorm2d]]:
    """Return the last batch norm of each chain of layers in a block."""
    last: dict[str, tuple[str, nn.BatchNorm2d]] = {}
    for name, module in block.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            last[name.rpartition(".")[0]] = (name, module)
    return list(last.values())
