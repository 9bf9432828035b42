"""The detection loss of SSD and S3FD: two terms, hard negatives three to one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from toolchain.train.ranks import total
from toolchain.train.targets import Targets

NEGATIVES_PER_POSITIVE = 3


def detection_loss(loc: Tensor, logits: Tensor, targets: Sequence[Targets]) -> Tensor:
    """Return cross entropy over positives and hard negatives plus smooth L1 over positives.

    ``loc`` (N, P, 4) and ``logits`` (N, P, 2: background, face). Of each image's negatives the
    hardest count, three for each positive; everything is divided by the number of positives (by
    the number of images when there is none), of all processes.
    """
    positive = torch.stack([target.positive for target in targets]).to(loc.device)
    wanted = torch.stack([target.loc for target in targets]).to(loc.device)
    entropy = F.cross_entropy(logits.flatten(0, 1), positive.flatten().long(), reduction="none")
    entropy = entropy.view_as(positive)
    counted = positive | _hard_negatives(entropy.detach(), positive)
    box = F.smooth_l1_loss(loc[positive], wanted[positive], reduction="sum")
    count, images = total(torch.stack([positive.sum(), positive.sum().new_tensor(len(targets))]))
    loss: Tensor = (entropy[counted].sum() + box) / (count if count else images)
    return loss


def _hard_negatives(entropy: Tensor, positive: Tensor) -> Tensor:
    """Return bool (N, P): the negatives with the largest loss, three per positive of the image."""
    ranked = entropy.masked_fill(positive, -1.0).argsort(dim=1, descending=True)
    rank = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(ranked.shape[1], device=ranked.device).expand_as(ranked)
    )
    limit = NEGATIVES_PER_POSITIVE * positive.sum(dim=1, keepdim=True)
    return (rank < limit) & ~positive
