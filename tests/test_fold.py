"""Batch norm folded: exact where it can be, and left alone, with the same output, where not."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from toolchain.exporting.fold import fold_batch_norm
from toolchain.models.registry import build

torch.set_num_threads(1)


def with_norms(network: nn.Module, seed: int = 6) -> nn.Module:
    """Give every batch norm statistics, scale and shift that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                if module.running_mean is not None and module.running_var is not None:
                    module.running_mean.normal_(generator=generator)
                    module.running_var.uniform_(0.5, 2.0, generator=generator)
                if module.affine:
                    module.weight.uniform_(-1.5, 1.5, generator=generator)
                    module.bias.normal_(generator=generator)
    return network.eval()


def image(*shape: int) -> Tensor:
    return torch.randn(shape or (2, 3, 13, 10), generator=torch.Generator().manual_seed(2))


def norms_left(network: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


def assert_folds(network: nn.Module, left: int, x: Tensor | None = None) -> nn.Module:
    """Fold, and check outputs to 1e-6 of their range, norms left, and that the input is spared."""
    x = image() if x is None else x
    original = copy.deepcopy(network.state_dict())
    folded = fold_batch_norm(network, x)
    assert all(torch.equal(value, original[key]) for key, value in network.state_dict().items())
    for example in (x, x * 3 + 1):
        with torch.no_grad():
            before, after = tree_leaves(network(example)), tree_leaves(folded(example))
        assert len(before) == len(after)
        for a, b in zip(before, after, strict=True):
            assert a.shape == b.shape
            assert float((a - b).abs().max()) <= 1e-6 * float(a.abs().max())
            if norms_left(network) == norms_left(folded):
                assert torch.equal(a, b)
    assert norms_left(folded) == left
    return folded


# Folded -----------------------------------------------------------------------------------------

SINGLE_PAIRS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)), (2, 3, 9, 8)),
    "without bias": (
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)),
        (2, 3, 9, 8),
    ),
    "small epsilon, no scale": (
        lambda: nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5, eps=0.1, affine=False)),
        (2, 3, 9, 8),
    ),
    "depthwise": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)),
        (2, 3, 9, 8),
    ),
    "grouped": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)),
        (2, 4, 9, 8),
    ),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 5, 3, stride=2), nn.BatchNorm2d(5)),
        (2, 3, 9, 8),
    ),
    "transposed depthwise": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=4), nn.BatchNorm2d(4)),
        (2, 4, 9, 8),
    ),
    "transposed depthwise, doubling": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 2, 2, groups=3), nn.BatchNorm2d(6)),
        (2, 3, 9, 8),
    ),
    "transposed grouped": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)),
        (2, 4, 9, 8),
    ),
    "one dimension": (lambda: nn.Sequential(nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5)), (2, 3, 9)),
    "three dimensions": (
        lambda: nn.Sequential(nn.Conv3d(3, 5, 2), nn.BatchNorm3d(5)),
        (2, 3, 4, 5, 4),
    ),
}


@pytest.mark.parametrize("name", SINGLE_PAIRS)
def test_convolution_and_norm_become_one(name: str) -> None:
    make, shape = SINGLE_PAIRS[name]
    torch.manual_seed(1)
    folded = assert_folds(with_norms(make()), 0, image(*shape))
    assert isinstance(folded.get_submodule("1"), nn.Identity)
    before = make().get_parameter("0.weight")
    assert folded.get_parameter("0.weight").shape == before.shape


def test_fold_by_hand() -> None:
    """One weight 2, bias 1; mean 3, variance 15.99999 + eps 1e-5 = 16, scale 8, shift 5."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
    values = {"0.weight": 2.0, "0.bias": 1.0, "1.weight": 8.0, "1.bias": 5.0}
    values |= {"1.running_mean": 3.0, "1.running_var": 15.99999}
    for key, value in values.items():
        network.state_dict()[key].fill_(value)
    folded = fold_batch_norm(network, torch.ones(1, 1, 1, 1))
    assert folded.get_parameter("0.weight").item() == pytest.approx(8 / 4 * 2)
    assert folded.get_parameter("0.bias").item() == pytest.approx(8 / 4 * (1 - 3) + 5)


def test_fold_is_done_in_double_precision() -> None:
    """A mean a million times larger than what is left of it."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)).eval()
    values = {"0.weight": 1.0, "0.bias": 16777216.0, "1.weight": 1 / 3, "1.bias": 0.0}
    values |= {"1.running_mean": 16777214.0, "1.running_var": 7.0}
    for key, value in values.items():
        network.state_dict()[key].fill_(value)
    scale = network.get_parameter("1.weight").double() / 7**0.5
    folded = fold_batch_norm(network, torch.ones(1, 1, 1, 1))
    assert torch.equal(folded.get_parameter("0.weight").flatten(), scale.float())
    assert torch.equal(folded.get_parameter("0.bias"), (scale * 2).float())


def test_a_chain_is_folded_pair_by_pair() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
    )
    assert_folds(with_norms(network), 0)


