"""Parameters and multiply-accumulates against closed forms, and operators that have no rule."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.checking.cost import count_parameters, measure_cost
from toolchain.models.registry import build

torch.set_num_threads(1)

HEIGHT, WIDTH = 13, 10
IMAGE = torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def up(size: int, stride: int) -> int:
    return math.ceil(size / stride)


# Closed forms -----------------------------------------------------------------------------------

LAYERS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "convolution": (
        lambda: nn.Conv2d(3, 8, 3, padding=1),
        HEIGHT * WIDTH * 8 * 3 * 9,
        8 * 3 * 9 + 8,
    ),
    "no bias, stride 2, no padding": (
        lambda: nn.Conv2d(3, 8, 5, stride=2, bias=False),
        5 * 3 * 8 * 3 * 25,  # (13 - 5) // 2 + 1 and (10 - 5) // 2 + 1
        8 * 3 * 25,
    ),
    "oblong kernel": (
        lambda: nn.Conv2d(3, 4, (1, 3)),
        HEIGHT * (WIDTH - 2) * 4 * 3 * 3,
        4 * 3 * 3 + 4,
    ),
    "dilated": (
        lambda: nn.Conv2d(3, 4, 3, dilation=2),
        (HEIGHT - 4) * (WIDTH - 4) * 4 * 3 * 9,
        4 * 3 * 9 + 4,
    ),
    "depthwise": (
        lambda: nn.Conv2d(3, 6, 3, padding=1, groups=3),
        HEIGHT * WIDTH * 6 * 9,
        6 * 9 + 6,
    ),
    "grouped": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1, groups=4)),
        HEIGHT * WIDTH * (8 * 3 + 12 * 2),
        8 * 3 + 8 + 12 * 2 + 12,
    ),
    "transposed": (  # every input value meets every weight of its channel once
        lambda: nn.ConvTranspose2d(3, 8, 4, stride=2, padding=1),
        HEIGHT * WIDTH * 3 * 8 * 16,
        3 * 8 * 16 + 8,
    ),
    "transposed depthwise": (
        lambda: nn.ConvTranspose2d(3, 3, 4, stride=2, groups=3),
        HEIGHT * WIDTH * 3 * 16,
        3 * 16 + 3,
    ),
    "linear layer": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * HEIGHT * WIDTH, 7)),
        3 * HEIGHT * WIDTH * 7,
        3 * HEIGHT * WIDTH * 7 + 7,
    ),
    "linear layer without bias": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * HEIGHT * WIDTH, 7, bias=False)),
        3 * HEIGHT * WIDTH * 7,
        3 * HEIGHT * WIDTH * 7,
    ),
    "linear layer along rows": (
        lambda: nn.Linear(WIDTH, 4),
        3 * HEIGHT * WIDTH * 4,
        WIDTH * 4 + 4,
    ),
    "folded norm": (  # its scale goes into the weights, its shift becomes a bias
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        HEIGHT * WIDTH * 8 * 3,
        8 * 3 + 8,
    ),
    "norm that cannot be folded": (
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 1)),
        HEIGHT * WIDTH * 8 * 3,
        2 * 3 + 8 * 3 + 8,
    ),
    "norm without scale that cannot be folded": (
        lambda: nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 8, 1)),
        HEIGHT * WIDTH * 8 * 3,
        2 * 3 + 8 * 3 + 8,
    ),
    "PReLU": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.PReLU(8)),
        HEIGHT * WIDTH * 8 * 3,
        8 * 3 + 8 + 8,
    ),
    "nothing that multiplies": (
        lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Upsample(scale_factor=2)),
        0,
        0,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_cost_is_that_of_the_closed_form(name: str) -> None:
    make, macs, parameters = LAYERS[name]
    cost = measure_cost(make().eval(), IMAGE)
    assert cost.macs == macs
    assert cost.deployed_parameters == parameters
    assert cost.non_layer_parameters == 0
    assert cost.size == (HEIGHT, WIDTH)
    assert cost.uncounted_operators == ()


class Reuse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
        self.same = self.block
        self.tied = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.tied.weight = nn.Parameter(self.tied.weight.detach())
        self.tied_too = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.tied_too.weight = self.tied.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tied_too(self.tied(self.same(self.block(self.block(x)))))
        return out


def test_shared_weights_count_once_and_multiply_every_time() -> None:
    cost = measure_cost(Reuse().eval(), IMAGE)
    assert cost.deployed_parameters == 81 + 3 + 81
    assert cost.macs == 5 * HEIGHT * WIDTH * 81


class NonLayerParameters(nn.Module):
    """Parameters that belong to no layer: of the network itself, and of a layer of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1)
        self.scale = nn.Parameter(torch.ones(5))
        self.own = Own()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.own(self.convolution(x)) * self.scale.sum()
        return out


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(7))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift.sum()


