"""Known answers of the surgery, worked out by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from hand_checked import IMAGE, difference, randomised, two_convolutions, verdicts
from torch import Tensor, nn

from toolchain.models.registry import build
from toolchain.records.reasons import Channels, Reason
from toolchain.records.stages import FilterVerdict
from toolchain.surgery.flow import trace_flow, watch
from toolchain.surgery.removing import shrink


def test_a_constant_goes_into_the_bias_of_an_unpadded_reader() -> None:
    network = randomised(two_convolutions(1, 0))
    network[0].weight.data[2] = 0
    norm = network[1]
    norm.bias.data[2] = 1.5
    norm.running_mean.data[2] = 0.0
    column = network[3].weight.data[:, 2].flatten()
    expected = network[3].bias.data + 1.5 * column
    shrunk, surgery = shrink(network, IMAGE)
    assert verdicts(surgery) == {"0": ["folded"]}
    assert shrunk[0].out_channels == 3
    assert shrunk[3].in_channels == 3
    torch.testing.assert_close(shrunk[3].bias.data, expected)
    assert difference(network, shrunk) < 1e-6


def test_a_constant_that_relu_hides_is_dropped() -> None:
    network = randomised(two_convolutions(3, 1))
    network[0].weight.data[2] = 0
    network[1].bias.data[2] = -1.5
    network[1].running_mean.data[2] = 0.0
    before = network[3].weight.data.clone()
    shrunk, surgery = shrink(network, IMAGE)
    assert verdicts(surgery) == {"0": ["dropped"]}
    assert torch.equal(shrunk[3].weight.data, before[:, [0, 1, 3]])
    assert difference(network, shrunk) < 1e-6


def test_carrier_is_exact_at_the_border() -> None:
    """Two constants 2 and 3 before zero padding: one stays and carries the other."""
    network = randomised(two_convolutions(3, 1))
    network[0].weight.data[[1, 2]] = 0
    network[1].running_mean.data[[1, 2]] = 0
    network[1].bias.data[[1, 2]] = torch.tensor([2.0, 3.0])
    weight = network[3].weight.data.clone()
    shrunk, surgery = shrink(network, IMAGE)
    assert sorted(verdicts(surgery)["0"]) == ["carried", "kept"]
    kept = next(item for item in surgery.filters if item.verdict == "kept")
    assert kept.reason == Reason("carrier", ("3",))
    gone, stays = (2, 1) if kept.index == 1 else (1, 2)
    ratio = {1: 2.0, 2: 3.0}[gone] / {1: 2.0, 2: 3.0}[stays]
    expected = weight[:, stays] + ratio * weight[:, gone]
    torch.testing.assert_close(shrunk[3].weight.data[:, 1], expected)
    assert shrunk[0].out_channels == 3
    assert difference(network, shrunk) < 1e-6


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_padding_that_repeats_pixels_needs_no_carrier(mode: str) -> None:
    network = randomised(two_convolutions(3, 1, mode))
    network[0].weight.data[[1, 2]] = 0
    network[1].bias.data[[1, 2]] = 5.0
    shrunk, surgery = shrink(network, IMAGE)
    assert verdicts(surgery) == {"0": ["folded", "folded"]}
    assert difference(network, shrunk, (24, 20), (17, 31)) < 1e-6


def test_borders_of_a_depthwise_convolution_span_a_small_space() -> None:
    """Constants through a padded depthwise 3x3 have nine values each: nine carriers suffice."""
    channels, zeroed = 24, 20
    network = randomised(
        nn.Sequential(
            nn.Conv2d(3, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.PReLU(),
            nn.Conv2d(channels, 6, 1),
        )
    )
    network[0].weight.data[:zeroed] = 0
    network[0].bias.data[:zeroed] = torch.linspace(1, 3, zeroed)
    shrunk, surgery = shrink(network, IMAGE)
    kept = surgery.count("kept")
    assert kept <= 8  # the ninth dimension, the uniform one, goes into the bias
    assert surgery.count("carried") + surgery.count("folded") == zeroed - kept
    assert shrunk[0].out_channels == channels - zeroed + kept
    assert difference(network, shrunk, (24, 20), (17, 31), (9, 9)) < 1e-5


def test_a_layer_is_never_emptied() -> None:
    network = randomised(two_convolutions(1, 0))
    network[0].weight.data[:] = 0
    shrunk, surgery = shrink(network, IMAGE)
    assert shrunk[0].out_channels == 1
    assert verdicts(surgery)["0"].count("kept") == 1
    assert difference(network, shrunk) < 1e-6 or torch.equal(network(IMAGE), shrunk(IMAGE))


def test_the_output_keeps_its_channels() -> None:
    network = randomised(two_convolutions(1, 0))
    network[3].weight.data[1] = 0
    shrunk, surgery = shrink(network, IMAGE)
    assert shrunk[3].out_channels == 5
    assert surgery.filters[0].reason == Reason("output")


class Residual(nn.Module):
    """Two writers of one stream."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(x + self.second(x))


