"""The detection loss of SSD and S3FD: two terms, hard negatives three to one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from toolchain.train.ranks import ranks, total
from toolchain.train.targets import Targets

NEGATIVES_PER_POSITIVE = 3


def detection_loss(loc: Tensor, logits: Tensor, targets: Targets) -> Tensor:
    """Return cross entropy over positives and hard negatives plus smooth L1 over positives.

    ``loc`` (N, P, 4) and ``logits`` (N, P, 2: background, face). Of each image's negatives the
    hardest count, three for each positive; everything is divided by the number of positives (by
    the number of images when there is none), of all processes. Nothing here waits for a GPU.
    """
    positive = targets.positive
    entropy = F.cross_entropy(logits.flatten(0, 1), positive.flatten().long(), reduction="none")
    entropy = entropy.view_as(positive)
    counted = positive | _hard_negatives(entropy.detach(), positive)
    box = F.smooth_l1_loss(loc, targets.loc, reduction="none").sum(dim=2)
    count = total(positive.sum())
    divisor = count + (count == 0) * len(positive) * ranks()
    loss: Tensor = ((entropy * counted).sum() + (box * positive).sum()) / divisor
    return loss


def _hard_negatives(entropy: Tensor, positive: Tensor) -> Tensor:
    """Return bool (N, P): the negatives with the largest loss, three per positive of the image."""
    ranked = entropy.masked_fill(positive, -1.0).argsort(dim=1, descending=True)
    rank = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(ranked.shape[1], device=ranked.device).expand_as(ranked)
    )
    limit = NEGATIVES_PER_POSITIVE * positive.sum(dim=1, keepdim=True)
    return (rank < limit) & ~positive
