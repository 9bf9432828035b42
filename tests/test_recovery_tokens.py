"""Blocks of tokens (N, T, C) learn by channel too: transformers, mixers, channels last."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import toolchain as tc
from toolchain.library.recovering import blocks_of, pair_of
from toolchain.recovery.block import Block
from toolchain.recovery.blocks import find_blocks
from toolchain.recovery.channels import known_of

EXAMPLE = torch.zeros(1, 3, 16, 16)


class Attention(nn.Module):
    """One head over tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(dim=-1)
        return self.out(weights @ self.v(x))


class Encoder(nn.Module):
    """A transformer's block: attention, then a wide part."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.wide, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.narrow(self.wide(self.norm2(x)).relu())


class Tokens(nn.Module):
    """Patches of an image as tokens with a place each, blocks, and a linear layer."""

    def __init__(self, width: int = 16, patch: int = 4, block: type[nn.Module] = Encoder) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.place = nn.Parameter(torch.randn(1, (16 // patch) ** 2, width) * 0.1)
        self.blocks = nn.Sequential(block(width), block(width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(tokens + self.place)).mean(dim=1))


class Mixer(nn.Module):
    """A mixer's block: tokens are mixed, then channels; as many of these as of those."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix1, self.mix2 = nn.Linear(16, 24), nn.Linear(24, 16)
        self.wide, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x).transpose(1, 2)
        x = x + self.mix2(self.mix1(y).relu()).transpose(1, 2)
        return x + self.narrow(self.wide(self.norm2(x)).relu())


class Last(nn.Module):
    """A convolution, and a part over (N, H, W, C) whose result is given on as such."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.end = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3)
        self.part = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.part(self.stem(x).permute(0, 2, 3, 1))
        return self.end(y.permute(0, 3, 1, 2)).mean(dim=(2, 3))


def made(block: type[nn.Module] = Encoder, seed: int = 0) -> nn.Module:
    """A network of tokens whose weights say something."""
    torch.manual_seed(seed)
    network = Tokens(block=block)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    return network.eval()


def images(count: int) -> Tensor:
    coarse = torch.randn(count, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bicubic")


def blocks(network: nn.Module) -> dict[str, Block]:
    return {block.name: block for block in find_blocks(network.eval(), EXAMPLE).blocks}


@pytest.mark.parametrize("block", [Encoder, Mixer])
def test_channels_of_tokens_lie_last(block: type[nn.Module]) -> None:
    found = blocks(Tokens(block=block))
    assert found["patch"].dims == (((1,), (1,)),)
    assert found["blocks.0"].dims == found["blocks.1"].dims == (((2,), (2,)),)
    assert found["blocks.0"].size == (16,)
    assert found["head"].dims == (((1,), (1,)),)


def test_channels_of_maps_whose_channels_lie_last_do_so() -> None:
    found = blocks(Last())
    assert found["stem"].dims == (((1,), (1,)),)
    given, gave = found["part"].dims[0]
    assert (given, gave) == ((3,), (3,))
    assert found["part"].size == (16, 16)
    assert found["end"].dims == (((1,), (1,)),)


def test_what_turns_a_square_turns_its_channels() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return x.transpose(1, 2) + self.second(self.first(x).transpose(1, 2))

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turned = Turned()

        def forward(self, x: Tensor) -> Tensor:
            return self.turned(x)

    (block,) = find_blocks(Around().eval(), torch.zeros(1, 5, 5)).blocks
    assert block.dims == (((2,), (2,)),)


def test_a_channel_that_a_student_lacks_holds_what_it_holds_there_at_every_token() -> None:
    pair = pair_of(Last().eval(), EXAMPLE, rate=0.25, ignored=["part"])
    found = blocks_of(pair, None)
    looked = [((each,), {}) for each in images(8).split(4)]
    known = known_of(pair.plain_student, pair.example, pair.teacher, looked, found.blocks)
    gone = [*(~pair.masks["stem.weight"].flatten(1).any(1)).nonzero().flatten()]
    assert len(gone) == 2
    (alive,) = known["part", 0].given
    assert alive.dim == 3
    assert [*(~alive.mask).nonzero().flatten()] == gone
    given = torch.ones(2, 5, 7, 8)
    fed = alive.feed(given)
    assert torch.equal(fed[..., gone], torch.zeros(2, 5, 7, 2))
    assert torch.equal(fed[..., alive.mask], given[..., alive.mask])
    (variance,) = known["part", 0].variance
    assert variance.shape == (8,)


def test_errors_of_tokens_are_told_by_channel() -> None:
    pair = pair_of(made(), EXAMPLE, rate=0.3)
    found = blocks_of(pair, None)
    looked = [((each,), {}) for each in images(8).split(4)]
    known = known_of(pair.plain_student, pair.example, pair.teacher, looked, found.blocks)
    seen = known["blocks.0", 0]
    ours, theirs = torch.zeros(2, 16, 16), torch.zeros(2, 16, 16)
    ours[:, :, 3] = 2.0
    (errors,) = seen.errors(ours, theirs)
    assert errors[3] == pytest.approx(4 / float(seen.variance[0][3]))
    assert int((errors > 0).sum()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("block", [Encoder, Mixer])
def test_a_network_of_tokens_is_recovered(block: type[nn.Module]) -> None:
    reports: list[tc.RecoveryReport] = []
    student = tc.recover(
        made(block), EXAMPLE, images=images(96), steps=60, rate=0.3,
        on_report=reports.append,
    )  # fmt: skip
    (report,) = reports
    assert report.recovered["output"] > max(0.8, report.solved["output"], report.pruned["output"])
    assert not tc.shrink(student, EXAMPLE).report.kept
