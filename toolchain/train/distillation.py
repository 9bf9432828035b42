"""The losses of learning from a teacher: block by block first, then end to end.

*Local*: every block of the student gets what the teacher's block gets and regresses what it gives;
the error of a channel is divided by the teacher's variance there. Deep networks that start from
random weights learn in minutes this way, because no block waits for those before it.

*End to end*: the student runs on its own, and its features, scores and boxes are drawn to the
teacher's. Pixels near faces weigh more in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.train.channels import Channels
from toolchain.train.ranks import total
from toolchain.train.teacher_outputs import Call, Seen, TeacherOutputs, Value, face_weight, tensors


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


def local_loss(
    blocks: Mapping[str, nn.Module],
    taught: TeacherOutputs,
    faces: Tensor,
    channels: Mapping[Call, Channels],
    weight: float,
) -> Tensor:
    """Return the mean over the student's blocks, by name, of their error on the teacher's inputs.

    ``faces`` (N, 1, H, W) weighs pixels by 1 + ``weight`` times it. Channels that the student lacks
    are not fed and not asked for.
    """
    losses = []
    for seen in taught.seen:
        known = channels[seen.call]
        errors = relative_errors(answer(blocks, seen, known), seen.gave, known, faces, weight)
        losses.append(torch.stack([_mean(error) for error in errors]).mean())
    return torch.stack(losses).mean()


def answer(blocks: Mapping[str, nn.Module], seen: Seen, known: Channels) -> Value:
    """Return what the student's block gives for what the teacher's was given in a call."""
    fed = [a * b for a, b in zip(tensors(seen.given), known.given_alive, strict=True)]
    given: Value = blocks[seen.call[0]](fed[0] if isinstance(seen.given, Tensor) else fed)
    return given


def relative_errors(
    found: Value, wanted: Value, known: Channels, faces: Tensor, weight: float
) -> list[Tensor]:
    """Return the squared error over the teacher's variance, per tensor and alive channel (C,)."""
    errors = []
    for ours, theirs, asked, variance in zip(
        tensors(found), tensors(wanted), known.asked, known.variance, strict=True
    ):
        pixels = 1 + weight * F.adaptive_max_pool2d(faces, theirs.shape[2:])
        squares = (ours.float() - theirs.float()) ** 2
        error = (squares * pixels).sum(dim=(0, 2, 3)) / total(pixels.sum())
        errors.append((error / variance)[asked])
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
    taught: TeacherOutputs,
    faces: Tensor,
    channels: Mapping[Call, Channels],
    weights: LossWeights,
) -> Tensor:
    """Return the weighted sum of the distances of features, scores, logits and boxes.

    ``outputs`` and ``features`` are the student's; the teacher's must hold the same feature blocks.
    """
    loc, logits = outputs[0].float(), outputs[1].float()
    wanted = {seen.call: seen.gave for seen in taught.seen}
    errors = [
        feature_error(seen.gave, wanted[seen.call], channels[seen.call], faces, weights.face)
        for seen in features
    ]
    face = taught.face
    # Background is nearly all there is, and says little, but for what the student takes for a face.
    share = 0.05 + torch.maximum(face, face_weight(logits.detach()))
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