def test_parameters_outside_layers_count_apart() -> None:
    cost = measure_cost(NonLayerParameters().eval(), IMAGE)
    assert (cost.deployed_parameters, cost.non_layer_parameters) == (4 * 3 + 4, 5 + 7)


def test_cost_does_not_change_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    measure_cost(network, IMAGE)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_count_parameters_counts_a_norm_that_is_still_there() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
    assert count_parameters(network) == (12 + 8, 0)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_multiplies_as_often(batch: int) -> None:
    cost = measure_cost(nn.Conv2d(3, 4, 1).eval(), IMAGE.repeat(batch, 1, 1, 1))
    assert cost.macs == batch * HEIGHT * WIDTH * 12


# The detectors ----------------------------------------------------------------------------------


def eresfd_macs(height: int, width: int) -> int:
    """EResFD's multiply-accumulates, read off the paper's drawing."""
    cells = [up(height, 4 << level) * up(width, 4 << level) for level in range(6)]
    stem = cells[0] * (3 * 8 * 25 + 8 * 8 * 9 + 8 * 16 * 9 + 2 * 16 * 16 * 9)
    stages = 0
    for level, blocks in enumerate((3, 3, 3, 2, 2), start=1):
        stages += cells[level] * (blocks * 2 * 16 * 16 * 9 + 16 * 16)
    laterals = sum(cells[:5]) * 16 * 16
    smooth = sum(cells[1:5]) * 16 * 16 * 9
    context = sum(cells) * 9 * (16 * 8 + 8 * 4 + 4 * 4 * 3)
    heads = sum(cells) * 16 * (4 + 2) + cells[0] * 16 * 2
    return stem + stages + laterals + smooth + context + heads


def extd_macs(height: int, width: int) -> int:
    """EXTD's: the four blocks six times over."""
    sizes = [(up(height, 2 << level), up(width, 2 << level)) for level in range(7)]
    cells = [h * w for h, w in sizes]
    c = 64
    macs = cells[0] * (3 * c * 9 + c * 9 + c * c)
    for level in range(6):
        fine, coarse = cells[level], cells[level + 1]
        for expansion in (2, 2, 4):
            macs += fine * (2 * c * c * expansion + c * expansion * 9)
        macs += fine * c * c * 4 + coarse * (c * 4 * 9 + c * c * 4)
    macs += sum(cells[1:6]) * (c * 9 + c * c)
    return macs + sum(cells[1:]) * c * 9 * (4 + 2) + cells[1] * c * 9 * 2


@pytest.mark.parametrize(
    ("model", "deployed", "non_layer", "macs"),
    [("eresfd", 91_342, 18, eresfd_macs), ("extd", 159_216, 0, extd_macs)],
)
@pytest.mark.parametrize("size", [(96, 64), (101, 67)])
def test_cost_of_the_detectors(
    model: str,
    deployed: int,
    non_layer: int,
    macs: Callable[[int, int], int],
    size: tuple[int, int],
) -> None:
    cost = measure_cost(build(model), torch.zeros(1, 3, *size))
    assert cost.deployed_parameters == deployed
    assert cost.non_layer_parameters == non_layer
    assert cost.macs == macs(*size)
    assert cost.size == size
    assert cost.uncounted_operators == ()


