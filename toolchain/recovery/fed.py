"""Are images fed as when the network was trained? Its batch norms remember what came in then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from toolchain.errors import InputError, ModelError
from toolchain.recovery.channels import Moments
from toolchain.recovery.hearing import Arguments, run
from toolchain.recovery.norms import remembers

UNLIKE, WRONG = 3.0, 30.0
"""How many times as much, or as little, what reaches the first batch norm varies, or how many of
its standard deviations it lies off, in the middle of its channels: told, and refused."""


def demand_fed_alike(teacher: nn.Module, inputs: Sequence[Arguments]) -> tuple[str, ...]:
    """Return notes on images that are unlike those that the network was trained on.

    Raises :class:`InputError` where they cannot be fed as then, and :class:`ModelError` where a
    batch norm or a dropout is in training mode after a run: ``forward`` puts it there.
    """
    heard = _First(teacher)
    for given in inputs:
        run(teacher, given)
    heard.end()
    _demand_eval(teacher)
    if heard.name is None:
        return ()
    factor, words = heard.unlike()
    if not factor > UNLIKE:
        return ()
    what = f"what reaches the first batch norm ({heard.name}) {words} the network was trained on"
    if factor > WRONG:
        raise InputError(f"{what}, so the images are fed otherwise than then: check {CHECK}")
    return (f"Look again at {CHECK}: {what}.",)


CHECK = "scale, mean, std and color_order"


def _demand_eval(teacher: nn.Module) -> None:
    for name, module in teacher.named_modules():
        if module.training and isinstance(module, _BatchNorm | nn.modules.dropout._DropoutNd):
            raise ModelError(
                f"{name} is in training mode after a run, though the network is in eval mode, so "
                f"what it gives depends on the batch; does a forward() call train()?"
            )


class _First:
    """Gathers what reaches the batch norm that is called first, if it was ever trained."""

    def __init__(self, network: nn.Module) -> None:
        self.name: str | None = None
        self._norm: _BatchNorm | None = None
        self._moments, self._called = Moments(), False
        self._handles = [
            module.register_forward_pre_hook(self._hook(name))
            for name, module in network.named_modules()
            if isinstance(module, _BatchNorm)
        ]

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            assert isinstance(module, _BatchNorm)
            if not self._called:
                self._called = True
                if remembers(module):
                    self.name, self._norm = name, module
            if module is self._norm:
                self._moments.add(given[0])

        return hook

    def end(self) -> None:
        """Listen no longer."""
        for handle in self._handles:
            handle.remove()

    def unlike(self) -> tuple[float, str]:
        """Return how unlike what came is, as a factor of 1 at least, and in words."""
        norm = self._norm
        assert norm is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        usual = (norm.running_var.double() + norm.eps).sqrt()
        mean, spread = self._moments.mean(), self._moments.spread()
        off = float(((mean - norm.running_mean) / usual).abs().median())
        times = float((spread / usual).median())
        if off > max(times, 1 / max(times, 1e-12)):
            return off, f"lies {off:.0f} standard deviations off from what"
        if times < 1:
            return 1 / max(times, 1e-12), f"varies {times:.2g} times as much as what"
        return times, f"varies {times:.0f} times as much as what"
