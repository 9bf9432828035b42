"""Which anchors answer for which faces, and what they must say: S3FD's matching.

Zhang et al., "S3FD: Single Shot Scale-Invariant Face Detector", ICCV 2017, section 3.2: anchors
that overlap a face by 0.35 answer for it, and each face's best anchor always does. Faces that got
fewer than the average number of anchors are compensated with their best anchors over 0.1.
(The published training scripts of EXTD and EResFD spread the second stage over the whole image
instead of face by face.)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.recipe import AnchorSection

MATCHED, COMPENSATED = 0.35, 0.1
"""Overlaps (IoU) of the two stages."""


@dataclass(frozen=True)
class Targets:
    """What the anchors of an image, or of N, must say."""

    positive: Tensor
    """bool (P,) or (N, P): the anchor answers for a face."""
    loc: Tensor
    """float32 (P, 4) or (N, P, 4): SSD's encoding of that face; zero where there is none."""

    def to(self, device: str) -> Targets:
        """Return them on ``device``."""
        return Targets(self.positive.to(device), self.loc.to(device))


@dataclass(frozen=True)
class Matching:
    """What it takes to tell what anchors must say."""

    anchors: AnchorSection
    variances: tuple[float, float]

    def of(self, faces: Sequence[Tensor], height: int, width: int) -> Targets:
        """Return the targets of N images of one size, with the faces (F, 4) of each."""
        boxes = anchor_boxes(self.anchors, height, width)
        return stacked([targets(some, boxes, self.variances) for some in faces])


def stacked(wanted: Sequence[Targets]) -> Targets:
    """Return the targets of N images as one."""
    return Targets(
        torch.stack([one.positive for one in wanted]), torch.stack([one.loc for one in wanted])
    )


@functools.lru_cache(maxsize=4)
def anchor_boxes(section: AnchorSection, height: int, width: int) -> Tensor:
    """Return the anchors (P, 4) of an input: centre_x, centre_y, width, height in pixels.

    They are in the order of the networks' outputs: levels from fine to coarse, cells row by row.
    """
    levels = []
    for size, stride in zip(section.sizes, section.strides, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y = (torch.arange(rows) + 0.5) * stride
        x = (torch.arange(columns) + 0.5) * stride
        centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2).reshape(-1, 2)
        extent = torch.tensor([size, size * section.aspect_ratio]).expand_as(centres)
        levels.append(torch.cat([centres, extent], dim=1))
    return torch.cat(levels)


def overlaps(faces: Tensor, anchors: Tensor) -> Tensor:
    """(F, 4) left, top, right, bottom and (P, 4) centre, size -> IoU (F, P)."""
    low, high = anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2
    shared = torch.minimum(faces[:, None, 2:], high) - torch.maximum(faces[:, None, :2], low)
    area = shared.clamp(min=0).prod(dim=2)
    face_area = (faces[:, 2:] - faces[:, :2]).prod(dim=1)
    return area / (face_area[:, None] + anchors[:, 2:].prod(dim=1) - area)


def match(faces: Tensor, anchors: Tensor) -> Tensor:
    """Return for each anchor (P,) the face that it answers for, -1 for none.

    ``faces`` (F, 4) left, top, right, bottom in pixels, of positive size; ``anchors`` (P, 4)
    centre_x, centre_y, width, height.
    """
    if not len(faces):
        return torch.full((len(anchors),), -1, dtype=torch.long, device=anchors.device)
    overlap = overlaps(faces, anchors)
    best, face = overlap.max(dim=0)
    face = torch.where(best >= MATCHED, face, -1)
    _compensate(face, overlap)
    nearest = overlap.max(dim=1)
    # From the worst to the best, so that of two faces with one best anchor the nearer has it.
    for index in torch.argsort(nearest.values).tolist():
        face[nearest.indices[index]] = index
    return face


def _compensate(face: Tensor, overlap: Tensor) -> None:
    """Give faces with few anchors, in place, their best free ones up to the average number."""
    counts = torch.bincount(face[face >= 0], minlength=len(overlap))
    if not counts.any():
        return
    average = int(counts.float().sum() / (counts > 0).sum())
    free = torch.where(face >= 0, 0.0, overlap)
    values, anchors = free.topk(min(average, overlap.shape[1]), dim=1)
    rank = torch.arange(values.shape[1], device=values.device)
    wanted = (values > COMPENSATED) & (rank < (average - counts)[:, None])
    claims = torch.where(wanted, values, 0.0)
    # An anchor that two faces want goes to the one that it overlaps more.
    strongest = torch.zeros_like(overlap).scatter_(1, anchors, claims).max(dim=0)
    face[:] = torch.where(strongest.values > 0, strongest.indices, face)


def encode(faces: Tensor, anchors: Tensor, variances: tuple[float, float]) -> Tensor:
    """SSD's encoding of (N, 4) left, top, right, bottom by (N, 4) anchors, one each."""
    centre, size = (faces[:, :2] + faces[:, 2:]) / 2, faces[:, 2:] - faces[:, :2]
    offset = (centre - anchors[:, :2]) / (variances[0] * anchors[:, 2:])
    return torch.cat([offset, torch.log(size / anchors[:, 2:]) / variances[1]], dim=1)


def targets(faces: Tensor, anchors: Tensor, variances: tuple[float, float]) -> Targets:
    """Return what the anchors must say about an image with these ``faces`` (F, 4)."""
    face = match(faces, anchors)
    positive = face >= 0
    loc = torch.zeros_like(anchors)
    loc[positive] = encode(faces[face[positive]], anchors[positive], variances)
    return Targets(positive, loc)