# Operators without a rule -----------------------------------------------------------------------


class Applied(nn.Module):
    """A convolution, and any function of its output (1, 4, 13, 10)."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.convolution(x))


def extra(function: Callable[[Tensor], Tensor]) -> tuple[int, tuple[str, ...]]:
    """Return (macs besides the convolution's, operators that were not counted)."""
    cost = measure_cost(Applied(function).eval(), IMAGE)
    return cost.macs - HEIGHT * WIDTH * 12, cost.uncounted_operators


def rows(y: Tensor) -> Tensor:
    return y.flatten(1)[0].reshape(4, -1)  # (4, 130)


PRODUCTS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "mm": (lambda y: rows(y) @ rows(y).T, 4 * 4 * 130),
    "bmm": (lambda y: y @ y.mT, 4 * 13 * 13 * 10),
    "addmm": (lambda y: torch.addmm(torch.zeros(4, 4), rows(y), rows(y).T), 4 * 4 * 130),
    "einsum": (lambda y: torch.einsum("nchw,ndhw->cd", y, y), 4 * 4 * 130),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_matrix_products_are_counted(name: str) -> None:
    function, macs = PRODUCTS[name]
    assert extra(function) == (macs, ())


HIDDEN: dict[str, Callable[[Tensor], Tensor]] = {
    "baddbmm": lambda y: torch.baddbmm(torch.zeros(1, 4, 4), rows(y)[None], rows(y).T[None]),
    "addbmm": lambda y: torch.addbmm(torch.zeros(4, 4), rows(y)[None], rows(y).T[None]),
    "attention": lambda y: F.scaled_dot_product_attention(y, y, y),
    "fft": lambda y: torch.fft.fft2(y).real,
    "mv": lambda y: torch.mv(rows(y), rows(y)[0]),
    "addmv": lambda y: torch.addmv(torch.zeros(4), rows(y), rows(y)[0]),
    "dot": lambda y: torch.dot(y.flatten(), y.flatten()),
    "vdot": lambda y: torch.vdot(y.flatten(), y.flatten()),
    "bilinear": lambda y: F.bilinear(y, y, torch.ones(2, 10, 10)),
    "cdist": lambda y: torch.cdist(y, y),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_an_operator_that_multiplies_without_a_rule_is_named(name: str) -> None:
    """Never taken for zero: either it is counted, or it is named."""
    macs, named = extra(HIDDEN[name])
    assert macs > 0 or named


def test_the_name_is_that_of_the_operator() -> None:
    assert extra(HIDDEN["baddbmm"]) == (0, ("baddbmm",))
    assert extra(lambda y: HIDDEN["baddbmm"](y) + HIDDEN["addbmm"](y))[1] == ("addbmm", "baddbmm")


@pytest.mark.parametrize(
    "function",
    [
        lambda y: y * y + y.sigmoid(),
        lambda y: F.interpolate(y, scale_factor=2.0, mode="bilinear"),
        lambda y: F.avg_pool2d(y, 2).flatten(1).softmax(1),
        lambda y: torch.cat([y, y.amax(1, keepdim=True)], 1).permute(0, 2, 3, 1),
    ],
    ids=["element by element", "resize", "pool", "move"],
)
def test_what_does_not_multiply_and_add_is_not_named(function: Callable[[Tensor], Tensor]) -> None:
    assert extra(function) == (0, ())


class PadsByItself(nn.Conv2d):
    """As "same" convolutions of many repositories are made."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight, self.bias, padding=1)


def test_layers_of_a_class_of_one_s_own_are_layers() -> None:
    network = nn.Sequential(PadsByItself(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert count_parameters(network) == (3 * 4 * 9 + 4 + 4 * 2 + 2, 0)
