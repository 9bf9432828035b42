"""A student looked at on the way: agreement, or a user's own evaluation, whose best is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from torch import nn

from toolchain.errors import InputError
from toolchain.recovery.agreement import agreement, by_class
from toolchain.recovery.feeding import Figures, size_of
from toolchain.recovery.hearing import run
from toolchain.recovery.teaching import Taught
from toolchain.train.masks import Masks


class Look:
    """Agreement, or a user's own evaluation, on the way; the best network by the latter is kept."""

    def __init__(
        self,
        taught: Taught,
        evaluate: Figures | None,
    ) -> None:
        self.taught, self.evaluate = taught, evaluate
        self.best: tuple[float, int, Mapping[str, Any]] | None = None
        self.step = 0
        self.seconds = self.own_seconds = 0.0
        """What the last look took, by agreement and by the user's own evaluation."""
        self._ours: list[Any] = []

    @property
    def images(self) -> int:
        """How many images the agreement is told on."""
        return sum(map(size_of, self.taught.kept_out))

    def agreement(self, network: nn.Module) -> dict[str, float]:
        """Return how well a network agrees with the teacher on what is kept out."""
        began = time.perf_counter()
        network.eval()
        self._ours = [run(network, batch.inputs) for batch in self.taught.kept_out]
        found = agreement(self.taught.outputs, self._ours, self.taught.theirs)
        self.seconds = time.perf_counter() - began
        return found

    def by_class(self) -> dict[str, dict[int, tuple[int, float]]]:
        """Return the same by class, where there are classes, of what was looked at last."""
        return by_class(self.taught.outputs, self._ours, self.taught.theirs)

    def own(self, network: nn.Module) -> dict[str, float]:
        """Return the figures of the user's own evaluation."""
        assert self.evaluate is not None
        began = time.perf_counter()
        found = self.evaluate(network.eval())
        self.own_seconds = time.perf_counter() - began
        network.eval()
        try:
            figures = {str(key): float(value) for key, value in found.items()}
        except (AttributeError, TypeError, ValueError):
            figures = {}
        if not figures or not math.isfinite(next(iter(figures.values()))):
            raise InputError(
                f"evaluate must return a dict of figures, such as {{'accuracy': 0.91}} (got "
                f"{found!r:.80})"
            )
        return figures

    def score(self, network: nn.Module, masks: Masks | None) -> Mapping[str, float]:  # noqa: ARG002
        """Look at the student."""
        if self.evaluate is None:
            return self.agreement(network)
        found = self.own(network)
        figure = next(iter(found.values()))
        if self.best is None or figure >= self.best[0]:
            state = {key: value.clone() for key, value in network.state_dict().items()}
            self.best = figure, self.step, state
        return found

    def take_best(self, network: nn.Module, steps: int) -> int:
        """Give the network the best weights that were seen; return of which step they are."""
        if self.best is None:
            return steps
        network.load_state_dict(dict(self.best[2]))
        return self.best[1]
