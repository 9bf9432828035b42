"""Networks of every type are cut as exactly as their type allows, or refused."""

from __future__ import annotations

import copy

import pytest
import torch
from soft import assert_equal_in_float64, images, share, soft_pruned
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.errors import AnalysisError
from toolchain.surgery.removing import cut, shrink

IMAGE = torch.zeros(1, 3, 32, 24)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 9, 3, 2, 1, bias=False),
            nn.BatchNorm2d(9),
            nn.ReLU(),
            nn.Conv2d(9, 6, 3, 1, 1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


class InFloat32(Plain):
    """Casts its input: does not run in float64."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float() / 255)


class Mixed(Plain):
    """One layer in another type."""

    def __init__(self) -> None:
        super().__init__()
        self.head.half()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).to(self.head.weight.dtype))
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.half, torch.bfloat16])
def test_a_network_of_any_type_is_cut_in_float64_and_given_back_in_its_own(
    dtype: torch.dtype,
) -> None:
    network = soft_pruned(Plain()).to(dtype)
    done = cut(network, IMAGE.to(dtype))
    assert done.network.body[0].out_channels < 9
    assert {p.dtype for p in done.network.parameters()} == {dtype}
    assert done.exact is not None
    assert {p.dtype for p in done.exact.parameters()} == {torch.float64}
    truth = copy.deepcopy(network).double()
    with torch.no_grad():
        for image in images(torch.float64):
            assert share(truth(image), done.exact(image)) < 1e-13
            coarse = share(truth(image), done.network(image.to(dtype)))
            assert coarse < 40 * torch.finfo(dtype).eps


def test_each_parameter_keeps_a_type_of_its_own() -> None:
    shrunk, _ = shrink(soft_pruned(Mixed()), IMAGE)
    assert shrunk.body[0].weight.dtype == torch.float32
    assert (shrunk.head.weight.dtype, shrunk.head.bias.dtype) == (torch.half, torch.half)
    assert shrunk.head.in_channels < 6


def test_a_network_that_needs_float32_is_cut_in_float32() -> None:
    network = soft_pruned(InFloat32())
    done = cut(network, IMAGE)
    assert done.exact is None
    assert done.network.body[0].out_channels < 9
    with torch.no_grad():
        for image in images(torch.float32):
            assert share(network(image), done.network(image)) < 1e-5


def test_weights_of_channels_last_stay_so() -> None:
    network = soft_pruned(Plain()).to(memory_format=torch.channels_last)
    shrunk, _ = shrink(network, IMAGE)
    weight = shrunk.body[3].weight
    assert shrunk.body[3].in_channels < 9
    assert weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        for image in images(torch.float32):
            assert share(network(image), shrunk(image)) < 1e-5


class Dropping(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.5))


class Counting(Plain):
    """Moves on with every call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.state += x.mean()
        return super().forward(x) + self.state


class Remembering(Plain):
    """Keeps the first image's mean for ever."""

    mean: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.mean is None:
            self.mean = x.mean()
        return super().forward(x) - self.mean


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Dropping(), r"itself is random: .*aten\.bernoulli_"),
        (Counting(), "keeps a state"),
        (Remembering(), "keeps a state"),
    ],
)
def test_a_network_that_does_not_repeat_itself_is_told_so(network: nn.Module, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        shrink(soft_pruned(network), IMAGE)


class Caching(Plain):
    """Keeps a grid of the input's size, as detectors keep their anchors."""

    grid: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        if self.grid is None or self.grid.shape != out.shape[-1:]:
            self.grid = torch.arange(out.shape[-1], dtype=out.dtype)
        return out + self.grid


def test_what_a_network_caches_is_not_left_in_it() -> None:
    network = soft_pruned(Caching())
    shrunk, _ = shrink(network, IMAGE)
    assert network.grid is None
    assert shrunk.grid is None
    assert shrunk.head.in_channels < 6


class Other(Plain):
    """Skips a layer in small images."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        out: Tensor = self.head(self.more(y) if x.shape[2] >= 32 else y)
        return out


def test_a_path_that_depends_on_the_size_is_told() -> None:
    with pytest.raises(AnalysisError, match="another path at another size: more is called 1 times"):
        shrink(soft_pruned(Other()), IMAGE)


class OneSize(Plain):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (32, 24):
            raise Exception("this network takes 32x24")  # a user's code raises anything
        return super().forward(x)


def test_a_network_that_takes_one_size_is_cut_at_that_size() -> None:
    network = soft_pruned(OneSize())
    shrunk, _ = shrink(network, IMAGE)
    assert shrunk.body[0].out_channels < 9
    image = images(torch.float32)[0]
    with torch.no_grad():
        assert share(network(image), shrunk(image)) < 1e-5


class TwoInputs(Plain):
    """An image, a second one, and a class number."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Embedding(5, 6)

    def forward(self, x: Tensor, y: Tensor, number: Tensor) -> Tensor:
        both = self.body(x) + self.body(y)
        out: Tensor = self.head(both * self.classes(number)[:, :, None, None])
        return out


def test_several_inputs_and_numbers_among_them() -> None:
    """What depends on the class number alone is no constant."""
    network = soft_pruned(TwoInputs())
    shrunk, _ = shrink(network, (IMAGE, IMAGE, torch.tensor([1])))
    assert shrunk.body[0].out_channels < 9
    for number in range(5):
        image, other, _ = images(torch.float32)[0], -images(torch.float32)[0], 0
        with torch.no_grad():
            inputs = (image, other, torch.tensor([number]))
            assert share(network(*inputs), shrunk(*inputs)) < 1e-5


class NumberAlone(Plain):
    """A branch that sees only the class number."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Embedding(5, 6)
        self.extra = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor, number: Tensor) -> Tensor:
        shift = self.extra(self.classes(number)[:, :, None, None])
        out: Tensor = self.head(torch.cat([self.body(x)[:, :, :1, :1], shift], dim=2))
        return out


def test_a_branch_that_sees_only_a_number_is_not_taken_for_constant() -> None:
    network = soft_pruned(NumberAlone())
    shrunk, _ = shrink(network, (IMAGE, torch.tensor([1])))
    image = images(torch.float32)[0]
    for number in range(5):
        with torch.no_grad():
            inputs = (image, torch.tensor([number]))
            assert share(network(*inputs), shrunk(*inputs)) < 1e-5


class Unpools(Plain):
    """Positions of maxima, which fall outside on NaN where sizes are odd."""

    def forward(self, x: Tensor) -> Tensor:
        y, positions = F.max_pool2d(self.body(x), 2, return_indices=True)
        out: Tensor = self.head(F.max_unpool2d(y, positions, 2))
        return out


def test_a_size_at_which_the_analysis_does_not_run_is_left_out() -> None:
    network = soft_pruned(Unpools())
    shrunk, _ = shrink(network, IMAGE)
    assert shrunk.body[0].out_channels < 9
    with torch.no_grad():
        assert share(network(images()[0].float()), shrunk(images()[0].float())) < 1e-5


class Attends(Plain):
    """Attention over all positions: memory grows with the square of their number."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        tokens = y.flatten(2).transpose(1, 2)
        seen = self.attention(tokens, tokens, tokens)[0].transpose(1, 2).reshape(y.shape)
        out: Tensor = self.head(y + seen)
        return out


def test_attention_keeps_what_it_reads_and_the_rest_is_cut() -> None:
    network = soft_pruned(Attends())
    done = cut(network, IMAGE)
    assert done.network.body[0].out_channels < 9
    assert done.network.body[3].out_channels == 6
    assert_equal_in_float64(network, done.exact)
    assert torch.backends.mha.get_fastpath_enabled()


def test_no_size_is_much_larger_than_the_asked_one() -> None:
    sizes: list[int] = []

    class Watched(Attends):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(x.shape[2] * x.shape[3])
            return super().forward(x)

    shrink(soft_pruned(Watched()), IMAGE)
    assert max(sizes) <= 2 * 32 * 24
