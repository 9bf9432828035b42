"""Parts that several architectures have."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Act = Callable[[], nn.Module]


def conv_bn(
    inp: int,
    out: int,
    k: int = 3,
    s: int = 1,
    act: Act | None = nn.ReLU,
    groups: int = 1,
    eps: float = 1e-5,
) -> nn.Sequential:
    """A convolution that keeps the size at stride 1, batch norm, and an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inp, out, k, s, k // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=eps),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


def divisible(value: float, by: int = 8) -> int:
    """The nearest multiple that is at most a tenth smaller."""
    near = max(by, int(value + by / 2) // by * by)
    return near + by if near < 0.9 * value else near


class SqueezeExcite(nn.Module):
    """Scales each channel by what two layers make of all channels' means."""

    def __init__(
        self, channels: int, squeezed: int, act: Act = nn.ReLU, gate: Act = nn.Sigmoid
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.gate(self.fc2(self.act(self.fc1(self.avgpool(x)))))
        return scale * x
