"""Average precision on a small fixed sample of other photos, while a training runs."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import cv2
import numpy as np
from torch import nn

from toolchain.data.wider import Split
from toolchain.deploy import detect
from toolchain.detection.network import torch_finder
from toolchain.detection.protocols import PROTOCOLS, detections
from toolchain.recipe import Recipe
from toolchain.records.stages import Source
from toolchain.scoring.average_precision import score
from toolchain.train.masks import Masks, apply_masks
from toolchain.train.ranks import unshare_batch_norm
from toolchain.zoo.sources import Loaded


@dataclass(frozen=True)
class Sample:
    """Photos that nobody learns from, and how the network is run on them."""

    split: Split
    recipe: Recipe
    """With the anchors of the weights that are trained."""
    threads: int

    def score(self, network: nn.Module, masks: Masks | None) -> dict[str, float]:
        """Return average precision by level, protocol ``single``, with what is masked at zero."""
        network = copy.deepcopy(network).cpu().eval()
        unshare_batch_norm(network)
        if masks is not None:
            apply_masks(network, {name: mask.cpu() for name, mask in masks.items()})
        loaded = Loaded(
            network, self.recipe, Source(None, "training", None, trained=True, seed=0), ()
        )
        protocol = PROTOCOLS["single"]
        find = torch_finder(loaded, self.threads, protocol)
        cv2.setNumThreads(self.threads)
        found = []
        for image in self.split.images:
            try:
                pixels = detect.read_image(image.path, upright=False)
                found.append(detections(find, pixels, protocol))
            except detect.DetectError:  # a broken photo has no detections
                found.append(np.zeros((0, 5)))
        truths = self.split.truths
        counted = {level: [truth.counted[level] for truth in truths] for level in self.split.levels}
        curves = score(found, [truth.boxes for truth in truths], counted)
        return {curve.level: curve.ap for curve in curves if curve.ap is not None}
