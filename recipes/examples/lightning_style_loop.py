"""The same in hooks, as Lightning calls them: with Lightning, ``Pruning`` is a ``Callback``.

python -m toolchain.recipes.examples.lightning_style_loop
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

import toolchain as tc


class Pruning:
    """Prunes softly for some epochs, then holds the zeros; its state goes into checkpoints."""

    def __init__(self, soft_epochs: int, **arguments: Any) -> None:
        self.soft_epochs, self.arguments = soft_epochs, arguments

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        self.pruner = tc.SoftPruner(module, torch.zeros(1, 1, 16, 16), **self.arguments)
        self.pruner.attach(trainer.optimizers[0])

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.pruner.step()
        if trainer.current_epoch + 1 == self.soft_epochs:
            self.pruner.hold()

    def state_dict(self) -> dict[str, Any]:
        return self.pruner.state_dict()


def fit(module: nn.Module, callback: Pruning, epochs: int) -> None:
    """Train, and call the hooks where Lightning does."""
    trainer = SimpleNamespace(optimizers=[torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)])
    callback.on_fit_start(trainer, module)
    for trainer.current_epoch in range(epochs):
        for _ in range(10):
            kinds = torch.randint(0, 2, (16, 1, 1, 1))
            scores = module(torch.randn(16, 1, 16, 16) * (1 + kinds))
            trainer.optimizers[0].zero_grad()
            nn.functional.cross_entropy(scores, kinds.flatten()).backward()
            trainer.optimizers[0].step()
        callback.on_train_epoch_end(trainer, module)


def main() -> tuple[nn.Module, nn.Module]:
    """Train, prune and shrink; return the network with zeros and the small one."""
    torch.manual_seed(0)
    convolutions = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU()
    net = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    fit(net, Pruning(soft_epochs=3, parameters=800, criterion="l1"), epochs=5)
    return net, tc.shrink(net, torch.zeros(1, 1, 16, 16)).network


if __name__ == "__main__":
    main()