def test_a_stream_that_another_layer_still_writes_is_kept_and_the_layer_named() -> None:
    network = randomised(Residual())
    network.second.weight.data[1] = 0
    shrunk, surgery = shrink(network, IMAGE)
    assert shrunk.head.in_channels == 4
    assert surgery.filters[0].reason == Reason("still_written", ("first",))


def test_a_stream_that_nobody_writes_goes_from_all_layers() -> None:
    network = randomised(Residual())
    for layer in (network.first, network.second):
        layer.weight.data[1] = 0
        layer.bias.data[1] = 0
    shrunk, surgery = shrink(network, IMAGE)
    assert (shrunk.first.out_channels, shrunk.second.in_channels) == (3, 3)
    assert (shrunk.second.out_channels, shrunk.head.in_channels) == (3, 3)
    assert surgery.count("dropped") == 2
    assert difference(network, shrunk) < 1e-6


def test_what_nothing_reads_goes_though_it_is_alive() -> None:
    network = randomised(two_convolutions(3, 1))
    network[3].weight.data[:, 2] = 0
    shrunk, surgery = shrink(network, IMAGE)
    assert shrunk[0].out_channels == 3
    assert surgery.removed_live_filters == 1
    assert surgery.filters == ()
    assert difference(network, shrunk) < 1e-6


class InTwoRounds(nn.Module):
    """``dead`` reads channel 4 of the sum with a filter that nothing reads: gone in round one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 1)
        self.live = nn.Conv2d(3, 6, 1)
        self.second = nn.Conv2d(6, 4, 3, padding=1)
        self.dead = nn.Conv2d(6, 2, 1)
        self.head = nn.Conv2d(4, 2, 1)
        self.tail = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.head(self.second(y)) + self.tail(self.dead(y + self.live(x)))


def test_reasons_count_channels_as_in_the_network_before() -> None:
    """Round one: 0 goes, and 3 into 4 and 5. Round two: 4, now the third, into 5, the fourth."""
    network = randomised(InTwoRounds())
    for channel, constant in ((0, 0.0), (3, 2.0), (4, 5.0), (5, 3.0)):
        network.first.weight.data[channel] = 0
        network.first.bias.data[channel] = constant
    network.tail.weight.data[:, 1] = 0
    network.dead.weight.data[0, [0, 3, 4]] = 0
    network.dead.weight.data[1, [0, 3]] = 0
    shrunk, surgery = shrink(network, IMAGE)
    assert surgery.rounds == 3
    assert surgery.filters == (
        FilterVerdict("first", 0, "dropped", Reason("adds_nothing", ("dead", "second"))),
        FilterVerdict("first", 3, "carried", carried_by("second", 4, 5)),
        FilterVerdict("first", 4, "carried", carried_by("second", 5)),
        FilterVerdict("first", 5, "kept", Reason("still_written", ("live",))),
    )
    assert surgery.removed_live_filters == 4  # 0, 3 and 4 of live, 1 of dead
    assert (shrunk.first.out_channels, shrunk.second.in_channels) == (3, 3)
    assert difference(network, shrunk) < 1e-5


def carried_by(reader: str, *channels: int) -> Reason:
    return Reason("in_weights", (reader,), (Channels(reader, channels),))


class CalledTwice(nn.Module):
    """One reader, two sources with constants of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(3, 4, 1)
        self.shared = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.left(x)) + self.shared(self.right(x)) * 2


