"""What a surgery holds while it runs: no network longer than it looks at it, and no live values."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from toolchain.surgery import dependencies, flow
from toolchain.surgery.taint import trace_taint, trace_values
from toolchain.surgery.watching import Watcher

IMAGE = torch.zeros(1, 3, 8, 8)


def made() -> nn.Module:
    """The second layer reads one constant channel beside five of the image."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))
    network[0].weight.data[2] = 0.0
    network[1].bias.data.fill_(0.5)
    return network.eval()


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_torch_prunings_graph_is_let_go_at_once(
    monkeypatch: pytest.MonkeyPatch, without_collector: None
) -> None:
    seen: list[weakref.ref[nn.Module]] = []

    def noted(network: nn.Module) -> nn.Module:
        copy = fresh(network)
        seen.extend(map(weakref.ref, copy.children()))
        return copy

    fresh = dependencies.fresh
    monkeypatch.setattr(dependencies, "fresh", noted)
    assert dependencies.coupled_slots(made(), (IMAGE,), ["0"])
    assert [ref() for ref in seen] == [None] * 4


def test_what_watched_a_run_is_let_go_at_once(
    monkeypatch: pytest.MonkeyPatch, without_collector: None
) -> None:
    """It holds all tensors of the run."""
    seen: list[weakref.ref[Watcher]] = []
    watcher_of = flow._watcher_of

    def noted(*given: Any) -> Watcher:
        watcher = watcher_of(*given)
        seen.append(weakref.ref(watcher))
        return watcher

    monkeypatch.setattr(flow, "_watcher_of", noted)
    assert flow.trace_flow(made(), IMAGE).dims_given["0"] == [(1,)]
    assert [ref() for ref in seen] == [None]


def test_values_are_kept_of_channels_that_do_not_depend_on_the_image_alone() -> None:
    network = made()
    found = trace_taint(network, IMAGE)
    (reading,) = found.readings["3"]
    assert reading.tainted.tolist() == [True, True, False, True, True, True]
    assert (reading.shape, reading.maps.shape) == ((6, 36), (1, 36))
    assert torch.equal(reading.of(~reading.tainted), reading.maps)
    seen = trace_values(network, torch.randn(1, 3, 8, 8), found)
    (again,) = seen.readings["3"]
    assert torch.equal(again.tainted, reading.tainted)
    assert torch.allclose(again.maps, reading.maps)
    assert seen.readings["0"][0].maps.numel() == 0
