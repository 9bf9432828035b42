"""What counts is how a layer's operator is called, not what its module says."""

from __future__ import annotations

import pytest
import torch
from soft import assert_equal_in_float64, soft_pruned
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from toolchain.surgery.removing import cut

IMAGE = torch.zeros(1, 3, 32, 24)


class Body(nn.Module):
    """Convolutions with constants, and a reader that a subclass calls as it likes."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 9, 3, 2, 1, bias=False), nn.BatchNorm2d(9), nn.ReLU()
        )
        self.reader = nn.Conv2d(9, 8, 3, bias=bias)
        self.head = nn.Conv2d(8, 4, 1)

    def read(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.read(self.body(x))))
        return out


class PadsItself(Body):
    """Pads in the call; its module says that it does not."""

    def read(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.reader.weight, self.reader.bias, padding=1)


class PadsOnce(Body):
    """Pads in one call of two."""

    def read(self, x: Tensor) -> Tensor:
        padded = F.conv2d(x, self.reader.weight, self.reader.bias, padding=1)
        return self.reader(x) + padded[:, :, 1:-1, 1:-1]


class Dilates(Body):
    """Dilates and pads in the call."""

    def read(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.reader.weight, self.reader.bias, padding=2, dilation=2)


class PadsBefore(Body):
    """Pads with an operator of its own."""

    def read(self, x: Tensor) -> Tensor:
        out: Tensor = self.reader(F.pad(x, (1, 1, 1, 1), value=0.5))
        return out


class SaysThatItPads(Body):
    """Does not pad, though its module says so."""

    def __init__(self) -> None:
        super().__init__()
        self.reader.padding = (1, 1)

    def read(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.reader.weight, self.reader.bias)


class ForgetsTheBias(Body):
    def read(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.reader.weight)


class HalvesTheBias(Body):
    def read(self, x: Tensor) -> Tensor:
        bias = self.reader.bias
        assert bias is not None
        return F.conv2d(x, self.reader.weight, bias / 2)


class HasNoBias(Body):
    """Would not pass a bias on."""

    def __init__(self) -> None:
        super().__init__(bias=False)

    def read(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.reader.weight)


class WouldPassABias(HasNoBias):
    def read(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.reader.weight, self.reader.bias)


class RefusesABias(HasNoBias):
    def read(self, x: Tensor) -> Tensor:
        assert self.reader.bias is None
        return F.conv2d(x, self.reader.weight)


class AddsTheBiasTwice(HasNoBias):
    def read(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.reader.weight, self.reader.bias)
        return y if self.reader.bias is None else y + self.reader.bias.view(1, -1, 1, 1)


class Scales(Body):
    """The weight is used as another one."""

    def read(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.reader.weight * 2, self.reader.bias)


class Flips(Body):
    """The same memory, looked at in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.Conv2d(9, 9, 3)
        self.head = nn.Conv2d(9, 4, 1)

    def read(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.reader.weight.transpose(0, 1), self.reader.bias)


