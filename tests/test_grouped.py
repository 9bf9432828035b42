"""Grouped convolutions lose whole groups, or the same places of every group, whichever is more."""

from __future__ import annotations

import copy
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

import toolchain as tc
from toolchain.exporting.onnx_file import export_onnx
from toolchain.pruning.groups import groups_of
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.records.stages import Number
from toolchain.surgery.flow import trace_flow
from toolchain.surgery.layers import layers_of
from toolchain.surgery.removing import Cut, cut
from toolchain.widths.template import Template

IMAGE = torch.zeros(1, 3, 9, 8)


def made(groups: int, width: int, *, transposed: bool = False) -> nn.Module:
    """A convolution, a grouped one of ``groups`` times ``width`` channels, a head."""
    channels = groups * width
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    network = nn.Sequential(
        *(nn.Conv2d(3, channels, 1), nn.BatchNorm2d(channels), nn.ReLU()),
        *(kind(channels, channels, 3, groups=groups), nn.BatchNorm2d(channels), nn.ReLU()),
        nn.Conv2d(channels, 2, 3),
    )
    generator = torch.Generator().manual_seed(3)
    for tensor in network.parameters():
        tensor.data.normal_(0.1, 0.4, generator=generator)
    return network.eval()


def zeroed(network: nn.Module, filters: list[int]) -> nn.Module:
    layers_of(network)["3"].zero(filters)
    return network


def done(soft: nn.Module) -> Cut:
    """The surgery, whose network is the same function in float64 at two sizes."""
    found = cut(soft, IMAGE)
    assert found.exact is not None
    for size in ((9, 8), (14, 6)):
        image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).double()
        with torch.no_grad():
            a = copy.deepcopy(soft).double()(image)
            assert float((a - found.exact(image)).abs().max() / a.abs().max()) < 1e-12
    return found


def widths(network: nn.Module) -> tuple[int, int, int]:
    return network[0].out_channels, network[3].out_channels, network[3].groups


@pytest.mark.parametrize("transposed", [False, True])
def test_dead_groups_go_with_all_that_they_read(transposed: bool) -> None:
    """What only they read goes though it depends on the image; their constants go into a bias."""
    network = zeroed(made(8, 2, transposed=transposed), [2, 3, 10, 11])
    found = done(network)
    assert widths(found.network) == (12, 12, 6)
    assert not [item for item in found.surgery.filters if item.verdict == "kept"]
    assert found.surgery.numbers == (Number("3", "groups", 8, 6),)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_same_places_of_every_group_go(transposed: bool) -> None:
    """That is more than the one group that is dead as a whole, which goes in the next round."""
    places = [place for place in range(32) if place % 4 in (1, 2)]
    found = done(zeroed(made(8, 4, transposed=transposed), [*places, 0, 3]))
    assert widths(found.network) == (28, 14, 7)


def test_places_that_every_group_reads_as_constants_go() -> None:
    network = made(8, 4)
    dead = [place for place in range(32) if place % 4 == 1]
    network[0].weight.data[dead] = network[0].bias.data[dead] = 0.0
    for tensor in (network[1].weight, network[1].bias, network[1].running_mean):
        tensor.data[dead] = 0.0
    assert widths(done(network).network) == (24, 32, 8)


def test_one_group_that_is_left_is_a_plain_convolution() -> None:
    assert widths(done(zeroed(made(4, 3), list(range(9)))).network) == (3, 3, 1)


@pytest.mark.parametrize(("groups", "width", "left"), [(32, 4, (92, 92, 23)), (2, 16, (24, 24, 2))])
def test_a_rate_takes_what_divides_more_finely(
    groups: int, width: int, left: tuple[int, int, int]
) -> None:
    prune = PruneSection(rate=0.3, scope="group", protected=())
    found = done(zero_filters(made(groups, width), IMAGE, prune))
    assert widths(found.network) == left
    assert not [item for item in found.surgery.filters if item.verdict == "kept"]


def test_fewer_groups_come_back_from_a_file(tmp_path: Path) -> None:
    small = done(zeroed(made(8, 2), [2, 3, 10, 11])).network
    tc.save(small, tmp_path / "small.safetensors")
    again = tc.load(tmp_path / "small.safetensors", lambda: made(8, 2)).eval()
    with torch.no_grad():
        assert torch.equal(again(IMAGE + 1), small(IMAGE + 1))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_file_of_fewer_groups_runs_and_has_the_weights_of_the_cut_network(
    tmp_path: Path, transposed: bool
) -> None:
    network = made(8, 2, transposed=transposed)
    flow = trace_flow(network, IMAGE)
    groups = groups_of(network, flow, ())
    assert [group.width for group in groups] == [8]
    export_onnx(network, IMAGE, tmp_path / "m.onnx", output_names=["out"], metadata={})
    fixed = {name: tensor for name, tensor in network.named_parameters() if name[0] in "036"}
    template = Template(onnx.load(tmp_path / "m.onnx"), network, flow, groups)
    file = template.file({groups[0].name: 6})
    session = ort.InferenceSession(file.SerializeToString())
    session.run(None, {session.get_inputs()[0].name: IMAGE.numpy()})
    small = done(zeroed(network, [2, 3, 10, 11])).network
    held = {each.name: tuple(each.dims) for each in file.graph.initializer}
    for name in fixed:
        assert held[name] == tuple(small.get_parameter(name).shape), name
