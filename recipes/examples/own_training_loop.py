"""A detector of one's own in its own training loop: pruned softly, held, then really smaller.

python -m toolchain.recipes.examples.own_training_loop
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import toolchain as tc


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Detector(nn.Module):
    """Finds bright squares: a score and a box for every cell of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(block(3, 16, 2), block(16, 24, 2), block(24, 32, 2))
        self.head = nn.ModuleDict({"score": nn.Conv2d(32, 1, 1), "box": nn.Conv2d(32, 4, 1)})

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.backbone(image)
        return self.head["score"](x), self.head["box"](x)


def main(epochs: int = 4, steps: int = 10) -> tuple[nn.Module, nn.Module]:
    """Train, prune and shrink; return the network with zeros and the small one."""
    torch.manual_seed(0)
    net, example = Detector(), torch.zeros(1, 3, 64, 64)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    pruner = tc.SoftPruner(net, example, rate=0.4, ignored=["head.*"], round_to=4)
    pruner.attach(optimizer)  # keeps zeros at zero once they are held
    for epoch in range(epochs + 1):
        for _ in range(steps):
            cells = (torch.rand(8, 1, 8, 8) < 0.1).float()
            images = F.interpolate(cells, scale_factor=8).expand(-1, 3, -1, -1)
            scores, boxes = net(images + 0.1 * torch.randn(8, 3, 64, 64))
            loss = F.binary_cross_entropy_with_logits(scores, cells) + (boxes * cells).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch < epochs:
            pruner.step()  # zeroes filters anew; they may come back
        if epoch == epochs - 1:
            pruner.hold()  # the last epoch trains what is left
    print(pruner.summary())
    small = tc.shrink(net.eval(), example).network
    return net, small


if __name__ == "__main__":
    main()
