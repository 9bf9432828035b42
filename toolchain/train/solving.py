"""Layers in closed form: the weights that give, on many crops, what a teacher's layers give.

A convolution is linear in its weights, so those that regress the teacher's outputs from the
teacher's inputs, of which some channels may be missing, solve linear equations (least squares, as
in He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017). A batch norm
behind it takes over mean and spread of what comes out, so that both together give the solution.
What a PReLU does below zero is linear in its slope.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CELLS = 1024
"""Of a call and a crop, spread evenly: neighbours say nearly the same."""
RIDGE = 1e-7
"""Of the mean of the equations' diagonal: what no crop shows stays near zero."""


class Equations:
    """The normal equations of one convolution, in each of its groups of channels."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self._left: Tensor | float = 0.0
        """(G, D + 1, D + 1): what patches and a one have to do with each other."""
        self._right: Tensor | float = 0.0
        """(G, D + 1, out / G)."""

    @property
    def convolution(self) -> nn.Conv2d:
        """The layer itself, or that of a pair with its batch norm."""
        first = self.layer[0] if isinstance(self.layer, nn.Sequential) else self.layer
        assert isinstance(first, nn.Conv2d)
        return first

    def add(self, given: Tensor, gave: Tensor, pixels: Tensor) -> None:
        """Take in a call: (N, in, H, W), (N, out, h, w), and what each cell weighs (N, 1, h, w)."""
        some = _some(gave)
        patches = _patches(given, self.convolution, some, gave.shape[3]).double()
        wanted = (
            gave.flatten(2)[..., some].transpose(0, 1).reshape(len(patches), -1, patches.shape[2])
        )
        weighed = patches * pixels.flatten(2)[..., some].reshape(-1).double()
        share = gave[0, 0].numel() / len(some)
        self._left = self._left + share * (weighed @ patches.transpose(1, 2))
        self._right = self._right + share * (weighed @ wanted.double().transpose(1, 2))

    def _start(self) -> Tensor:
        """Return what the layer computes now, as the equations have it: (G, D + 1, out / G)."""
        convolution, groups = self.convolution, self.convolution.groups
        weight = convolution.weight.double().reshape(groups, -1, convolution.weight[0].numel())
        outputs = convolution.out_channels
        bias = convolution.bias
        shift = weight.new_zeros(outputs) if bias is None else bias.double()
        if isinstance(self.layer, nn.Sequential):
            norm = self.layer[1]
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            weight = weight * _column(scale, groups).transpose(1, 2)
            shift = (shift - norm.running_mean.double()) * scale + norm.bias.double()
        return torch.cat([weight.transpose(1, 2), _column(shift, groups)], dim=1)

    @torch.no_grad()
    def solve(self, near: float = 0.0) -> None:
        """Give the layer the weights that solve them, in place.

        Without a bias and without a batch norm it can add nothing, and its filters alone count.
        With ``near``, what changes is held back by so much of the mean of the equations' diagonal:
        few inputs, or such as say the same, do not throw away what the layer knows.
        """
        left, right = self._left, self._right
        assert isinstance(left, Tensor)
        assert isinstance(right, Tensor)
        convolution = self.convolution
        norm = self.layer[1] if isinstance(self.layer, nn.Sequential) else None
        shifts = convolution.bias is not None or norm is not None
        start = self._start() if near else torch.zeros_like(right)
        right = right - left @ start if near else right
        if not shifts:
            left, right, start = left[:, :-1, :-1], right[:, :-1], start[:, :-1]
        found = _solved(left, right, near or RIDGE)
        found = found + start if near else found
        depth = found.shape[1] - shifts
        weight = found[:, :depth].transpose(1, 2)  # (G, out / G, D)
        convolution.weight.copy_(weight.reshape(convolution.weight.shape))
        if norm is not None:
            assert isinstance(norm, nn.BatchNorm2d)
            moments = left / left[:, -1:, -1:]  # the last of a patch is one, so it counts
            _take_over(norm, weight, moments[:, :-1], found[:, depth].reshape(-1))
            if convolution.bias is not None:
                convolution.bias.zero_()
        elif convolution.bias is not None:
            convolution.bias.copy_(found[:, depth].reshape(-1))


def _column(values: Tensor, groups: int) -> Tensor:
    """(out,) -> (groups, 1, out / groups)."""
    return values.double().reshape(groups, 1, -1)


def _solved(left: Tensor, right: Tensor, ridge: float) -> Tensor:
    strength = ridge * left.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    unit = torch.eye(left.shape[1], dtype=left.dtype, device=left.device)
    found: Tensor = torch.linalg.solve(left + strength.view(-1, 1, 1) * unit, right)
    return found


def _take_over(norm: nn.BatchNorm2d, weight: Tensor, moments: Tensor, shift: Tensor) -> None:
    """Give batch norm the mean and spread of what filters give, and let it add ``shift`` (out,).

    ``weight`` is (G, out / G, D); ``moments`` (G, D, D + 1), those of patches and a one.
    """
    mean = (weight @ moments[..., -1:]).reshape(-1)
    square = (weight @ moments[..., :-1] * weight).sum(dim=2).reshape(-1)
    variance = (square - mean**2).clamp(min=0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean + shift)


class Slopes:
    """The equation of each slope of a PReLU."""

    def __init__(self, layer: nn.PReLU) -> None:
        self.layer = layer
        self._left: Tensor | float = 0.0
        self._right: Tensor | float = 0.0

    def add(self, given: Tensor, gave: Tensor, pixels: Tensor) -> None:
        """Take in a call, as :meth:`Equations.add` does."""
        some = _some(gave)
        seen, wanted = given.flatten(2)[..., some].double(), gave.flatten(2)[..., some].double()
        below = seen.clamp(max=0)
        weighed = below * pixels.flatten(2)[..., some].double()
        share = gave[0, 0].numel() / len(some)
        self._left = self._left + share * (weighed * below).sum(dim=(0, 2))
        self._right = self._right + share * (weighed * (wanted - seen.clamp(min=0))).sum(dim=(0, 2))

    @torch.no_grad()
    def solve(self) -> None:
        """Give the layer its slopes, in place; one that saw nothing below zero keeps its own."""
        left, right = self._left, self._right
        assert isinstance(left, Tensor)
        assert isinstance(right, Tensor)
        slope = self.layer.weight
        if len(slope) == 1:
            left, right = left.sum(dim=0, keepdim=True), right.sum(dim=0, keepdim=True)
        slope.copy_(torch.where(left > 0, right / left.clamp(min=1e-12), slope.double()))


def equations_of(layers: Mapping[str, nn.Module]) -> dict[str, Equations | Slopes]:
    """Return empty equations for each of the layers that have any, by name."""
    found: dict[str, Equations | Slopes] = {}
    for name, layer in layers.items():
        first = layer[0] if isinstance(layer, nn.Sequential) else layer
        if isinstance(first, nn.PReLU):
            found[name] = Slopes(first)
        elif isinstance(first, nn.Conv2d) and first.padding_mode == "zeros":
            found[name] = Equations(layer)
    return found


def _some(gave: Tensor) -> Tensor:
    """Return the numbers of the cells of an output (N, out, h, w) that count."""
    cells = gave[0, 0].numel()
    return torch.linspace(0, cells - 1, min(cells, CELLS), device=gave.device).round().long()


def _patches(given: Tensor, layer: nn.Conv2d, some: Tensor, width: int) -> Tensor:
    """Return what some cells of the output see, and a one: (G, D + 1, N * cells).

    ``some`` are numbers of cells, row by row, of an output so wide.
    """
    assert not isinstance(layer.padding, str)
    (below, right), (high, wide) = layer.padding, layer.kernel_size
    padded = F.pad(given, (right, right, below, below))
    device = given.device
    rows = some // width * layer.stride[0] + _steps(high, layer.dilation[0], device)
    columns = some % width * layer.stride[1] + _steps(wide, layer.dilation[1], device)
    seen = padded[:, :, rows[:, None], columns[None]]  # (N, in, high, wide, cells)
    seen = seen.reshape(len(given), layer.groups, -1, len(some)).permute(1, 2, 0, 3).flatten(2)
    return torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)


def _steps(size: int, dilation: int, device: torch.device) -> Tensor:
    """Return how far each row, or column, of a filter is from its first (size, 1)."""
    return (torch.arange(size, device=device) * dilation)[:, None]