def test_a_reader_that_meets_two_constants_cannot_fold_them() -> None:
    network = randomised(CalledTwice())
    for layer, constant in ((network.left, 1.0), (network.right, 2.0)):
        layer.weight.data[1] = 0
        layer.bias.data[1] = constant
    shrunk, surgery = shrink(network, IMAGE)
    assert shrunk.shared.in_channels == 4
    assert {item.verdict for item in surgery.filters} == {"kept"}
    network.right.bias.data[1] = 1.0
    shrunk, surgery = shrink(network, IMAGE)
    assert shrunk.shared.in_channels == 3
    assert {item.verdict for item in surgery.filters} == {"folded"}
    assert difference(network, shrunk) < 1e-6


class Scaled(nn.Module):
    """A learned scale per channel, and scalars per branch, outside any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.scale = nn.Parameter(torch.rand(1, 4, 1, 1) + 0.5)
        self.fusion = nn.Parameter(torch.rand(2, 4))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) * self.scale
        return self.head(x * self.fusion[0, 1] + x.relu() * self.fusion[1, 2])


def test_a_scale_per_channel_is_cut_and_scalars_are_not() -> None:
    network = randomised(Scaled())
    network.first.weight.data[2] = 0
    shrunk, _ = shrink(network, IMAGE)
    assert tuple(shrunk.scale.shape) == (1, 3, 1, 1)
    assert tuple(shrunk.fusion.shape) == (2, 4)
    assert torch.equal(shrunk.scale.flatten(), network.scale.flatten()[[0, 1, 3]])
    assert difference(network, shrunk) < 1e-6


class Averaged(nn.Module):
    """The average over a padded border depends on the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(4, 5, 3, padding=1)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)).mean((2, 3)))


def test_constants_that_depend_on_the_size_are_not_fitted_by_chance() -> None:
    network = randomised(Averaged())
    network.first.weight.data[:] = 0
    shrunk, _ = shrink(network, IMAGE)
    for size in ((24, 20), (17, 31), (11, 13), (40, 7)):
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(network(image), shrunk(image), rtol=1e-5, atol=1e-5)


class SummedOverImages(nn.Module):
    """What all images together add up to is the same for every image, and not for every number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.hidden, self.last = (
            nn.Conv2d(3, 4, 1),
            nn.Linear(4 * 80, 6),
            nn.Linear(6, 3),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, 8, 10) -> (N, 3)."""
        x = self.first(image)
        return self.last(torch.relu(self.hidden((x + 0.01 * x.sum()).flatten(1))))


@pytest.mark.parametrize("count", [1, 2])
def test_constants_that_depend_on_the_number_of_images_are_not_folded(count: int) -> None:
    network = randomised(SummedOverImages())
    network.first.weight.data[:] = 0
    shrunk, _ = shrink(network, torch.zeros(count, 3, 8, 10))
    for images in (1, 2, 3):
        image = torch.randn(images, 3, 8, 10)
        torch.testing.assert_close(network(image), shrunk(image), rtol=1e-5, atol=1e-5)


def test_shrinking_again_removes_nothing_and_training_goes_on() -> None:
    network = randomised(two_convolutions(3, 1))
    network[0].weight.data[[1, 2]] = 0
    shrunk, _ = shrink(network, IMAGE)
    again, surgery = shrink(shrunk, IMAGE)
    assert surgery.rounds == 1
    assert [p.shape for p in again.parameters()] == [p.shape for p in shrunk.parameters()]
    shrunk.train()
    shrunk(torch.randn(2, 3, 8, 8)).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in shrunk.parameters())


def test_the_network_that_is_given_stays_as_it_is() -> None:
    network = randomised(two_convolutions(3, 1))
    network[0].weight.data[[1, 2]] = 0
    before = copy.deepcopy(network.state_dict())
    shrink(network, IMAGE)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eresfd", "extd"])
def test_torch_pruning_and_our_own_run_agree_on_the_detectors(name: str) -> None:
    """Joining torch-pruning's graph to what the run showed joins nothing that was apart."""
    network, image = build(name), torch.zeros(1, 3, 64, 64)
    watched, joined = watch(network, image), trace_flow(network, image)

    def classes(flow) -> set[frozenset[tuple[str, str, int]]]:
        found: dict[int, set[tuple[str, str, int]]] = {}
        for side, table in (("out", flow.out_nodes), ("in", flow.in_nodes)):
            for layer, nodes in table.items():
                for channel, node in enumerate(nodes):
                    found.setdefault(flow.classes.find(node), set()).add((layer, side, channel))
        return {frozenset(members) for members in found.values()}

    assert classes(watched) == classes(joined)