class UsesAPart(Body):
    """The first filters, and the rest elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.Conv2d(9, 12, 3)
        self.head = nn.Conv2d(6, 4, 1)

    def read(self, x: Tensor) -> Tensor:
        assert self.reader.bias is not None
        halves = zip(self.reader.weight.split(6), self.reader.bias.split(6), strict=True)
        first, second = (F.conv2d(x, weight, bias) for weight, bias in halves)
        return first * second


class Linear(Body):
    """A convolution's weight in a matrix product, and a linear layer's the wrong way round."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.Conv2d(9, 8, 1)
        self.square = nn.Linear(8, 8)

    def read(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        y = F.linear(pooled, self.reader.weight.flatten(1), self.reader.bias)
        return (y @ self.square.weight)[:, :, None, None] + self.reader(x)


class Normalises(Body):
    """Batch norm by function, with statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.mean = nn.Buffer(torch.randn(8, generator=generator))
        self.variance = nn.Buffer(torch.rand(8, generator=generator) + 0.5)
        self.scale = nn.Parameter(torch.randn(8, generator=generator))
        self.shift = nn.Parameter(torch.randn(8, generator=generator))

    def read(self, x: Tensor) -> Tensor:
        y = self.reader(x)
        return F.batch_norm(y, self.mean, self.variance, self.scale, self.shift)


class Frozen(Normalises):
    """Batch norm written out."""

    def read(self, x: Tensor) -> Tensor:
        scale = self.scale * (self.variance + 1e-5).rsqrt()
        shift = self.shift - self.mean * scale
        out: Tensor = self.reader(x) * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        return out


class Tied(Body):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.Conv2d(9, 9, 3, padding=1, bias=False)
        self.second = nn.Conv2d(9, 9, 3, bias=False)
        self.second.weight = self.reader.weight
        self.head = nn.Conv2d(9, 4, 1)

    def read(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.reader(x))
        return out


class TiedMemory(Tied):
    """Two parameters in one memory."""

    def __init__(self) -> None:
        super().__init__()
        self.second.weight = nn.Parameter(self.reader.weight.data)


class TiedBias(Body):
    """Two layers of one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(8, 8, 1)
        self.second.bias = self.reader.bias

    def read(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.reader(x))
        return out


class AddsItsBiasAgain(Body):
    def read(self, x: Tensor) -> Tensor:
        assert self.reader.bias is not None
        out: Tensor = self.reader(x) + self.reader.bias.view(1, -1, 1, 1)
        return out


class WeightNorm(Body):
    def __init__(self) -> None:
        super().__init__()
        self.reader = weight_norm(self.reader)

    def read(self, x: Tensor) -> Tensor:
        out: Tensor = self.reader(x)
        return out


class OldWeightNorm(WeightNorm):
    def __init__(self) -> None:
        super().__init__()
        self.reader = torch.nn.utils.weight_norm(nn.Conv2d(9, 8, 3))


FOLDED = [SaysThatItPads, WouldPassABias, Normalises]
KEPT = [ForgetsTheBias, HalvesTheBias, Scales, Flips, UsesAPart, Linear, Tied]
KEPT += [TiedBias, AddsItsBiasAgain]
OTHERS = [PadsItself, PadsOnce, Dilates, PadsBefore, HasNoBias, RefusesABias, AddsTheBiasTwice]
OTHERS += [TiedMemory, Frozen, WeightNorm, OldWeightNorm]


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("kind", [*FOLDED, *KEPT, *OTHERS], ids=lambda kind: kind.__name__)
def test_every_way_to_call_a_layer_is_exact(kind: type[Body]) -> None:
    network = soft_pruned(kind())
    done = cut(network, IMAGE)
    assert_equal_in_float64(network, done.exact)
    left = done.network.body[0].out_channels
    if kind in FOLDED:
        assert left == 6
        assert {i.verdict for i in done.surgery.filters if i.layer == "body.0"} == {"folded"}
    elif kind in KEPT:
        assert left == 9


def test_constants_before_padding_in_the_call_go_into_a_carrier() -> None:
    done = cut(soft_pruned(PadsItself()), IMAGE)
    found = [item.verdict for item in done.surgery.filters if item.layer == "body.0"]
    assert "folded" not in found
    assert "kept" in found


def test_a_bias_is_only_added_where_the_call_would_pass_it() -> None:
    for kind, expected in ((WouldPassABias, True), (HasNoBias, False), (RefusesABias, False)):
        done = cut(soft_pruned(kind()), IMAGE)
        assert (done.network.reader.bias is not None) == expected


class HoldsItsWidth(Body):
    """A number of channels in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.reader.padding = (1, 1)
        self.head = nn.Conv2d(8, 9, 1)
        self.last = nn.Linear(9 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(F.relu(self.reader(self.body(x))))
        out: Tensor = self.last(F.adaptive_avg_pool2d(y, 4).view(-1, 9 * 16))
        return out


def test_a_width_in_the_code_goes_with_its_channels() -> None:
    network = soft_pruned(HoldsItsWidth())
    done = cut(network, IMAGE)
    assert_equal_in_float64(network, done.exact)
    assert done.network.head.out_channels == 6
    assert done.network.reader.out_channels < 8
    (number,) = done.surgery.numbers
    assert (number.place, number.before, number.after) == ("view:2", 9 * 16, 6 * 16)


class TransposedDepthwise(Body):
    """A depthwise convolution that enlarges, as EfficientPose and FastDepth have them."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(9, 9, 4, 2, 1, groups=9, bias=False)

    def read(self, x: Tensor) -> Tensor:
        out: Tensor = self.reader(self.up(x))
        return out


def test_a_transposed_depthwise_convolution_is_cut_with_what_it_reads() -> None:
    network = soft_pruned(TransposedDepthwise())
    network.body[1].running_mean[::3] = 0.0
    network.body[1].bias.data[::3] = -1.0  # ReLU makes zeros of them
    done = cut(network, IMAGE)
    assert_equal_in_float64(network, done.exact)
    left = done.network.body[0].out_channels
    assert left == 6
    assert (done.network.up.in_channels, done.network.up.groups) == (left, left)
