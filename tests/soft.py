"""Soft-pruned networks, and whether two networks are equal in float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.surgery.running import fresh

SIZES = ((1, 32, 24), (2, 17, 31), (3, 40, 56))
"""Batch, height and width of the images that networks are compared on."""


def soft_pruned(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random statistics that are not 0 and 1, and every third filter of each convolution zero."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0.3, 0.5, generator=generator)
            module.running_mean.normal_(0.0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(module, nn.modules.conv._ConvNd) and "weight" in module._parameters:
            module.weight.data.normal_(0.0, 0.3, generator=generator)
            if not isinstance(module, nn.modules.conv._ConvTransposeNd):
                module.weight.data[::3] = 0.0
    return network.eval()


def images(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Random images of several sizes, alone and in batches."""
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn((n, 3, h, w), generator=generator, dtype=torch.float64) * 3).to(dtype)
        for n, h, w in SIZES
    ]


def share(a: Tensor, b: Tensor) -> float:
    """Largest difference as a share of the first one's range."""
    a, b = a.double(), b.double()
    assert a.shape == b.shape
    return float((a - b).abs().max() / (a.max() - a.min()))


def assert_equal_in_float64(network: nn.Module, exact: nn.Module | None) -> None:
    """Every output, on its own scale, is the same up to float64's rounding."""
    assert exact is not None
    network, exact = (fresh(each).double() for each in (network, exact))
    with torch.no_grad():
        for image in images():
            before, after = network(image), exact(image)
            if isinstance(before, Tensor):
                before, after = (before,), (after,)
            for a, b in zip(before, after, strict=True):
                assert share(a, b) < 1e-12
