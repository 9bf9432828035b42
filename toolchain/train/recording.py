"""Steps that a GPU records once and then replays: CUDA graphs.

These networks are small: a step is a thousand or two of pieces of work, each of some microseconds,
and Python is slower to ask for them than a GPU is to do them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from toolchain.train.batches import Batch
from toolchain.train.targets import Targets

WARM_STEPS = 3
"""Steps of a kind that are taken as they come, in which libraries choose their ways to compute."""


class Recorder:
    """Has losses and gradients computed; from some steps of a kind on by replaying a record."""

    def __init__(self) -> None:
        self._kind: Hashable = ()
        self._taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._held: Batch | None = None
        self._loss: Tensor | None = None

    def take(self, kind: Hashable, batch: Batch, compute: Callable[[Batch], Tensor]) -> Tensor:
        """Return ``compute(batch)``, a loss, having left the gradients.

        ``compute`` must do the same for all batches of a ``kind``, without waiting for the GPU. A
        record holds on to the gradients' tensors: they must be left where they are.
        """
        if kind != self._kind:
            self._kind, self._taken = kind, 0
            self._graph = self._held = self._loss = None
        if self._taken < WARM_STEPS:
            self._taken += 1
            return compute(batch)
        if self._graph is None:
            self._record(batch, compute)
        assert self._graph is not None
        assert self._held is not None
        assert self._loss is not None
        _copy(batch, self._held)
        self._graph.replay()
        return self._loss

    def _record(self, batch: Batch, compute: Callable[[Batch], Tensor]) -> None:
        self._held = _clone(batch)
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._loss = compute(self._held)


def _clone(batch: Batch) -> Batch:
    wanted = batch.wanted
    if wanted is not None:
        wanted = Targets(wanted.positive.clone(), wanted.loc.clone())
    return Batch(batch.images.clone(), batch.faces, wanted)


def _copy(source: Batch, target: Batch) -> None:
    target.images.copy_(source.images)
    if source.wanted is not None and target.wanted is not None:
        target.wanted.positive.copy_(source.wanted.positive)
        target.wanted.loc.copy_(source.wanted.loc)
