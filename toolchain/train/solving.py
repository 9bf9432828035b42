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
        patches = _patches(given, self.convolution)  # (G, D + 1, cells)
        groups, cells = len(patches), patches.shape[2]
        wanted = gave.transpose(0, 1).reshape(groups, -1, cells)
        some = torch.linspace(0, cells - 1, min(cells, CELLS * len(given))).long().to(given.device)
        patches, wanted = patches[..., some].double(), wanted[..., some].double()
        weighed = patches * pixels.reshape(-1)[some].double() * (cells / len(some))
        self._left = self._left + weighed @ patches.transpose(1, 2)
        self._right = self._right + weighed @ wanted.transpose(1, 2)

    @torch.no_grad()
    def solve(self) -> None:
        """Give the layer the weights that solve them, in place.

        Without a bias and without a batch norm it can add nothing, and its filters alone count.
        """
        left, right = self._left, self._right
        assert isinstance(left, Tensor)
        assert isinstance(right, Tensor)
        convolution = self.convolution
        norm = self.layer[1] if isinstance(self.layer, nn.Sequential) else None
        shifts = convolution.bias is not None or norm is not None
        found = _solved(left, right) if shifts else _solved(left[:, :-1, :-1], right[:, :-1])
        depth = left.shape[1] - 1
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


def _solved(left: Tensor, right: Tensor) -> Tensor:
    strength = RIDGE * left.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    ridge = torch.eye(left.shape[1], dtype=left.dtype, device=left.device)
    found: Tensor = torch.linalg.solve(left + strength.view(-1, 1, 1) * ridge, right)
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
        below = given.clamp(max=0).double()
        rest = gave.double() - given.clamp(min=0).double()
        weighed = below * pixels.double()
        self._left = self._left + (weighed * below).sum(dim=(0, 2, 3))
        self._right = self._right + (weighed * rest).sum(dim=(0, 2, 3))

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


def _patches(given: Tensor, layer: nn.Conv2d) -> Tensor:
    """Return what each cell of the output sees, and a one: (G, D + 1, N * h * w)."""
    assert not isinstance(layer.padding, str)
    seen = F.unfold(given, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    groups = layer.groups
    seen = seen.reshape(len(given), groups, -1, seen.shape[2]).permute(1, 2, 0, 3).flatten(2)
    return torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