class Reuse(nn.Module):
    """The same block three times over."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.block(x)
        return x


def test_a_block_that_is_called_three_times_is_folded_once() -> None:
    torch.manual_seed(1)
    folded = assert_folds(with_norms(Reuse()), 0)
    weights = 3 * 3 * 9 + 3 + 3 * 3 + 3
    assert sum(parameter.numel() for parameter in folded.parameters()) == weights


class TwoNames(nn.Module):
    """One block under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x).relu())
        return out


def test_a_norm_with_two_names_goes_under_both() -> None:
    torch.manual_seed(1)
    folded = assert_folds(with_norms(TwoNames()), 0)
    assert isinstance(folded.get_submodule("second.1"), nn.Identity)


@pytest.mark.parametrize(("model", "count"), [("eresfd", 91_342 + 18), ("extd", 159_216)])
def test_detectors_are_folded_whole(model: str, count: int) -> None:
    network = with_norms(build(model, 3))
    x = torch.randn(1, 3, 65, 70, generator=torch.Generator().manual_seed(2)) * 64
    folded = fold_batch_norm(network, x)
    assert norms_left(folded) == 0
    assert sum(parameter.numel() for parameter in folded.parameters()) == count
    with torch.no_grad():
        precise = network.double()(x.double())
        for a, b in zip(precise, folded(x), strict=True):
            assert float((a - b).abs().max()) <= 1e-5 * float(a.abs().max())


# Left alone -------------------------------------------------------------------------------------


class Pair(nn.Module):
    """A convolution and a norm, put together by subclasses in ways that do not fold."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.other_convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.other_norm = nn.BatchNorm2d(4)


class ReadTwice(Pair):
    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x)
        return self.norm(y) + y.relu()


class PartRead(Pair):
    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x)
        return self.norm(y) * y[:, :1].mean()


class Returned(Pair):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.convolution(x)
        return {"before": y, "after": self.norm(y)}


class NormOfTwo(Pair):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x)) + self.norm(self.other_convolution(x))


class TwoNorms(Pair):
    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x)
        return self.norm(y) - self.other_norm(y)


class SecondCallWithout(Pair):
    """The convolution is called twice; only one of the outputs is normalised."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x)) + self.convolution(x * 2).relu()


class NormOfSum(Pair):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.convolution(x) + self.other_convolution(x))
        return out


class NormOfInput(Pair):
    """The norm meets the convolution's output in one call, something else in the other."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x)) + self.norm(torch.cat([x, x[:, :1]], 1))


class ChangedBetween(Pair):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.convolution(x).relu_())
        return out


class WeightRead(Pair):
    """The weight is read besides the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x)) * self.convolution.weight.norm()


class Functional(Pair):
    """The norm is not called as a module, so it cannot be replaced as one."""

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        return F.batch_norm(
            self.convolution(x), norm.running_mean, norm.running_var, norm.weight, norm.bias
        )


class FunctionalWeight(Pair):
    """The convolution is not called as a module: a bias given to it would never be added."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(F.conv2d(x, self.convolution.weight))
        return out


@pytest.mark.parametrize(
    "kind",
    [
        ReadTwice,
        PartRead,
        Returned,
        NormOfTwo,
        TwoNorms,
        SecondCallWithout,
        NormOfSum,
        NormOfInput,
        ChangedBetween,
        WeightRead,
        Functional,
        FunctionalWeight,
    ],
)
def test_what_does_not_belong_together_is_left(kind: type[Pair]) -> None:
    torch.manual_seed(1)
    assert_folds(with_norms(kind()), 2)


def test_a_norm_before_the_convolution_is_left() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1))
    assert_folds(with_norms(network), 1)


def test_a_norm_behind_an_activation_is_left() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
    assert_folds(with_norms(network), 1)


def test_the_second_of_two_norms_is_left() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    assert_folds(with_norms(network), 1)


def test_a_norm_of_the_batchs_own_statistics_is_left() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    assert_folds(with_norms(network), 1)


class NormThenRelu(nn.BatchNorm2d):
    """A norm that does more than norm, like timm's BatchNormAct2d."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


def test_a_norm_with_a_forward_of_its_own_keeps_what_else_it_does() -> None:
    torch.manual_seed(1)
    network = with_norms(nn.Sequential(nn.Conv2d(3, 4, 3), NormThenRelu(4)))
    x = image()
    with torch.no_grad():
        before, after = network(x), fold_batch_norm(network, x)(x)
    assert float((before - after).abs().max()) <= 1e-6 * float(before.abs().max())


def test_convolutions_that_share_a_weight_are_left() -> None:
    torch.manual_seed(1)
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    second.weight = first.weight
    network = nn.Sequential(first, nn.BatchNorm2d(3), second, nn.BatchNorm2d(3))
    assert_folds(with_norms(network), 2)


def test_a_network_in_training_mode_is_folded_as_in_eval_mode() -> None:
    torch.manual_seed(1)
    network = with_norms(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    expected = network(image())
    network.train()
    folded = fold_batch_norm(network, image())
    assert network.training
    torch.testing.assert_close(folded(image()), expected, rtol=1e-5, atol=1e-5)
